import { describe, expect, it } from 'vitest';
import {
  durationOf,
  firstNodesOf,
  nodesAt,
  nodesMaxOf,
  partOf,
} from '../../../simulator/load/stages.ts';

const stage = (nodes: number, ramp = 0) => ({ nodes, interval: 1_000, for: 60_000, ramp });

describe('the stages of a load test', () => {
  it('ramp in a straight line from the stage before, up and down', () => {
    expect([0, 5_000, 10_000, 30_000].map((ms) => nodesAt(stage(100, 10_000), 20, ms))).toEqual([
      20, 60, 100, 100,
    ]);
    expect([0, 2_500, 10_000].map((ms) => nodesAt(stage(0, 10_000), 40, ms))).toEqual([40, 30, 0]);
    expect(nodesAt(stage(7), 99, 0)).toBe(7);
  });

  it('begin with everybody, or with a ramp with nobody', () => {
    expect([firstNodesOf([stage(8)]), firstNodesOf([stage(8, 1)]), firstNodesOf([])]).toEqual([
      8, 0, 0,
    ]);
    expect([nodesMaxOf([stage(8), stage(9), stage(2)]), durationOf([stage(1), stage(1)])]).toEqual([
      9, 120_000,
    ]);
  });

  it('fall apart into shards that are the whole together', () => {
    for (const whole of [0, 1, 7, 2048]) {
      const parts = [1, 2, 3, 4].map((index) => partOf(whole, { index, count: 4 }));
      expect(parts.reduce((sum, part) => sum + part)).toBe(whole);
      expect(Math.max(...parts) - Math.min(...parts)).toBeLessThan(2);
    }
  });
});
