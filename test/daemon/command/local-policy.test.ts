import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  holdFile,
  parsePolicy,
  policyFile,
  strictest,
} from '../../../daemon/command/local-policy.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-policy-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('local policy', () => {
  it('allows what it names, and everything when it names nothing', () => {
    expect(parsePolicy('allow: [guest.start]\nprotected: true\n')).toEqual({
      ok: true,
      policy: { allow: ['guest.start'], protected: true },
    });
    expect(parsePolicy('# nothing yet\n')).toEqual({
      ok: true,
      policy: { allow: null, protected: false },
    });
  });

  it.each([
    ['allow: [guest.explode]', /^allow\.0: /],
    ['protected: maybe', /^protected: /],
    ['alow: [guest.start]', /alow/],
    ['allow: [guest.start', /./],
    ['- a\n- b', /^policy: /],
  ])('forbids everything when it cannot understand %j, and names the field', (text, problem) => {
    const reading = parsePolicy(text);
    expect(reading).toMatchObject({ ok: false, problem: expect.stringMatching(problem) });
  });

  it.each([
    ['', '', null, false],
    ['protected: true', '', null, true],
    ['', 'protected: true', null, true],
    ['allow: [guest.start, guest.stop]', 'allow: [guest.stop, node.wake]', ['guest.stop'], false],
    ['', 'allow: []', [], false],
    ['allow: [node.wake]', '', ['node.wake'], false],
  ])(
    'of a container (%j) and of its host (%j) forbids what either does',
    async (a, b, allow, isProtected) => {
      const reading = await strictest(
        async () => parsePolicy(a),
        async () => parsePolicy(b),
      );
      expect(reading).toEqual({ ok: true, policy: { allow, protected: isProtected } });
    },
  );

  it('forbids everything when that of the host around it cannot be understood', async () => {
    const sides = [async () => parsePolicy(''), async () => parsePolicy('- a')] as const;
    expect(await strictest(sides[0], sides[1])).toMatchObject({ ok: false });
    expect(await strictest(sides[1], sides[0])).toMatchObject({ ok: false });
  });

  it('is read anew each time; a missing file allows, an unreadable one forbids', async () => {
    const path = join(folder, 'policy.yaml');
    const read = policyFile(path);
    expect(await read()).toMatchObject({ ok: true });
    await writeFile(path, 'allow: 5');
    expect(await read()).toMatchObject({ ok: false, problem: expect.stringContaining(path) });
    await writeFile(path, 'allow: []');
    expect(await read()).toEqual({ ok: true, policy: { allow: [], protected: false } });
    await rm(path);
    await mkdir(path);
    expect(await read()).toMatchObject({ ok: false, problem: expect.stringContaining('EISDIR') });
  });

  it('pins programs, and forbids everything while others may change the pins', async () => {
    const path = join(folder, 'policy.yaml');
    const scripts = { '/opt/kr/stop': 'ab'.repeat(32) };
    await writeFile(path, JSON.stringify({ scripts }), { mode: 0o644 });
    expect(await policyFile(path)()).toMatchObject({ ok: true, policy: { scripts } });
    for (const mode of [0o664, 0o646]) {
      await chmod(path, mode);
      const problem = `${path}: others may change it; chmod go-w ${path}`;
      expect(await policyFile(path)()).toEqual({ ok: false, problem });
    }
  });

  it.each(['scripts: {stop: ab}', 'scripts: {/opt/stop: AB}', 'scripts: 5', 'scripts:'])(
    'forbids everything for %j',
    (text) => {
      expect(parsePolicy(text)).toMatchObject({ ok: false });
    },
  );
});

describe('HOLD file', () => {
  it('holds while it exists', async () => {
    const path = join(folder, 'HOLD');
    const isHeld = holdFile(path);
    expect(await isHeld()).toBe(false);
    await writeFile(path, '');
    expect(await isHeld()).toBe(true);
    await rm(path);
    expect(await isHeld()).toBe(false);
    expect(await holdFile(join(folder, 'x'.repeat(5_000)))()).toBe(true);
  });
});
