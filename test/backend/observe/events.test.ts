import { describe, expect, it } from 'vitest';
import type { Commands } from '../../../backend/act/commands.ts';
import { createEventRecorder, recorded } from '../../../backend/observe/events.ts';
import type { MetricsEvent } from '../../../backend/store/ports.ts';
import { virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

function setUp() {
  const clock = virtualClock(1_000_000);
  const log = memoryLog();
  const batches: (readonly MetricsEvent[])[] = [];
  const store = { isDown: false };
  const recorder = createEventRecorder({
    clock,
    log,
    store: {
      async writeEvents(events) {
        if (store.isDown) throw new Error('store is away');
        batches.push(events);
      },
    },
  });
  return { clock, log, batches, store, recorder };
}

const step = {
  id: 'c1',
  cluster: 'home',
  kind: 'guest.migrate',
  state: 'RUNNING',
  atMs: 1_000_000,
  reason: null,
  node: 'n1',
  guest: '100',
} as const;

describe('the recorder of events', () => {
  it('writes what happened within a second as one batch', async () => {
    const { clock, batches, recorder } = setUp();
    recorder.command(step);
    const plan = { id: 'd1', cluster: 'home', at_ms: 1_000_001, summary: 'one move' } as const;
    recorder.decision({ ...plan, outcome: 'acted' });
    await clock.advance(1_000);
    expect(batches).toEqual([
      [
        {
          atMs: 1_000_000,
          cluster: 'home',
          kind: 'guest.migrate',
          outcome: 'RUNNING',
          node: 'n1',
          guest: '100',
          text: '',
          id: 'c1',
        },
        {
          atMs: 1_000_001,
          cluster: 'home',
          kind: 'plan',
          outcome: 'acted',
          node: null,
          guest: null,
          text: 'one move',
          id: 'd1',
        },
      ],
    ]);
    await clock.advance(60_000);
    expect(batches).toHaveLength(1);
    expect(clock.pending()).toBe(0);
  });

  it('gives no two points the same tags and time, for one would hide the other', async () => {
    const { clock, batches, recorder } = setUp();
    for (const id of ['a', 'b', 'c']) recorder.command({ ...step, id });
    recorder.command({ ...step, state: 'SUCCEEDED' });
    await clock.advance(1_000);
    expect(batches[0]?.map(({ atMs }) => atMs - 1_000_000)).toEqual([0, 1, 2, 0]);
  });

  it('keeps what the store does not take, in order, and says so once', async () => {
    const { clock, log, batches, store, recorder } = setUp();
    store.isDown = true;
    recorder.command(step);
    await clock.advance(1_000);
    recorder.command({ ...step, id: 'c2' });
    await clock.advance(30_000);
    expect(recorder.figures()).toEqual({ eventsQueued: 2, eventsDropped: 0 });
    expect(log.lines).toMatchObject([{ level: 'warn' }]);
    store.isDown = false;
    await clock.advance(10_000);
    expect(batches.flat().map(({ id }) => id)).toEqual(['c1', 'c2']);
  });

  it('drops the oldest beyond its bound and counts them', async () => {
    const { store, clock, batches, recorder } = setUp();
    store.isDown = true;
    for (let index = 0; index < 10_003; index += 1) recorder.command({ ...step, id: `${index}` });
    expect(recorder.figures()).toEqual({ eventsQueued: 10_000, eventsDropped: 3 });
    store.isDown = false;
    await clock.advance(1_000);
    expect(batches[0]?.[0]?.id).toBe('3');
  });

  it('writes what waits when it stops', async () => {
    const { batches, recorder } = setUp();
    recorder.command(step);
    await recorder.stop();
    expect(batches).toHaveLength(1);
  });
});

describe('the command face that is recorded', () => {
  const refusal = { status: 409, code: 'KR_HOLD', field: '', detail: 'held', wayOut: '' } as const;
  const submission = {
    cluster: 'home',
    kind: 'node.wake',
    node: 'n2',
    args: {},
    origin: 'person',
    actor: 'anna',
    approved: true,
  } as const;
  const faceOf = (answer: { status: number } | null) =>
    ({
      submit: async () =>
        answer === null
          ? { ok: true, id: 'c1', state: 'QUEUED', replayed: false }
          : { ok: false, refusal: { ...refusal, ...answer } },
      setHold: async () => ({ ok: true }),
    }) as unknown as Commands;

  it('records a refusal with its code, and an accepted command not at all', async () => {
    const { clock, batches, recorder } = setUp();
    await recorded(faceOf(null), recorder).submit(submission);
    const answer = await recorded(faceOf({ status: 409 }), recorder).submit(submission);
    expect(answer).toMatchObject({ ok: false });
    await clock.advance(1_000);
    expect(batches.flat()).toMatchObject([
      { cluster: 'home', kind: 'node.wake', outcome: 'refused', node: 'n2', text: 'KR_HOLD: held' },
    ]);
  });

  it('makes no series of a cluster that does not exist', async () => {
    const { recorder } = setUp();
    await recorded(faceOf({ status: 404 }), recorder).submit(submission);
    expect(recorder.figures().eventsQueued).toBe(0);
  });

  it('records HOLD set and released, of a cluster and of everything', async () => {
    const { clock, batches, recorder } = setUp();
    const face = recorded(faceOf(null), recorder);
    const order = { reason: 'fire drill', actor: 'anna' };
    await face.setHold({ ...order, cluster: null, hold: true });
    await face.setHold({ ...order, cluster: 'home', hold: false });
    await clock.advance(1_000);
    expect(batches.flat()).toMatchObject([
      { cluster: '*', kind: 'hold', outcome: 'set', text: 'fire drill' },
      { cluster: 'home', kind: 'hold', outcome: 'released' },
    ]);
  });
});
