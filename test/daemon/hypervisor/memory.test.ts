import { describe, expect, it } from 'vitest';
import { virtualClock } from '../../support/clock.ts';
import type { Action } from '../../../broker/contract/command.ts';
import { memoryHypervisor } from '../../../daemon/hypervisor/memory.ts';
import type { Work } from '../../../daemon/hypervisor/port.ts';
import { memoryWaker } from '../../../daemon/waker/memory.ts';
import { liveWorld } from '../../../simulator/live-world.ts';
import { buildFleetWorld } from '../../../simulator/world/build.ts';

const cluster = 'sim-001';

function twin() {
  const clock = virtualClock();
  const world = buildFleetWorld({
    seed: 42,
    startMs: clock.wallMs(),
    timeScale: 1,
    nodes: 4,
    nodesPerCluster: 4,
    guestsPerNode: 5,
    clusterPrefix: 'sim',
  });
  const live = liveWorld(world, clock);
  const port = live.cluster(cluster);
  const hypervisor = memoryHypervisor({ world: port, nodes: ['n0001'], clock });
  const power: string[] = [];
  live.onPower((node) => power.push(`${node.spec.node} ${node.power}`));
  return { clock, world, live, port, hypervisor, power };
}

const guestWork = (guest: string, action: Action): Work => ({
  commandId: '00000000-0000-7000-8000-000000000001',
  node: 'n0001',
  target: { kind: 'guest', id: guest },
  action,
  timeScale: 1,
});
const nodeWork = (node: string, action: Action): Work => ({
  commandId: '00000000-0000-7000-8000-000000000002',
  node: 'n0001',
  target: { kind: 'node', id: node },
  action,
  timeScale: 1,
});
const migrate: Action = {
  kind: 'guest.migrate',
  args: { targetNode: 'n0002', online: true, withLocalDisks: false },
};
const shutdown: Action = { kind: 'node.shutdown', args: { mode: 'poweroff' } };

function context() {
  const handles: string[] = [];
  const abort = new AbortController();
  const onHandle = async (handle: string): Promise<void> => void handles.push(handle);
  return { handles, abort, signal: abort.signal, onHandle };
}

