import { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createTurns, shareMs, waitingMax } from '../../broker/turns.ts';

/** Time passes only when somebody works; timers fire when the test lets a turn end. */
function twinClock() {
  const timers: (() => void)[] = [];
  const twin = {
    nowMs: 0,
    monotonicMs: () => twin.nowMs,
    after: (_ms: number, then: () => void) => {
      timers.push(then);
      return () => undefined;
    },
    scheduled: () => timers.length,
    async endTurn(): Promise<void> {
      for (const fire of timers.splice(0)) fire();
      await nextTurn();
    },
  };
  return twin;
}

function working() {
  const clock = twinClock();
  const turns = createTurns(clock);
  const done: number[] = [];
  const work = (number: number, tookMs: number) =>
    turns.take(() => {
      clock.nowMs += tookMs;
      done.push(number);
      return true;
    });
  return { clock, turns, done, work };
}

describe('turns', () => {
  it('does at once what comes while the share lasts, and answers what it answers', () => {
    const { done, work, turns } = working();
    expect(work(1, 1)).toBe(true);
    expect(turns.take(() => false)).toBe(false);
    expect(work(2, 1)).toBe(true);
    expect(done).toEqual([1, 2]);
  });

  it('leaves what is over the share to the next turns, in order of arrival, and loses nothing', async () => {
    const { clock, done, work } = working();
    const each = shareMs / 2;
    const answers = Array.from({ length: 7 }, (_, number) => work(number, each));
    expect(answers).toEqual([true, true, false, false, false, false, false]);
    expect(done).toEqual([0, 1]);
    await clock.endTurn();
    expect(done).toEqual([0, 1, 2, 3]);
    expect(work(7, each)).toBe(false);
    await clock.endTurn();
    await clock.endTurn();
    expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    await clock.endTurn();
    expect(clock.scheduled()).toBe(0);
  });

  it('does one piece a turn however long each takes', async () => {
    const { clock, done, work } = working();
    for (let number = 0; number < 4; number += 1) work(number, 10 * shareMs);
    expect(done).toEqual([0]);
    await clock.endTurn();
    expect(done).toEqual([0, 1]);
    await clock.endTurn();
    await clock.endTurn();
    expect(done).toEqual([0, 1, 2, 3]);
  });

  it('counts what readers do with the bytes, which a stream tells them a tick later', async () => {
    const clock = twinClock();
    const turns = createTurns(clock);
    let read = 0;
    const streams = Array.from({ length: 5 }, () => {
      const stream = new Readable({ read: () => undefined });
      stream.on('readable', () => {
        if (stream.read() === null) return;
        read += 1;
        clock.nowMs += shareMs;
      });
      return stream;
    });
    clock.nowMs = 0;
    turns.take(() => {
      clock.nowMs += shareMs;
      return true;
    });
    for (const stream of streams) turns.take(() => stream.push('x'));
    for (let turn = 1; turn <= streams.length; turn += 1) {
      await clock.endTurn();
      expect(read).toBe(turn);
    }
  });

  it('reads on at once while few wait, else when there is room again, and forgets nobody', async () => {
    const { clock, done, turns, work } = working();
    const asked: number[] = [];
    turns.ask(() => void asked.push(-1));
    expect(asked).toEqual([-1]);
    const count = waitingMax + 2;
    for (let number = 0; number < count; number += 1) work(number, shareMs);
    for (let number = 0; number < 400; number += 1) turns.ask(() => void asked.push(number));
    expect(asked).toEqual([-1]);
    await clock.endTurn();
    // One was done at once and one now: one less waits than may.
    expect(done).toHaveLength(2);
    expect(asked).toEqual([-1]);
    await clock.endTurn();
    expect(asked).toEqual([-1, 0]);
    for (let turn = 0; turn < count && clock.scheduled() > 0; turn += 1) await clock.endTurn();
    expect(done).toHaveLength(count);
    expect(asked).toEqual(Array.from({ length: 401 }, (_, index) => index - 1));
    turns.ask(() => void asked.push(400));
    expect(asked.at(-1)).toBe(400);
  });
});
