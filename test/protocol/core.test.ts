/** The core tier in CI, and what a run of either tier is worth. */
import { describe, expect, it } from 'vitest';
import { expectEvidence, patienceMs } from './evidence.ts';
import { noFigures, whyNotCounted } from './run.ts';

describe('the production protocol over a store in memory', () => {
  it(
    'keeps every invariant in each seed, and enough happens for that to count',
    async () => {
      const { commands, powerOffs, wakes } = await expectEvidence('core', 5_000);
      expect(Math.min(commands, powerOffs, wakes)).toBeGreaterThan(0);
    },
    patienceMs,
  );
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
