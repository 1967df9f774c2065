/** One virtual clock and seeded chance for tests: nothing moves until the test says so. */
import type { Cancel, Clock, NewId, Random } from '../../broker/contract/ports.ts';
import { uuidv7 } from '../../broker/contract/ids.ts';

export type VirtualClock = Clock & {
  /** Runs every timer due within `ms`, in order, awaiting each before the next. */
  advance(ms: number): Promise<void>;
  pending(): number;
};

export function virtualClock(startWallMs = 1_800_000_000_000): VirtualClock {
  let nowMs = 0;
  let nextId = 1;
  const timers = new Map<number, { dueMs: number; run: () => void | Promise<void> }>();
  const nextDue = (untilMs: number) =>
    [...timers.entries()]
      .filter(([, timer]) => timer.dueMs <= untilMs)
      .sort(([a, x], [b, y]) => x.dueMs - y.dueMs || a - b)[0];
  return {
    // Stamps are whole milliseconds, whatever fraction a timer was set to.
    wallMs: () => Math.floor(startWallMs + nowMs),
    monotonicMs: () => nowMs,
    after(delayMs, run): Cancel {
      const id = nextId;
      nextId += 1;
      timers.set(id, { dueMs: nowMs + Math.max(0, delayMs), run });
      return () => timers.delete(id);
    },
    async advance(ms) {
      const untilMs = nowMs + ms;
      for (let due = nextDue(untilMs); due; due = nextDue(untilMs)) {
        const [id, timer] = due;
        timers.delete(id);
        nowMs = Math.max(nowMs, timer.dueMs);
        await timer.run();
        await new Promise((resolve) => setImmediate(resolve));
      }
      nowMs = untilMs;
    },
    pending: () => timers.size,
  };
}

/** mulberry32: 32 bits of state, good enough to shuffle tests and replay them by seed. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const ratio = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    ratio,
    bytes(count) {
      const bytes = new Uint8Array(count);
      for (let index = 0; index < count; index += 1) bytes[index] = Math.floor(ratio() * 256);
      return bytes;
    },
  };
}

export const idsOf =
  (clock: Clock, random: Random): NewId =>
  () =>
    uuidv7(clock.wallMs(), random.bytes(16));
