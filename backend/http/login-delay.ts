/**
 * How long the next sign-in must wait, per account name and per address: free at first, then
 * doubling up to a cap. Never a hard lock, so nobody can shut an owner out; unknown names are
 * counted like known ones, so the answer betrays nothing. Pure: time comes as `nowMs`.
 *
 * An attempt counts as failed from its start until `succeeded` clears it; otherwise a hundred
 * parallel guesses would all see the delay of the first.
 */

type Failures = { count: number; lastMs: number };

export type LoginDelay = {
  /** Milliseconds to wait, or 0 and the attempt is counted. */
  attempt(key: string, nowMs: number): number;
  /** Forgets every failure: the owner of this name is here. */
  succeeded(key: string): void;
  /** Takes back this attempt only: others of the same address may still be guesses. */
  takeBack(key: string): void;
  size(): number;
};

export type DelayOptions = { freeAttempts: number; capMs: number; keysMax: number };

/** An owner who mistypes waits at most half a minute, even while somebody attacks the name. */
export const accountDelay: DelayOptions = { freeAttempts: 5, capMs: 30_000, keysMax: 10_000 };
/** One address gets 10 free guesses, then at most one a quarter of an hour. */
export const addressDelay: DelayOptions = { freeAttempts: 10, capMs: 900_000, keysMax: 10_000 };

const firstDelayMs = 1_000;
/** Of the failures one is forgotten per ten quiet minutes, so that typing errors do not add up. */
const forgetEveryMs = 600_000;

export function createLoginDelay({ freeAttempts, capMs, keysMax }: DelayOptions): LoginDelay {
  const failures = new Map<string, Failures>();
  const delayMs = (count: number): number =>
    count < freeAttempts ? 0 : Math.min(capMs, firstDelayMs * 2 ** (count - freeAttempts));
  return {
    attempt(key, nowMs) {
      const known = failures.get(key) ?? { count: 0, lastMs: nowMs };
      const forgotten = Math.floor((nowMs - known.lastMs) / forgetEveryMs);
      const past = { ...known, count: Math.max(0, known.count - forgotten) };
      const waitMs = past.count === 0 ? 0 : past.lastMs + delayMs(past.count) - nowMs;
      if (waitMs > 0) return waitMs;
      failures.delete(key);
      failures.set(key, { count: past.count + 1, lastMs: nowMs });
      // Maps keep insertion order: the first key is the one whose last attempt is oldest.
      const oldest = failures.size > keysMax ? failures.keys().next() : undefined;
      if (oldest && oldest.done !== true) failures.delete(oldest.value);
      return 0;
    },
    succeeded: (key) => void failures.delete(key),
    takeBack(key) {
      const known = failures.get(key);
      if (known) known.count -= 1;
    },
    size: () => failures.size,
  };
}
