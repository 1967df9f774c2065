import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { liveWorld } from '../../../simulator/live-world.ts';
import { openDemoRack } from '../../../simulator/proxmox/demo.ts';
import { buildHomelab } from '../../../simulator/world/homelab.ts';
import { realClock } from '../../broker/wire.ts';
import { idsOf, seededRandom } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

const folders = async (): Promise<string[]> =>
  (await readdir(tmpdir())).filter((name) => name.startsWith('kr-rack-'));

it('drives two hosts of the demo by fake tools and the third by the fake API', async () => {
  const before = await folders();
  const live = liveWorld(
    buildHomelab({ seed: 7, startMs: realClock.wallMs(), timeScale: 60 }),
    realClock,
  );
  const newId = idsOf(realClock, seededRandom(2));
  const own = { clock: realClock, newId, log: memoryLog(), version: '1' };
  const rack = await openDemoRack({ ...own, live, cluster: 'rack', apiNode: 'pve3' });
  try {
    expect(rack.hypervisorOf({ cluster: 'home', node: 'nuc1' })).toBeUndefined();
    for (const [node, name] of [
      ['pve1', 'proxmox'],
      ['pve3', 'proxmox-api'],
    ] as const) {
      const driver = rack.hypervisorOf({ cluster: 'rack', node });
      const { driver: own, facts } = (await driver?.describe(node)) ?? {};
      expect(own).toMatchObject({ name, simulated: true });
      expect(facts).toMatchObject({ runningGuests: 2, quorum: { expectedVotes: 3 } });
      expect((await driver?.sample(node))?.guests).toHaveLength(2);
      await driver?.close();
    }
  } finally {
    live.stop();
    await rack.stop();
  }
  expect((await folders()).filter((name) => !before.includes(name)).filter(existsSync)).toEqual([]);
});
