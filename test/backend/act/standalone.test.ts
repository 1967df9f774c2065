/**
 * That a host without a cluster is off, from the command to its proof: the production server asks a
 * witness where the host was, and that one looks by the production code of a daemon, of whose
 * drivers none can tell. Only the network itself is played.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { workOf } from '../../../daemon/command/work.ts';
import { createLxdHypervisor, type LxdOptions } from '../../../daemon/hypervisor/lxd/driver.ts';
import type { Observation, Work } from '../../../daemon/hypervisor/port.ts';
import { observeGuests } from '../../../daemon/hypervisor/script-answers.ts';
import { createReach } from '../../../daemon/link/reach.ts';
import type { Files } from '../../../daemon/sample/files.ts';
import { nodeValues } from '../../support/messages.ts';
import { createWorld } from './twin.ts';
import { taken } from './wishes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-standalone-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const minute = 60_000;
const router = '192.168.7.1';
const addressOf = (node: string): string => `192.168.7.1${node.slice(1)}`;
const linkOf = (node: string) => ({
  name: 'eno1',
  mac: `02:00:00:00:00:0${node.slice(1)}`,
  driver: 'igc',
  address: `${addressOf(node)}/24`,
  broadcast: '192.168.7.255',
  wakeOnMagic: true,
});

const drivers: Record<string, (work: Work) => Observation | Promise<Observation>> = {
  lxd: (work) => createLxdHypervisor({ node: work.node, api: {} } as LxdOptions).observe(work),
  script: (work) => observeGuests(work, [], undefined, 0),
};

async function house(driver: string) {
  const network = { answers: false };
  const world = await createWorld({
    folder,
    isReal: true,
    layout: { clusters: { home: ['n1', 'n2'] }, guests: {} },
    async look({ addresses = [], ...probe }, node) {
      const isThere = (at: string): boolean =>
        at === router || network.answers || !(at === addressOf('n1') && world.isOff('n1'));
      const row = (at: string): string =>
        isThere(at)
          ? `${at}  0x1  0x2  02:00:00:00:00:0b  *  eno1\n`
          : `${at}  0x1  0x0  00:00:00:00:00:00  *  eno1\n`;
      const files = {
        text: async () => `head\n${row(router)}${row(addressOf('n1'))}`,
        line: async () => '1',
      } as unknown as Files;
      const links = async () => [linkOf(node)];
      // A host that hangs answers for its address and at no port.
      const knock = async (at: string) => !network.answers && isThere(at) && at !== router;
      const reach = createReach({ links, files, clock: world.clock, knock });
      const heard = addresses.length > 0 ? await reach(addresses) : undefined;
      const work = workOf(probe, node, 1);
      if (!work) throw new Error('the probe names no work');
      const seen = await drivers[driver]?.(work);
      if (!seen) throw new Error(`there is no driver ${driver}`);
      return seen.postcondition === null && heard ? heard : seen;
    },
  });
  for (const [node, record] of world.fleet.nodesByCluster.get('home') ?? []) {
    const own = { kernel: '6.14', roles: [], busy: [], upsOnBattery: false, runningGuests: 0 };
    record.values = nodeValues({ uptimeMs: 60 * minute });
    record.facts = NodeFacts.parse({ ...own, links: [linkOf(node)] });
  }
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  await world.clock.advance(6 * minute);
  const off = () =>
    taken(service, { kind: 'node.shutdown', node: 'n1', args: { switchOnByHand: 'n1' } });
  const kinds = async (id: string): Promise<string[]> => {
    const { witnesses } = await world.command(id);
    return (JSON.parse(witnesses) as { kind: string }[]).map(({ kind }) => kind).sort();
  };
  return { network, world, off, kinds };
}

describe('a host without a cluster', () => {
  it.each(Object.keys(drivers))(
    'is proven off by its ended session and a daemon with driver %s in its network',
    async (driver) => {
      const { world, off, kinds } = await house(driver);
      const id = await off();
      await world.clock.advance(3 * minute);
      const { state, state_reason: why } = await world.command(id);
      expect({ state, why }).toMatchObject({ state: 'SUCCEEDED' });
      expect(await kinds(id)).toEqual(['gone', 'probe']);
      expect(world.effects).toHaveLength(1);
    },
  );

  it('is not while its card answers, however long its daemon is gone, and is when that ends', async () => {
    const { network, world, off, kinds } = await house('lxd');
    network.answers = true;
    const id = await off();
    await world.clock.advance(6 * minute);
    expect((await world.command(id)).state).toMatch(/^(VERIFYING|INDETERMINATE)$/);
    expect(await kinds(id)).toEqual(['gone']);
    network.answers = false;
    await world.clock.advance(3 * minute);
    expect(await world.command(id)).toMatchObject({ state: 'SUCCEEDED' });
  });
});
