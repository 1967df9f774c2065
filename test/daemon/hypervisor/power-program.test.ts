import { chmod, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../../broker/contract/ports.ts';
import { createScriptRunner } from '../../../daemon/command/script-trust.ts';
import { pinnedBelow } from '../../support/pins.ts';
import { createHostHypervisor } from '../../../daemon/hypervisor/host.ts';
import { PowerProgram, wattsOf, withPower } from '../../../daemon/hypervisor/power-program.ts';
import { createSampler } from '../../../daemon/sample/sampler.ts';
import { virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { until } from '../../support/servers.ts';
import { trustedFolder } from '../../support/trusted-folder.ts';

let folder: string;
beforeEach(async () => {
  folder = await trustedFolder();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function program(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
  return path;
}

function hostWith(path: string | null) {
  const time = virtualClock();
  const clock: Clock = time;
  const log = memoryLog();
  const sampler = createSampler({ clock, addresses: () => ({}), root: folder });
  const bare = createHostHypervisor({ node: 'pve1', sampler, daemonVersion: '1', root: folder });
  const scripts = createScriptRunner({
    folder: join(folder, 'run'),
    readPolicy: pinnedBelow(folder),
  });
  const settings = path === null ? null : PowerProgram.parse({ program: path });
  const driver = withPower(bare, { settings, node: 'pve1', scripts, clock, log });
  const watts = async () => (await driver.sample('pve1')).node.powerWatts;
  const source = async () => (await driver.describe('pve1')).facts.powerSource;
  return { driver, log, time, watts, source };
}

describe('what the power program prints', () => {
  it.each([
    ['132\n', 132],
    [' 132.456 ', 132.46],
    ['0', 0],
    ['132 Watts', null],
    ['-3', null],
    ['', null],
    ['1e3', null],
    ['100001', null],
  ])('%j is %j', (printed, watts) => {
    expect(wattsOf(printed)).toBe(watts);
  });
});

describe('a host with a power program', () => {
  it('never waits for it, and tells its watts from the next sample on', async () => {
    const { driver, watts, source } = hostWith(await program('power', 'echo 132.5'));
    expect(await watts()).toBeNull();
    await until(async () => (await watts()) === 132.5);
    expect(await source()).toBe('program');
    await driver.close();
  });

  it('forgets a reading that is too old', async () => {
    const path = await program('power', `[ -e ${join(folder, 'off')} ] && exit 3; echo 77`);
    const { driver, log, time, watts } = hostWith(path);
    await until(async () => (await watts()) === 77);
    await writeFile(join(folder, 'off'), '');
    await time.advance(10_000);
    expect(await watts()).toBe(77);
    await until(() => JSON.stringify(log.lines).includes('ended with 3'));
    await time.advance(20_000);
    expect(await watts()).toBeNull();
    await driver.close();
  });

  it('says once what is wrong with its program', async () => {
    const { driver, log, time, watts } = hostWith(await program('power', 'echo 12 Watts'));
    const warnings = () => log.lines.filter(({ level }) => level === 'warn');
    await watts();
    await until(() => warnings().length === 1);
    expect(JSON.stringify(warnings())).toContain('printed no plain number of watts');
    for (let round = 0; round < 3; round += 1) {
      await time.advance(10_000);
      await watts();
    }
    expect(warnings()).toHaveLength(1);
    await driver.close();
  });

  it('without one measures by the counters of its processor', async () => {
    const { driver, watts, source } = hostWith(null);
    expect(await watts()).toBeNull();
    expect(await source()).toBe('rapl');
    await driver.close();
  });
});
