import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { between, noiseAt, pick, ratioOf, seededRandom, seedOfName } from '../../simulator/prng.ts';

describe('seeded chance', () => {
  it('repeats itself for the same seed and differs for another', () => {
    const drawn = (seed: number): number[] => {
      const random = seededRandom(seed);
      return Array.from({ length: 20 }, () => random.ratio());
    };
    expect(drawn(42)).toEqual(drawn(42));
    expect(drawn(42)).not.toEqual(drawn(43));
  });

  it('stays in [0, 1) and spreads evenly', () => {
    const random = seededRandom(7);
    const drawn = Array.from({ length: 20_000 }, () => random.ratio());
    expect(Math.min(...drawn)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...drawn)).toBeLessThan(1);
    const tenths = Array.from(
      { length: 10 },
      (_, tenth) => drawn.filter((value) => Math.floor(value * 10) === tenth).length,
    );
    for (const count of tenths) expect(Math.abs(count - 2_000)).toBeLessThan(250);
  });

  it('draws whole numbers from both ends of a range', () => {
    const random = seededRandom(1);
    const drawn = new Set(Array.from({ length: 500 }, () => between(random, 3, 6)));
    expect([...drawn].sort((a, b) => a - b)).toEqual([3, 4, 5, 6]);
  });

  it('refuses to pick from nothing', () => {
    expect(() => pick(seededRandom(1), [])).toThrow('nothing to pick from');
  });

  it('gives every name its own seed', () => {
    const seeds = Array.from({ length: 2_000 }, (_, index) => seedOfName(42, `n${index}`));
    expect(new Set(seeds).size).toBe(2_000);
  });

  it('eases noise without a jump between neighbouring places', () => {
    fc.assert(
      fc.property(fc.integer(), fc.double({ min: 0, max: 1e6, noNaN: true }), (seed, place) => {
        const here = noiseAt(seed, place);
        expect(here).toBeGreaterThanOrEqual(0);
        expect(here).toBeLessThan(1);
        expect(Math.abs(noiseAt(seed, place + 0.001) - here)).toBeLessThan(0.01);
      }),
    );
    expect(noiseAt(5, 3)).toBe(ratioOf(5, 3));
  });
});
