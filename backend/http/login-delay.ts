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
  succeeded(key: string): void;
  size(): number;
};

export type DelayOptions = { freeAttempts: number; capMs: number; keysMax: number };

/** An owner who mistypes waits at most half a minute, even while somebody attacks the name. */
export const accountDelay: DelayOptions = { freeAttempts: 5, capMs: 30_000, keysMax: 10_000 };
/** One address gets 10 free guesses, then about four an hour. */
export const addressDelay: DelayOptions = { freeAttempts: 10, capMs: 900_000, keysMax: 10_000 };

const firstDelayMs = 1_000;

export function createLoginDelay({ freeAttempts, capMs, keysMax }: DelayOptions): LoginDelay {
  const failures = new Map<string, Failures>();
  const delayMs = (count: number): number =>
    count < freeAttempts ? 0 : Math.min(capMs, firstDelayMs * 2 ** (count - freeAttempts));
  return {
    attempt(key, nowMs) {
      const known = failures.get(key);
      // Forgotten after a day of silence, so that old mistakes do not add up for ever.
      const past = known && nowMs - known.lastMs < 86_400_000 ? known : { count: 0, lastMs: nowMs };
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
    size: () => failures.size,
  };
}
