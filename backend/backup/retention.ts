/**
 * Which backups are kept: all of the last 24 hours, then the newest of each day for 7 days and the
 * newest of each week for 4 weeks, in UTC. Pure; what is not kept may be removed.
 */

const dayMs = 86_400_000;
const weekMs = 7 * dayMs;
/** 1970-01-01 was a Thursday; weeks here begin on Mondays. */
const mondayMs = 4 * dayMs;

const newestOf = (times: readonly number[], bucketOf: (atMs: number) => number): number[] => {
  const newest = new Map<number, number>();
  for (const atMs of times) {
    const bucket = bucketOf(atMs);
    newest.set(bucket, Math.max(newest.get(bucket) ?? -Infinity, atMs));
  }
  return [...newest.values()];
};

/** @param times when each backup was made, wall ms. A time in the future is kept. */
export function keptTimes(times: readonly number[], nowMs: number): ReadonlySet<number> {
  const within = (spanMs: number) => times.filter((atMs) => nowMs - atMs < spanMs);
  return new Set([
    ...within(dayMs),
    ...newestOf(within(7 * dayMs), (atMs) => Math.floor(atMs / dayMs)),
    ...newestOf(within(4 * weekMs), (atMs) => Math.floor((atMs - mondayMs) / weekMs)),
    // Whatever the clock says, the newest one stays.
    ...newestOf(times, () => 0),
  ]);
}
