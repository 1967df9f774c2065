import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  between,
  type Buckets,
  bucketsOf,
  countOf,
  exactQuantile,
  quantileOf,
  valueOf,
} from '../../simulator/histogram.ts';

const text = (counts: readonly number[]): string => `# HELP kr_x_seconds how long
# TYPE kr_x_seconds histogram
kr_x_seconds_bucket{le="0.1",part="a"} ${counts[0]}
kr_x_seconds_bucket{le="0.2",part="a"} ${counts[1]}
kr_x_seconds_bucket{le="+Inf",part="a"} ${counts[2]}
kr_x_seconds_bucket{part="b",le="0.1"} 1
kr_x_seconds_bucket{part="b",le="0.2"} 1
kr_x_seconds_bucket{part="b",le="+Inf"} 1
kr_x_seconds_sum{part="a"} 7
kr_x_seconds_count{part="a"} ${counts[2]}
kr_x_seconds_bucketful 9
kr_other{le="0.1"} 5
kr_other 4
`;

describe('histograms of /metrics', () => {
  it('are read by name, with their label sets added up', () => {
    expect([...bucketsOf(text([10, 20, 30]), 'kr_x_seconds')]).toEqual([
      [0.1, 11],
      [0.2, 21],
      [Infinity, 31],
    ]);
    expect(bucketsOf(text([1, 2, 3]), 'kr_y').size).toBe(0);
  });

  it('count what happened between two looks', () => {
    const delta = between(
      bucketsOf(text([10, 20, 30]), 'kr_x_seconds'),
      bucketsOf(text([15, 35, 50]), 'kr_x_seconds'),
    );
    expect([...delta.values()]).toEqual([5, 15, 20]);
    expect(countOf(delta)).toBe(20);
  });

  it('count from 0 when the server was restarted between two looks', () => {
    const delta = between(
      bucketsOf(text([10, 20, 30]), 'kr_x_seconds'),
      bucketsOf(text([1, 2, 3]), 'kr_x_seconds'),
    );
    expect([...delta.values()]).toEqual([2, 3, 4]);
  });

  it('give values of counters, and null of what is not exposed', () => {
    expect(valueOf(text([1, 2, 3]), 'kr_other')).toBe(9);
    expect(valueOf(text([1, 2, 3]), 'kr_missing')).toBeNull();
  });
});

describe('quantiles', () => {
  const buckets: Buckets = new Map([
    [0.1, 50],
    [0.2, 100],
    [0.4, 100],
    [Infinity, 100],
  ]);

  it('lie linearly inside their bucket', () => {
    expect(quantileOf(buckets, 0.25)).toBeCloseTo(0.05);
    expect(quantileOf(buckets, 0.5)).toBeCloseTo(0.1);
    expect(quantileOf(buckets, 0.99)).toBeCloseTo(0.198);
    expect(quantileOf(buckets, 1)).toBeCloseTo(0.2);
  });

  it('are at least the last bound when they lie beyond it, and unknown of nothing', () => {
    expect(
      quantileOf(
        new Map([
          [0.1, 0],
          [Infinity, 5],
        ]),
        0.5,
      ),
    ).toBe(0.1);
    expect(
      quantileOf(
        new Map([
          [0.1, 0],
          [Infinity, 0],
        ]),
        0.5,
      ),
    ).toBeNull();
    expect(quantileOf(new Map(), 0.5)).toBeNull();
  });

  it('are off by at most the bucket they lie in, and never fall as the rank grows', () => {
    const bounds = [1, 2, 5, 10, 20, 50, 100, Infinity];
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1 }), (values) => {
        const counted: Buckets = new Map(
          bounds.map((bound) => [bound, values.filter((value) => value <= bound).length]),
        );
        let earlier = 0;
        for (const quantile of [0.1, 0.5, 0.9, 0.99, 1]) {
          const estimate = quantileOf(counted, quantile) ?? Number.NaN;
          const exact = exactQuantile(values, quantile) ?? Number.NaN;
          const upper = bounds.find((bound) => bound >= exact) ?? Infinity;
          const lower = bounds[bounds.indexOf(upper) - 1] ?? 0;
          expect(estimate).toBeGreaterThanOrEqual(lower);
          expect(estimate).toBeLessThanOrEqual(upper);
          expect(estimate).toBeGreaterThanOrEqual(earlier);
          earlier = estimate;
        }
      }),
    );
  });

  it('of plain numbers go by nearest rank', () => {
    expect(exactQuantile([5, 1, 4, 2, 3], 0.5)).toBe(3);
    expect(exactQuantile([5, 1, 4, 2, 3], 0.99)).toBe(5);
    expect(exactQuantile([], 0.5)).toBeNull();
  });
});
