/**
 * What the seeds of a tier must show in CI: no violation, every seed run, some of them run twice
 * with the same event log, and enough happening for all of that to count. It fails with the
 * replay command of each seed that is violated.
 */
import { expect } from 'vitest';
import type { Tier } from './house.ts';
import { type Figures, repeatEvery, replayOf, runSeeds, whyNotCounted } from './run.ts';

/** A machine that others use too takes many times as long. */
export const patienceMs = 3_600_000;

export async function expectEvidence(tier: Tier, seeds: number): Promise<Figures> {
  const bad: [string, string[]][] = [];
  const figures = await runSeeds({
    tier,
    from: 1,
    seeds,
    jobs: 2,
    onOutcome({ seed, violations }) {
      if (violations.length > 0) bad.push([replayOf({ tier, seed }), violations]);
    },
  });
  expect(bad).toEqual([]);
  expect(figures.seeds).toBe(seeds);
  expect(figures.repeated).toBe(Math.floor(seeds / repeatEvery[tier]));
  expect(whyNotCounted(figures)).toEqual([]);
  return figures;
}
