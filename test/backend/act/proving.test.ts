import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { simulatedLimits } from '../../../backend/act/guard-limits.ts';
import { guestSample } from '../../support/messages.ts';
import { createWorld } from './twin.ts';
import { taken } from './wishes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-proving-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const at = { cluster: 'home', node: 'n3' };
const order = { ...at, cycles: 3, waker: 'wol', actor: 'account:anna' } as const;
const minute = 60_000;

/** Three nodes whose wakes must be proven, in a world where nothing else waits. */
async function running(limits: object = {}) {
  const world = await createWorld({ folder });
  await world.database.db
    .updateTable('clusters')
    .set({
      limits: JSON.stringify({ ...simulatedLimits, ...limits }),
      settings: '{"wakeProof":"required","reserve":"none"}',
    })
    .execute();
  let service = world.createService();
  await service.commands.start();
  await world.boot();
  const stand = async () => {
    const answer = await service.commands.wakeStanding(at);
    if (!answer.ok) throw new Error(answer.refusal.detail);
    return answer.standing;
  };
  const shutdown = async (change: object = {}) => {
    return world.command(await taken(service, { ...at, kind: 'node.shutdown', ...change }));
  };
  return {
    world,
    stand,
    shutdown,
    prove: (change: object = {}) => service.commands.proveWake({ ...order, ...change }),
    giveUp: () => service.commands.endProving(at, 'account:anna'),
    service: () => service,
    /** Another backend takes over where this one was killed. */
    killAndReplace: async () => {
      service.kill();
      await world.clock.advance(minute / 4);
      service = world.createService('backend-b');
      await service.commands.start();
    },
    untilOver: async () => {
      for (let round = 0; round < 240; round += 1) {
        const { campaign } = await stand();
        if (campaign?.state !== 'running') return campaign;
        await world.clock.advance(minute / 2);
      }
      throw new Error(`still ${(await stand()).campaign?.why}`);
    },
    audited: async () => {
      const rows = await world.database.db.selectFrom('audit').selectAll().orderBy('seq').execute();
      return rows.map(({ action }) => action).filter((action) => action.startsWith('wake.'));
    },
  };
}

