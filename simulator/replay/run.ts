/**
 * Plays one policy through one day of a track and answers its figures. The policy is asked at the
 * moments of the benchmark and never sees the world change without it; how long it thinks is
 * measured by the stopwatch it is given.
 */
import type { Bounds } from './bounds.ts';
import { CloudsimWorld, type Rules, tickSeconds } from './cloudsim-world.ts';
import type { ReplayPolicy } from './policy.ts';
import { type Score, scoreOf } from './score.ts';
import type { Hosts } from './specs.ts';
import type { Trace } from './trace.ts';

export type Track = 'A' | 'B';

/** A is CloudSim as published, B is CloudSim without the defects that make it incomparable. */
export const rulesOf: Record<Track, Rules> = {
  A: { dropsIdleGuests: true, booksIdleHosts: false },
  B: { dropsIdleGuests: false, booksIdleHosts: true },
};

export type Result = Score & {
  day: string;
  order: string;
  policy: string;
  decideMsMedian: number;
  decideMsP99: number;
  /** Of the gap between LR-MMT and the clairvoyant repack, null where LR-MMT did not run. */
  gapClosed: number | null;
};

export type Day = { trace: Trace; order: string; hosts: Hosts; placement: Int32Array };

/** The value below which a share of them lies; they need not be sorted. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

/** The gap is judged later, beside the other policies of the day. */
export const gapless = { gapClosed: null } as const;

/** @param elapsedMs a stopwatch; only its differences count */
export function play(
  day: Day,
  policy: ReplayPolicy,
  rules: Rules,
  elapsedMs: () => number,
): Result {
  const world = new CloudsimWorld(day.trace, day.hosts, day.placement, rules);
  const thoughtMs: number[] = [];
  tickSeconds(day.trace).forEach((seconds, tick) => {
    world.advance(seconds);
    const beganMs = elapsedMs();
    const moves = policy.decide(world, tick);
    thoughtMs.push(elapsedMs() - beganMs);
    world.start(moves);
  });
  world.finish();
  return {
    ...scoreOf(world.totals),
    day: day.trace.name,
    order: day.order,
    policy: policy.name,
    decideMsMedian: quantile(thoughtMs, 0.5),
    decideMsP99: quantile(thoughtMs, 0.99),
    ...gapless,
  };
}

/** The results of one day with the share of the gap that each closes. */
export function withGap(results: readonly Result[], bounds: Bounds): Result[] {
  const reference = results.find(({ policy }) => policy === 'lr-mmt');
  if (!reference) return [...results];
  const gap = reference.energyKwh - bounds.clairvoyantKwh;
  return results.map((result) => ({
    ...result,
    gapClosed: (reference.energyKwh - result.energyKwh) / gap,
  }));
}
