/** The units of the packages, judged by systemd's own analysis without a running systemd. */
import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { products } from '../../packaging/products.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');
const analyze = '/usr/bin/systemd-analyze';
const hasAnalyze = await access(analyze).then(
  () => true,
  () => false,
);
const reason = hasAnalyze ? '' : ' (skipped: systemd-analyze is not installed)';

const unitFile = (folder: string, unit: string): string =>
  join(root, 'packaging', folder, `${unit}.service`);

describe.skipIf(!hasAnalyze)(`the exposure that systemd-analyze security finds${reason}`, () => {
  it.each([
    ['daemon', 'kernreaktor-agent', 1.5],
    ['daemon', 'kernreaktor-daemon', 1.5],
    ['daemon', 'kernreaktor-executor', 5],
    ['server', 'kernreaktor-server', 1.5],
  ])('of %s/%s is at most %d', async (folder, unit, limit) => {
    const file = unitFile(folder, unit);
    const { stdout } = await run(analyze, ['security', '--offline=true', '--no-pager', file]);
    const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]);
    expect(exposure).toBeGreaterThan(0);
    expect(exposure).toBeLessThanOrEqual(limit);
  });
});

describe('the units', () => {
  const settingsOf = async (folder: string, unit: string): Promise<Map<string, string[]>> => {
    const text = await readFile(unitFile(folder, unit), 'utf8');
    const settings = new Map<string, string[]>();
    for (const [, name = '', value = ''] of text.matchAll(/^(\w+)=(.*)$/gm)) {
      settings.set(name, [...(settings.get(name) ?? []), value]);
    }
    return settings;
  };

  it('let the executor open unix sockets alone, and the agent execute nothing', async () => {
    const executor = await settingsOf('daemon', 'kernreaktor-executor');
    expect(executor.get('RestrictAddressFamilies')).toEqual(['AF_UNIX']);
    expect(executor.get('RuntimeDirectoryMode')).toEqual(['0750']);
    expect([executor.get('User'), executor.get('Group')]).toEqual([['root'], ['kernreaktor']]);
    const agent = await settingsOf('daemon', 'kernreaktor-agent');
    expect(agent.get('User')).toEqual(['kernreaktor']);
    expect(agent.get('CapabilityBoundingSet')).toEqual(['']);
    expect(agent.get('NoExecPaths')).toEqual(['/']);
  });

  it.each(['kernreaktor-agent', 'kernreaktor-executor'])(
    'of a host run %s with the flags that its memory was measured with',
    async (unit) => {
      const [start = ''] = (await settingsOf('daemon', unit)).get('ExecStart') ?? [];
      const { nodeFlags } = products.daemon;
      expect(start.split(' ').slice(1, 1 + nodeFlags.length)).toEqual(nodeFlags);
    },
  );

  it.each(Object.entries(products))(
    'of %s start what its package holds',
    async (folder, product) => {
      for (const unit of product.units) {
        const settings = await settingsOf(folder, unit);
        const [start = ''] = settings.get('ExecStart') ?? [];
        const home = `/usr/lib/${product.name}`;
        expect(start.split(' ')[0]).toBe(`${home}/node`);
        expect(start).toContain(`${home}/${product.entry.replace('.ts', '.js')}`);
        expect(settings.get('ConditionPathExists')).toHaveLength(1);
        expect(settings.get('Restart')).toEqual(['always']);
      }
    },
  );
});
