import { describe, expect, it } from 'vitest';
import { replayOf, runSeeds, whyNotCounted } from './run.ts';

describe('the production protocol under loss, duplicates, crashes, pauses and partitions', () => {
  it('keeps every invariant in each seed, and enough happens for that to count', async () => {
    const outcomes = await runSeeds({ from: 1, seeds: 6 });
    const bad = outcomes.filter(({ violations }) => violations.length > 0);
    expect(bad.map(({ seed, violations }) => [replayOf(seed), violations])).toEqual([]);
    expect(whyNotCounted(outcomes)).toEqual([]);
  }, 180_000);

  it('gives the same event log for the same seed, and another for another', async () => {
    const [first] = await runSeeds({ from: 5, seeds: 1 });
    const [again, other] = await runSeeds({ from: 5, seeds: 2 });
    expect(again?.hash).toBe(first?.hash);
    expect(other?.hash).not.toBe(first?.hash);
  }, 180_000);
});

describe('a run in which nothing happened', () => {
  it('does not count', () => {
    const idle = { seed: 1, violations: [], hash: '', commands: 1, effects: 0 };
    expect(whyNotCounted([{ ...idle, crashes: 0, duplicates: 0 }])).toHaveLength(3);
  });
});
