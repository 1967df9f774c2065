/** The full tier in CI: real codec, Kysely on SQLite, real signatures, torn disks. */
import { describe, expect, it } from 'vitest';
import { replayOf, runSeeds, whyNotCounted } from './run.ts';
import { simulate } from './simulation.ts';
import { openWorkshop } from './workshop.ts';

const seeds = 200;

describe('the production protocol with its real codec, store and signatures', () => {
  it('keeps every invariant in each seed, and enough happens for that to count', async () => {
    const bad: [string, string[]][] = [];
    const figures = await runSeeds({
      tier: 'full',
      from: 1,
      seeds,
      jobs: 2,
      onOutcome({ tier, seed, violations }) {
        if (violations.length > 0) bad.push([replayOf({ tier, seed }), violations]);
      },
    });
    expect(bad).toEqual([]);
    expect(figures.seeds).toBe(seeds);
    expect(figures.repeated).toBe(seeds / 10);
    expect(figures.tornWrites).toBeGreaterThan(0);
    expect(figures.powerOffs).toBeGreaterThan(0);
    expect(whyNotCounted(figures)).toEqual([]);
  }, 1_800_000);

  it('gives another event log for another seed', async () => {
    const workshop = await openWorkshop('full');
    const [first, again, other] = [
      await simulate(5, workshop),
      await simulate(5, workshop),
      await simulate(6, workshop),
    ];
    expect(again.hash).toBe(first.hash);
    expect(other.hash).not.toBe(first.hash);
  }, 60_000);
});
