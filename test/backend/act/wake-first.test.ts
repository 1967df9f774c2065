import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { simulatedLimits } from '../../../backend/act/guard-limits.ts';
import {
  nextStep,
  stepsOf,
  type WakeSeen,
  type WakeView,
} from '../../../backend/act/wake-first.ts';
import { checkInvariants } from './invariants.ts';
import { createWorld } from './twin.ts';
import { taken, type Wish, wishOf } from './wishes.ts';

const wake = (change: Partial<WakeSeen> = {}): WakeSeen => ({
  id: 'w1',
  state: 'RUNNING',
  reason: null,
  isOwn: true,
  ...change,
});
const view = (change: Partial<WakeView> = {}): WakeView => ({
  node: 'n3',
  missing: 'node n3 has not said hello and sent a sample yet',
  isHeard: false,
  busy: null,
  wakes: [],
  wakesMax: 3,
  ...change,
});
const doubtful = (id: string) => wake({ id, state: 'INDETERMINATE' });

describe('what comes next for a start whose node sleeps', () => {
  it.each<[string, Partial<WakeView>, ReturnType<typeof nextStep>['do']]>([
    ['nothing was sent', {}, 'wake'],
    ['the node is ready', { missing: null, isHeard: true, wakes: [wake()] }, 'start'],
    ['it is heard, and cannot start guests yet', { isHeard: true }, 'wait'],
    ['its power-off goes on', { busy: 'node.shutdown s1' }, 'wait'],
    ['its wake runs', { wakes: [wake()] }, 'wait'],
    ["somebody else's wake runs", { wakes: [wake({ isOwn: false })] }, 'wait'],
    ["somebody else's wake is in doubt", { wakes: [{ ...doubtful('w0'), isOwn: false }] }, 'wake'],
    ['it has woken and sent no sample', { wakes: [wake({ state: 'SUCCEEDED' })] }, 'wait'],
    ['the next way is still to be tried', { wakes: [doubtful('w1'), doubtful('w2')] }, 'wait'],
    ['all ways were tried', { wakes: ['w1', 'w2', 'w3'].map(doubtful) }, 'fail'],
    ['its wake was refused', { wakes: [wake({ state: 'REJECTED' })] }, 'fail'],
    ['its wake was cancelled', { wakes: [wake({ state: 'CANCELLED' })] }, 'fail'],
  ])('when %s', (_, change, expected) => {
    expect(nextStep(view(change)).do).toBe(expected);
  });

  it('says by which wake it failed, and why', () => {
    const refused = wake({ state: 'REJECTED', reason: 'KR_NO_WAKER: nobody' });
    expect(nextStep(view({ wakes: [refused] }))).toEqual({
      do: 'fail',
      why: 'node n3 did not come by its wake: w1: KR_NO_WAKER: nobody',
    });
  });
});

describe('the steps that are shown', () => {
  const row = { id: 's', plan_id: 's', executor: 'n3', state: 'PLANNED', state_reason: null };
  const states = (...given: Parameters<typeof stepsOf>) =>
    stepsOf(...given).map(({ step, state }) => `${step} ${state}`);
  const woken = [{ id: 'w1', state: 'SUCCEEDED', state_reason: null }];

  it('follow the plan from its wake to the started guest', () => {
    const queued = [{ id: 'w1', state: 'QUEUED', state_reason: null }];
    expect(states(row, queued, false)).toEqual(['wake waiting', 'ready waiting', 'start waiting']);
    expect(states(row, woken, false)).toEqual(['wake done', 'ready running', 'start waiting']);
    const running = { ...row, state: 'RUNNING' };
    expect(states(running, woken, true)).toEqual(['wake done', 'ready done', 'start running']);
  });

  it('say what was left undone', () => {
    const failed = [{ id: 'w1', state: 'INDETERMINATE', state_reason: null }];
    const over = { ...row, state: 'REJECTED' };
    expect(states(over, failed, false)).toEqual([
      'wake in-doubt',
      'ready skipped',
      'start skipped',
    ]);
    const expired = { ...row, state: 'EXPIRED' };
    expect(states(expired, woken, false)).toEqual(['wake done', 'ready failed', 'start skipped']);
  });
});

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-wake-first-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const minute = 60_000;
const start: Wish = { kind: 'guest.start', node: 'n3', guest: '103' };

