/** The core tier in CI, and what a run of either tier is worth. */
import { describe, expect, it } from 'vitest';
import { noFigures, replayOf, runSeeds, whyNotCounted } from './run.ts';

const seeds = 3_000;

describe('the production protocol over a store in memory', () => {
  it('keeps every invariant in each seed, and enough happens for that to count', async () => {
    const bad: [string, string[]][] = [];
    const figures = await runSeeds({
      tier: 'core',
      from: 1,
      seeds,
      jobs: 2,
      onOutcome({ tier, seed, violations }) {
        if (violations.length > 0) bad.push([replayOf({ tier, seed }), violations]);
      },
    });
    expect(bad).toEqual([]);
    expect(figures.seeds).toBe(seeds);
    expect(figures.repeated).toBe(seeds / 50);
    expect(whyNotCounted(figures)).toEqual([]);
  }, 1_800_000);
});

describe('a run in which nothing happened', () => {
  it('does not count', () => {
    const idle = { ...noFigures({ tier: 'core', from: 1, seeds: 10, jobs: 1 }), seeds: 10 };
    const enough = { commands: 20, crashes: 10, duplicates: 10 };
    expect(whyNotCounted(idle)).toHaveLength(3);
    expect(whyNotCounted({ ...idle, ...enough })).toEqual([]);
    expect(whyNotCounted({ ...idle, ...enough, commands: 19 })).toHaveLength(1);
  });
});