describe('a proving campaign', () => {
  it('switches the node off and wakes it three times, and then it may sleep', async () => {
    const { world, stand, shutdown, prove, untilOver, audited } = await running();
    expect((await shutdown()).state_reason).toMatch(/^KR_WAKE_UNPROVEN: 0 of 3.*prove-wake/);
    expect(await prove()).toMatchObject({ ok: true });
    expect(await untilOver()).toMatchObject({ state: 'succeeded', proven: 3, done: 3 });
    expect(world.effects.map(({ kind }) => kind)).toEqual(
      Array.from({ length: 3 }, () => ['node.shutdown', 'node.wake']).flat(),
    );
    expect(new Set(world.effects.map(({ commandId }) => commandId)).size).toBe(6);
    const { isProven, proofs } = await stand();
    expect(isProven).toBe(true);
    expect(proofs[0]).toMatchObject({ waker: 'wol', succeeded: 3 });
    // The twin boots in 30 s; what is measured runs from the grant of the wake.
    expect(proofs[0]?.bootMs).toBeGreaterThanOrEqual(30_000);
    expect(proofs[0]?.bootMs).toBeLessThan(2 * minute);
    expect(await audited()).toEqual([
      'wake.campaign-begun',
      'wake.proved',
      'wake.proved',
      'wake.proved',
      'wake.campaign-succeeded',
    ]);
    expect((await shutdown({ origin: 'token', actor: 'token:1' })).state).toBe('QUEUED');
  });

  it('goes on under another backend, and repeats nothing', async () => {
    const { world, prove, untilOver, killAndReplace } = await running();
    await prove();
    for (let kill = 0; kill < 6; kill += 1) {
      await world.clock.advance(minute / 3);
      await killAndReplace();
    }
    expect(await untilOver()).toMatchObject({ state: 'succeeded', proven: 3 });
    const cycles = world.effects.map(({ kind }) => kind);
    expect(cycles.filter((kind) => kind === 'node.shutdown')).toHaveLength(3);
    expect(new Set(world.effects.map(({ commandId }) => commandId)).size).toBe(cycles.length);
  });

  it('is asked of a person by no other power-off of the node', async () => {
    const { world, shutdown, prove } = await running();
    await prove();
    const other = await shutdown({ node: 'n2' });
    expect(other.state_reason).toMatch(/^KR_WAKE_UNPROVEN/);
    // First the wakers confirm their tables.
    await world.clock.advance(minute / 2);
    const rows = await world.database.db.selectFrom('commands').selectAll().execute();
    const proving = rows.filter(({ plan_id }) => plan_id !== null);
    expect(proving.map(({ target_id }) => target_id)).toEqual(['n3']);
  });

  it('fails when the node does not come back, voids what was proven, and says so', async () => {
    const { world, stand, prove, untilOver, audited } = await running();
    await prove({ cycles: 3 });
    while (world.effects.length < 3) await world.clock.advance(minute / 2);
    world.breakWakes();
    expect(await untilOver()).toMatchObject({
      state: 'failed',
      proven: 1,
      why: expect.stringContaining('not woken by wol'),
    });
    const { isProven, proofs } = await stand();
    expect(isProven).toBe(false);
    expect(proofs.map(({ succeeded }) => succeeded)).toEqual([0]);
    expect(await audited()).toContain('wake.failed');
  });

  it('never leaves a node asleep when it is given up', async () => {
    const { world, prove, giveUp, untilOver, stand } = await running();
    await prove();
    while (world.effects.length < 1) await world.clock.advance(1_000);
    await world.clock.advance(10_000);
    expect(world.isOff('n3')).toBe(true);
    expect(await giveUp()).toMatchObject({ ok: true });
    expect(await untilOver()).toMatchObject({ state: 'cancelled', done: 1 });
    expect(world.isOff('n3')).toBe(false);
    expect(world.effects.map(({ kind }) => kind)).toEqual(['node.shutdown', 'node.wake']);
    expect((await stand()).isProven).toBe(false);
    expect(await giveUp()).toMatchObject({ ok: false, refusal: { code: 'KR_NO_CAMPAIGN' } });
  });

  it('waits for what passes with time, and begins with nothing that guards refuse', async () => {
    const { world, prove, stand, untilOver } = await running({ powerOffEveryMs: 10 * minute });
    const guests = world.fleet.nodes.get('home/n3');
    Object.assign(guests ?? {}, { guests: [guestSample('7')] });
    expect(await prove()).toMatchObject({
      ok: false,
      refusal: {
        code: 'KR_GUESTS_RUNNING',
        status: 409,
        wayOut: expect.stringContaining('migrate'),
      },
    });
    expect((await stand()).campaign).toBeNull();
    Object.assign(guests ?? {}, { guests: [] });
    expect(await prove()).toMatchObject({ ok: true });
    expect(await prove()).toMatchObject({ ok: false, refusal: { code: 'KR_CAMPAIGN_RUNS' } });
    await world.clock.advance(4 * minute);
    expect((await stand()).campaign?.why).toMatch(/limit power-off/);
    expect(await untilOver()).toMatchObject({ state: 'succeeded' });
    const offs = world.effects.filter(({ kind }) => kind === 'node.shutdown');
    const gaps = offs.slice(1).map(({ atMs }, index) => atMs - (offs[index]?.atMs ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThan(9 * minute);
  });

  it('is refused under HOLD, for a node that says too little, and in strange numbers', async () => {
    const { service, prove } = await running();
    expect(await prove({ cycles: 0 })).toMatchObject({ refusal: { field: 'cycles' } });
    expect(await prove({ cycles: 11 })).toMatchObject({ refusal: { field: 'cycles' } });
    expect(await prove({ node: 'n9' })).toMatchObject({ refusal: { code: 'KR_UNKNOWN_NODE' } });
    const hold = { cluster: 'home', hold: true, reason: null, actor: 'account:anna' };
    await service().commands.setHold(hold);
    expect(await prove()).toMatchObject({ refusal: { code: 'KR_HOLD' } });
  });

  it('lets a person switch an unproven node off who will switch it on by hand', async () => {
    const { shutdown } = await running();
    const typed = { args: { switchOnByHand: 'n3' } };
    const token = { origin: 'token', actor: 'token:1' };
    expect((await shutdown({ ...typed, ...token })).state_reason).toMatch(/^KR_STATEMENT/);
    const wrong = await shutdown({ args: { switchOnByHand: 'n2' } });
    expect(wrong.state_reason).toMatch(/^KR_STATEMENT/);
    const allowed = await shutdown(typed);
    expect(allowed.state).toBe('QUEUED');
    expect(allowed.guards).toContain('switchOnByHand');
  });
});
