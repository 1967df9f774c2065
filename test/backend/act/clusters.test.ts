import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LimitChange, simulatedLimits } from '../../../backend/act/guard-limits.ts';
import { checkInvariants } from './invariants.ts';
import { createWorld, noFaults } from './twin.ts';
import { taken, type Wish, wishOf } from './wishes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-clusters-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const nodes = ['n1', 'n2', 'n3'];
/** Two clusters whose nodes and guests have the same names. */
const layout = {
  clusters: { home: nodes, work: nodes },
  guests: { 'home/100': 'n1', 'home/101': 'n2', 'work/100': 'n2', 'work/101': 'n1' },
};

async function running(limits: LimitChange = {}) {
  const world = await createWorld({ folder, layout });
  await world.database.db
    .updateTable('clusters')
    .set({
      limits: JSON.stringify({ ...simulatedLimits, ...limits }),
      autonomy: '{"default":"auto"}',
    })
    .execute();
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  const ask = (cluster: string, wish: Wish) =>
    service.commands.submit(wishOf({ cluster, ...wish }));
  const send = (cluster: string, wish: Wish) => taken(service, { cluster, ...wish });
  const state = async (id: string) => (await world.command(id)).state;
  const why = async (id: string) => (await world.command(id)).state_reason;
  const row = (id: string) =>
    world.database.db
      .selectFrom('clusters')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
  return { world, service, ask, send, state, why, row };
}

const restart = (node: string, guest: string) => ({ kind: 'guest.restart', node, guest }) as const;

describe('two clusters', () => {
  it('do not mix up nodes and guests of the same name', async () => {
    const { world, ask, send, state } = await running();
    const both = [
      await send('home', restart('n1', '100')),
      await send('work', restart('n2', '100')),
    ];
    expect(await ask('work', restart('n1', '100'))).toMatchObject({
      ok: false,
      refusal: { code: 'KR_GUEST_ELSEWHERE', detail: 'guest 100 is on node n2, not on n1' },
    });
    const off = await send('home', { kind: 'node.shutdown', node: 'n3' });
    await world.clock.advance(120_000);
    expect(await Promise.all([...both, off].map(state))).toEqual([
      'SUCCEEDED',
      'SUCCEEDED',
      'SUCCEEDED',
    ]);
    expect([world.isOff('n3', 'home'), world.isOff('n3', 'work')]).toEqual([true, false]);
    const desired = await world.database.db
      .selectFrom('nodes')
      .select('cluster')
      .where('desired', '=', 'asleep')
      .execute();
    expect(desired).toEqual([{ cluster: 'home' }]);
    await checkInvariants(world);
  });

  it('have each its own HOLD, and no step of a held one grants anything', async () => {
    const { world, service, ask, send, state } = await running();
    const waiting = await send('home', restart('n1', '100'));
    await service.commands.setHold({ cluster: 'home', hold: true, reason: null, actor: 'anna' });
    expect(await state(waiting)).toBe('CANCELLED');
    expect(await ask('home', restart('n2', '101'))).toMatchObject({ refusal: { code: 'KR_HOLD' } });
    const free = await send('work', restart('n2', '100'));
    await world.clock.advance(60_000);
    expect(await state(free)).toBe('SUCCEEDED');
    expect(world.effects.map(({ commandId }) => commandId)).toEqual([free]);
  });

  it('keep a HOLD over a killed backend, and grant nothing after it was committed', async () => {
    const { world, service, send, state } = await running();
    // Its executor does not hear of it yet.
    world.setFaults({ ...noFaults, loss: 1 });
    const offered = await send('home', restart('n1', '100'));
    while ((await state(offered)) !== 'OFFERED') await world.clock.advance(50);
    await service.commands.setHold({ cluster: 'home', hold: true, reason: null, actor: 'anna' });
    service.kill();
    world.setFaults(noFaults);
    const other = world.createService('backend-b');
    await other.commands.start();
    await world.clock.advance(60_000);
    expect(await state(offered)).toBe('CANCELLED');
    expect(world.effects).toEqual([]);
    const [last] = world.retained.slice(-1);
    expect(JSON.parse(JSON.parse(last ?? '').signed)).toMatchObject({
      hold: { all: false, clusters: ['home'] },
    });
  });

  it('are frozen one by one', async () => {
    const { world, send, state, why, row } = await running({ staleNodesMin: 2, freezeMs: 300_000 });
    // Until then a picture that is not whole is waited for.
    await world.clock.advance(130_000);
    for (const node of ['n2', 'n3']) world.twin(node, 'home').crash();
    await world.clock.advance(1_000);
    const engine = { origin: 'engine', actor: 'engine' } as const;
    const barred = await send('home', { ...restart('n1', '100'), ...engine });
    expect(await why(barred)).toMatch(/^KR_FROZEN: .*2 of 3/);
    const free = await send('work', { ...restart('n2', '100'), ...engine });
    expect(await state(free)).toBe('QUEUED');
    expect((await row('home')).frozen_until_ms).not.toBeNull();
    expect((await row('work')).frozen_until_ms).toBeNull();
  });

  it('have each its own limiter, quarantine and places', async () => {
    const { world, send, state, why } = await running({
      powerOffEveryMs: 600_000,
      wakeQuarantineMs: 86_400_000,
      wakeAttempts: 1,
      commandsAtOnce: 1,
    });
    await send('home', { kind: 'node.shutdown', node: 'n3' });
    await world.clock.advance(120_000);
    expect(await why(await send('home', { kind: 'node.shutdown', node: 'n2' }))).toMatch(
      /^KR_LIMITER: limit power-off /,
    );
    const other = await send('work', { kind: 'node.shutdown', node: 'n3' });
    expect(await state(other)).toBe('QUEUED');
    const mine = await send('home', restart('n1', '100'));
    await world.clock.advance(3_000);
    expect(['RUNNING', 'SUCCEEDED']).toContain(await state(mine));
    await world.clock.advance(120_000);
    world.breakWakes();
    await send('home', { kind: 'node.wake', node: 'n3' });
    await world.clock.advance(12 * 60_000);
    expect(await why(await send('home', { kind: 'node.shutdown', node: 'n2' }))).toMatch(
      /^KR_WAKE_FAILED: node n3/,
    );
    expect(await state(await send('work', { kind: 'node.shutdown', node: 'n2' }))).toBe('QUEUED');
    await checkInvariants(world);
  });

  it('may be led by two backends, and a deposed one changes only what it still leads', async () => {
    const { world, service, send, state } = await running();
    const other = world.createService('backend-b');
    await world.database.db
      .updateTable('leases')
      .set((eb) => ({ owner: 'backend-b', epoch: eb('epoch', '+', 1) }))
      .where('cluster', '=', 'work')
      .execute();
    await other.commands.start();
    await world.clock.advance(10_000);
    expect(service.commands.lease.epochOf('work')).toBeUndefined();
    expect(service.commands.lease.epochOf('home')).toBeDefined();
    expect(other.commands.lease.epochOf('work')).toBeDefined();
    expect(other.commands.lease.epochOf('home')).toBeUndefined();
    const mine = await send('home', restart('n1', '100'));
    await expect(send('work', restart('n2', '100'))).rejects.toThrow(/another backend/);
    await world.clock.advance(60_000);
    expect(await state(mine)).toBe('SUCCEEDED');
    await checkInvariants(world);
  });
});