describe('the twin', () => {
  it('says that it is simulated and what it can do', async () => {
    const { hypervisor, world } = twin();
    const { driver, bootId, facts, guests } = await hypervisor.describe('n0001');
    expect(driver).toMatchObject({ name: 'memory', simulated: true });
    expect(driver.capabilities).toContain('guest.migrate');
    expect(driver.capabilities).not.toContain('guest.create');
    expect(bootId).toBe(world.nodes.get('sim-001/n0001')?.bootId);
    expect(facts.cpuCount).toBeGreaterThan(0);
    expect(guests).toHaveLength(5);
  });

  it('samples its node with all guests', async () => {
    const { hypervisor } = twin();
    const sample = await hypervisor.sample('n0001');
    expect(sample.guests).toHaveLength(5);
    expect(sample.membersOnline).toEqual(['n0001', 'n0002', 'n0003', 'n0004']);
  });

  it('hands the task over at once and answers when the world has finished it', async () => {
    const { clock, hypervisor, world } = twin();
    const ctx = context();
    let performed: unknown;
    const running = hypervisor.perform(guestWork('101', migrate), ctx).then((result) => {
      performed = result;
      return result;
    });
    await clock.advance(1_000);
    expect(ctx.handles).toEqual(['twin:1']);
    expect(performed).toBeUndefined();
    expect((await hypervisor.observe(guestWork('101', migrate))).postcondition).toBeNull();
    await clock.advance(60_000);
    expect(await running).toMatchObject({ exitCode: 0, detail: 'ok' });
    expect((await hypervisor.observe(guestWork('101', migrate))).postcondition).toBe(true);
    expect(world.log.filter((entry) => entry.effect === 'start')).toHaveLength(1);
  });

  it('relays the reason of a refusal as a failed tool', async () => {
    const { hypervisor } = twin();
    const start: Action = { kind: 'guest.start', args: {} };
    expect(await hypervisor.perform(guestWork('101', start), context())).toMatchObject({
      exitCode: 1,
      detail: 'guest 101 is already running',
    });
  });

  it('kills the task when the executor gives up', async () => {
    const { clock, hypervisor, world } = twin();
    const ctx = context();
    const running = hypervisor.perform(guestWork('101', migrate), ctx);
    await clock.advance(500);
    ctx.abort.abort();
    expect(await running).toMatchObject({ exitCode: null, detail: 'given up before it ended' });
    expect(world.log.at(-1)).toMatchObject({ effect: 'end', outcome: 'cancelled' });
    expect(world.guests.get('sim-001/101')?.node.spec.node).toBe('n0001');
  });

  it('waits for a task begun before its restart, and begins nothing new', async () => {
    const { clock, hypervisor, port, world } = twin();
    const handle = port.begin(guestWork('101', migrate));
    const attached = hypervisor.attach?.(guestWork('101', migrate), handle, context());
    await clock.advance(60_000);
    expect(await attached).toMatchObject({ exitCode: 0 });
    expect(world.log.filter((entry) => entry.effect === 'start')).toHaveLength(1);
    const unknown = await hypervisor.attach?.(guestWork('101', migrate), 'twin:99', context());
    expect(unknown).toMatchObject({ exitCode: null, detail: 'no task twin:99 in this world' });
  });

  it('answers a shutdown at once and loses power some seconds later', async () => {
    const { clock, hypervisor, power } = twin();
    const work = nodeWork('n0001', shutdown);
    expect(await hypervisor.perform(work, context())).toMatchObject({ exitCode: 0 });
    expect(power).toEqual([]);
    await clock.advance(20_000);
    expect(power).toEqual(['n0001 off']);
    await expect(hypervisor.sample('n0001')).rejects.toMatchObject({ code: 'KR_NO_POWER' });
  });
});

describe('the waker of the twin', () => {
  const signal = new AbortController().signal;
  const asleep = async () => {
    const all = twin();
    await all.hypervisor.perform(nodeWork('n0001', shutdown), context());
    await all.clock.advance(20_000);
    const mac = all.world.nodes.get('sim-001/n0001')?.spec.mac ?? '';
    return { ...all, mac };
  };

  it('wakes a sleeping node by its MAC, under the name of the command', async () => {
    const { clock, port, power, mac, world } = await asleep();
    const request = { node: 'n0001', macs: [mac], broadcasts: [], commandId: 'wake-1' };
    const sent = await memoryWaker(port, 'n0002').wake(request, signal);
    expect(sent).toMatchObject({ packets: 1 });
    await clock.advance(200_000);
    expect(power).toEqual(['n0001 off', 'n0001 on']);
    const woken = world.log.filter((entry) => entry.commandId === 'wake-1');
    expect(woken.map(({ effect }) => effect)).toEqual(['start', 'end']);
  });

  it('reports that it sent even when nobody hears', async () => {
    const { clock, port, power } = await asleep();
    const request = { node: 'n0001', macs: ['02:00:00:00:00:99'], broadcasts: [] };
    expect(await memoryWaker(port, 'n0002').wake(request, signal)).toMatchObject({ packets: 1 });
    await clock.advance(200_000);
    expect(power).toEqual(['n0001 off']);
  });

  it('cannot send without a MAC, nor from a node without power', async () => {
    const { port, mac } = await asleep();
    const waker = (from: string) => memoryWaker(port, from);
    await expect(
      waker('n0002').wake({ node: 'n0001', macs: [], broadcasts: [] }, signal),
    ).rejects.toMatchObject({ code: 'KR_BAD_MAC' });
    await expect(
      waker('n0001').wake({ node: 'n0001', macs: [mac], broadcasts: [] }, signal),
    ).rejects.toMatchObject({ code: 'KR_WAKE_SEND' });
  });
});
