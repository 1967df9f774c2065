import { describe, expect, it } from 'vitest';
import {
  kneeOf,
  type KneeSearch,
  type Load,
  nextLoad,
  type Tried,
} from '../../../simulator/load/knee.ts';

const search: KneeSearch = {
  vary: 'nodes',
  factor: 2,
  for: 30_000,
  precision: 0.1,
  nodesMax: 4_096,
  intervalMinMs: 250,
};

/** What a server does that carries so many messages in a second. */
function find(first: Load, perSecond: number, how: Partial<KneeSearch> = {}) {
  const tried: Tried[] = [];
  for (let step = 0; step < 50; step += 1) {
    const load = nextLoad(first, tried, { ...search, ...how });
    if (!load) return { found: kneeOf(tried), steps: tried.length };
    tried.push({ load, holds: (load.nodes * 1_000) / load.intervalMs <= perSecond });
  }
  throw new Error('the search has no end');
}

describe('the search for the knee', () => {
  it('doubles until it breaks, then comes as close as was asked', () => {
    const { found, steps } = find({ nodes: 64, intervalMs: 1_000 }, 1_000);
    expect(found?.perSecond).toBeGreaterThan(1_000 / 1.1);
    expect(found?.perSecond).toBeLessThanOrEqual(1_000);
    expect(steps).toBeLessThan(12);
  });

  it('shortens the interval as well, and never below what daemons can', () => {
    const first = { nodes: 100, intervalMs: 5_000 };
    const { found } = find(first, 150, { vary: 'interval' });
    expect(found?.nodes).toBe(100);
    expect(found?.perSecond).toBeGreaterThan(150 / 1.1);
    expect(find(first, 1e9, { vary: 'interval' }).found).toMatchObject({ intervalMs: 250 });
  });

  it('goes down when even the first load is too much, and says so when nothing holds', () => {
    expect(find({ nodes: 512, intervalMs: 1_000 }, 40).found?.nodes).toBeLessThanOrEqual(40);
    expect(find({ nodes: 512, intervalMs: 1_000 }, 0)).toMatchObject({ found: null });
  });

  it('ends at the most nodes there are', () => {
    expect(find({ nodes: 64, intervalMs: 1_000 }, 1e9, { nodesMax: 300 }).found?.nodes).toBe(300);
  });
});
