import { describe, expect, it } from 'vitest';
import { wilcoxonP } from '../../../simulator/replay/wilcoxon.ts';

const tens = Array.from({ length: 10 }, (_, at) => at + 1);

describe("Wilcoxon's signed-rank test", () => {
  it('gives ten wins of ten the smallest p there is for them', () => {
    const p = wilcoxonP(
      tens,
      tens.map((value) => value + value),
    );
    expect(p).toBeCloseTo(2 / 1024, 12);
  });

  it('agrees with the printed table: n = 10, smaller sum of ranks 8, p = 0.0488', () => {
    const differences = [-8, 1, 2, 3, 4, 5, 6, 7, 9, 10];
    expect(
      wilcoxonP(
        differences,
        differences.map(() => 0),
      ),
    ).toBeCloseTo(0.0488, 4);
  });

  it('finds nothing in pairs that balance, shares ranks among ties, leaves equal pairs out', () => {
    expect(wilcoxonP([1, -1, 2, -2], [0, 0, 0, 0])).toBe(1);
    expect(wilcoxonP([1, 1, 1, 5], [0, 0, 0, 5])).toBe(0.25);
    expect(wilcoxonP([3, 4], [3, 4])).toBe(null);
  });

  it('refuses lists that are no pairs', () => {
    expect(() => wilcoxonP([1], [1, 2])).toThrow(RangeError);
  });
});
