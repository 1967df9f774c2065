import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LimitChange, simulatedLimits } from '../../../backend/act/guard-limits.ts';
import { createWorld } from './twin.ts';
import { taken, type Wish } from './wishes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-control-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** Three nodes under the given limits, with an engine that may do everything once approved. */
async function running(limits: LimitChange) {
  const world = await createWorld({ folder });
  const all = { ...simulatedLimits, ...limits };
  await world.database.db
    .updateTable('clusters')
    .set({ limits: JSON.stringify(all), autonomy: '{"default":"approve"}' })
    .execute();
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  const send = (wish: Wish) => taken(service, { node: 'n3', ...wish });
  const cluster = () =>
    world.database.db.selectFrom('clusters').selectAll().executeTakeFirstOrThrow();
  return { world, service, send, cluster };
}

describe('control over a cluster', () => {
  it('lets a second power-off through only when the first has ended, whoever approved it', async () => {
    const { world, service, send } = await running({});
    const engine = { kind: 'node.shutdown', origin: 'engine', actor: 'engine' } as const;
    const first = await send(engine);
    const second = await send({ ...engine, node: 'n2' });
    expect(await service.commands.approve(first, 'account:anna')).toMatchObject({
      state: 'QUEUED',
    });
    expect(await service.commands.approve(second, 'account:anna')).toMatchObject({
      state: 'REJECTED',
    });
    expect((await world.command(second)).state_reason).toMatch(/^KR_LIMITER: 1 power-offs/);
    await world.clock.advance(240_000);
    expect(world.effects.map(({ commandId }) => commandId)).toEqual([first]);
  });

  it('takes the token of a power-off when it is queued', async () => {
    const { world, send } = await running({ powerOffEveryMs: 600_000 });
    const first = await send({ kind: 'node.shutdown' });
    await world.clock.advance(240_000);
    expect((await world.command(first)).state).toBe('SUCCEEDED');
    const second = await send({ kind: 'node.shutdown', node: 'n2' });
    expect((await world.command(second)).state_reason).toMatch(/^KR_LIMITER: limit power-off/);
    expect(await world.database.db.selectFrom('limiter').selectAll().execute()).toHaveLength(2);
  });

  it('makes the engine leave alone what a person touched, for as long as it says', async () => {
    const { world, send } = await running({ manualPauseMs: 3_600_000 });
    const restart = { kind: 'guest.restart', node: 'n1', guest: '100' } as const;
    await send(restart);
    await world.clock.advance(60_000);
    const engine = { ...restart, origin: 'engine', actor: 'engine' } as const;
    const barred = await send(engine);
    expect((await world.command(barred)).state_reason).toMatch(/^KR_PAUSED/);
    const other = await send({ ...engine, node: 'n2', guest: '101' });
    expect((await world.command(other)).state).toBe('PLANNED');
    await world.clock.advance(3_600_000);
    const later = await send(engine);
    expect((await world.command(later)).state).toBe('PLANNED');
  });

  it('freezes the cluster when a power-off failed, until somebody looked or a day is over', async () => {
    const { world, service, send, cluster } = await running({ abortFreezeMs: 86_400_000 });
    world.blindWitnesses();
    world.twin('n3').crash();
    world.twin('n3').start();
    const id = await send({ kind: 'node.shutdown' });
    await world.clock.advance(20 * 60_000);
    expect((await world.command(id)).state).toBe('INDETERMINATE');
    const word = { outcome: 'failed', note: 'it still runs', actor: 'account:anna' } as const;
    expect(await service.commands.resolve(id, word)).toMatchObject({ state: 'FAILED' });
    expect((await cluster()).frozen_reason).toBe('node.shutdown of n3 failed');
    const next = await send({ kind: 'node.shutdown', node: 'n2' });
    expect((await world.command(next)).state_reason).toMatch(/^KR_FROZEN/);
    const person = await send({ kind: 'guest.restart', node: 'n1', guest: '100' });
    expect((await world.command(person)).state).toBe('QUEUED');
  });

  it('quarantines a node that was not woken, and bars every power-off', async () => {
    const { world, send } = await running({ wakeQuarantineMs: 86_400_000, wakeAttempts: 1 });
    await send({ kind: 'node.shutdown' });
    await world.clock.advance(240_000);
    world.breakWakes();
    const wake = await send({ kind: 'node.wake' });
    await world.clock.advance(13 * 60_000);
    expect(['INDETERMINATE', 'FAILED']).toContain((await world.command(wake)).state);
    const next = await send({ kind: 'node.shutdown', node: 'n2' });
    expect((await world.command(next)).state_reason).toMatch(/^KR_WAKE_FAILED: node n3/);
  });

  it('stays frozen for a while after too many nodes were not heard', async () => {
    const { world, send, cluster } = await running({ staleNodesMin: 2, freezeMs: 300_000 });
    // Until then a picture that is not whole is waited for.
    await world.clock.advance(130_000);
    world.twin('n2').crash();
    world.twin('n3').crash();
    await world.clock.advance(1_000);
    const engine = { kind: 'guest.restart', node: 'n1', guest: '100' } as const;
    const barred = await send({ ...engine, origin: 'engine', actor: 'engine' });
    expect((await world.command(barred)).state_reason).toMatch(/^KR_FROZEN: .*2 of 3/);
    for (const node of ['n2', 'n3']) world.twin(node).start();
    await world.clock.advance(5_000);
    const still = await send({ ...engine, origin: 'engine', actor: 'engine' });
    expect((await world.command(still)).state_reason).toMatch(/^KR_FROZEN: .*2 of 3/);
    expect((await cluster()).frozen_until_ms).toBeGreaterThan(0);
  });
});
