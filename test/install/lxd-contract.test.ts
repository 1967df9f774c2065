/** The LXD driver against a real LXD: the contract of all drivers, and what is LXD's alone. */
import { afterAll, beforeAll, describe } from 'vitest';
import { createLxdApi } from '../../daemon/hypervisor/lxd/api.ts';
import { createLxdHypervisor } from '../../daemon/hypervisor/lxd/driver.ts';
import { createSampler } from '../../daemon/sample/sampler.ts';
import { realClock } from '../broker/wire.ts';
import { hypervisorContract } from '../daemon/hypervisor/contract.ts';
import { memoryLog } from '../support/log.ts';
import { noLxd, type RealLxd, startLxd } from '../support/lxd.ts';

describe.skipIf(noLxd !== '')(`a real LXD${noLxd}`, () => {
  let lxd: RealLxd;
  beforeAll(async () => {
    lxd = await startLxd();
  }, 300_000);
  afterAll(() => lxd.stop(), 60_000);

  const driverOf = () =>
    createLxdHypervisor({
      node: 'box',
      api: createLxdApi({ socket: lxd.socket }),
      sampler: createSampler({ clock: realClock, addresses: () => ({}) }),
      daemonVersion: '1',
      clock: realClock,
      log: memoryLog(),
    });

  hypervisorContract('the driver of LXD', async () => {
    await lxd.lxc('launch', lxd.image, 'web');
    await lxd.lxc('init', lxd.image, 'db');
    const before = (await lxd.begun()).length;
    return {
      driver: driverOf(),
      node: 'box',
      running: 'box.web',
      stopped: 'box.db',
      begun: async () => (await lxd.begun()).length - before,
      close: async () => {
        await lxd.lxc('delete', '--force', 'web', 'db');
      },
    };
  });
});