/** Node n3 was put to sleep, and guest 103 is on it. */
async function asleep() {
  const world = await createWorld({
    folder,
    layout: {
      clusters: { home: ['n1', 'n2', 'n3'] },
      guests: { 'home/100': 'n1', 'home/103': 'n3', 'home/104': 'n3' },
    },
  });
  await world.database.db
    .updateTable('clusters')
    .set({ limits: JSON.stringify({ ...simulatedLimits, wakeAttempts: 2 }) })
    .execute();
  let service = world.createService();
  await service.commands.start();
  await world.boot();
  await taken(service, { kind: 'node.shutdown', node: 'n3' });
  await world.clock.advance(2 * minute);
  expect(world.isOff('n3')).toBe(true);
  const before = world.effects.length;
  const state = async (id: string) => (await world.command(id)).state;
  return {
    world,
    state,
    /** What was done since the node sleeps. */
    done: () => world.effects.slice(before),
    send: (wish: Wish = start) => taken(service, wish),
    commands: () => service.commands,
    killAndReplace: async () => {
      service.kill();
      await world.clock.advance(minute / 4);
      service = world.createService('backend-b');
      await service.commands.start();
    },
    wakes: async () =>
      (await world.database.db.selectFrom('commands').selectAll().orderBy('id').execute()).filter(
        ({ kind }) => kind === 'node.wake',
      ),
    until: async (id: string, isSo: (state: string) => boolean) => {
      for (let round = 0; round < 600 && !isSo(await state(id)); round += 1) {
        await world.clock.advance(5_000);
      }
      expect(await state(id)).toSatisfy(isSo);
    },
  };
}

const isOver = (state: string): boolean =>
  ['SUCCEEDED', 'FAILED', 'REJECTED', 'CANCELLED', 'EXPIRED'].includes(state);

describe('a start on a sleeping node', () => {
  it('wakes the node, waits until it is ready, and starts the guest, under one id', async () => {
    const { world, done, send, wakes, until, state, commands } = await asleep();
    const id = await send();
    expect(await world.command(id)).toMatchObject({
      state: 'PLANNED',
      approved_by: 'account:anna',
    });
    expect(await wakes()).toMatchObject([{ plan_id: id, target_id: 'n3', actor: 'account:anna' }]);
    expect(await commands().approve(id, 'account:eve')).toMatchObject({ ok: false });
    // A second guest of the node waits for the same wake.
    const second = await send({ ...start, guest: '104' });
    await until(id, isOver);
    await until(second, isOver);
    expect([await state(id), await state(second)]).toEqual(['SUCCEEDED', 'SUCCEEDED']);
    expect(done().map(({ kind }) => kind)).toEqual(['node.wake', 'guest.start', 'guest.start']);
    const [woke, started] = done();
    expect(started?.commandId).toBe(id);
    expect((started?.atMs ?? 0) - (woke?.atMs ?? 0)).toBeGreaterThanOrEqual(30_000);
    await checkInvariants(world);
  });

  it('goes on under another backend, wherever the first one was killed', async () => {
    const { world, done, send, until, state, killAndReplace } = await asleep();
    const id = await send();
    await world.clock.advance(500);
    await killAndReplace();
    await world.clock.advance(minute / 4);
    await killAndReplace();
    await until(id, isOver);
    expect(await state(id)).toBe('SUCCEEDED');
    expect(done().map(({ kind }) => kind)).toEqual(['node.wake', 'guest.start']);
    await checkInvariants(world);
  });

  it('fails with the wake, and says by which way out', async () => {
    const { world, done, send, until, wakes } = await asleep();
    world.breakWakes();
    const id = await send();
    await until(id, isOver);
    const row = await world.command(id);
    expect(row.state).toBe('REJECTED');
    expect(row.state_reason).toMatch(/^KR_WAKE_FAILED: guest 103 was not started.*2 wakes/);
    expect(row.state_reason).toContain('switch the node on by hand');
    expect((await wakes()).map(({ plan_id }) => plan_id)).toEqual([id, id]);
    expect(done().some(({ kind }) => kind === 'guest.start')).toBe(false);
    await checkInvariants(world);
  });

  it('is refused at once where its wake is, with the reason of the wake', async () => {
    const { world, commands } = await asleep();
    for (const node of ['n1', 'n2']) world.twin(node).crash();
    await world.clock.advance(minute);
    const answer = await commands().submit(wishOf(start));
    expect(answer).toMatchObject({ ok: true, state: 'REJECTED' });
    const id = answer.ok ? answer.id : '';
    expect((await world.command(id)).state_reason).toMatch(/^KR_WAKE_FAILED: .*KR_NO_WAKER/);
  });

  it('takes a wake that has not begun back when it is cancelled', async () => {
    const { world, done, send, state, commands, wakes } = await asleep();
    const id = await send();
    expect(await commands().cancel(id, 'account:anna')).toMatchObject({ state: 'CANCELLED' });
    await world.clock.advance(5 * minute);
    expect((await wakes()).map((row) => row.state)).toEqual(['CANCELLED']);
    expect(await state(id)).toBe('CANCELLED');
    expect(done()).toEqual([]);
    expect(world.isOff('n3')).toBe(true);
  });

  it('is stopped by HOLD, also when its node comes', async () => {
    const { world, done, send, state, commands } = await asleep();
    const id = await send();
    await world.clock.advance(10_000);
    expect(done().map(({ kind }) => kind)).toEqual(['node.wake']);
    const hold = { cluster: 'home', hold: true, reason: null, actor: 'account:anna' };
    await commands().setHold(hold);
    await world.clock.advance(5 * minute);
    expect(world.isOff('n3')).toBe(false);
    expect(await state(id)).toBe('CANCELLED');
    expect(done()).toHaveLength(1);
  });
});
