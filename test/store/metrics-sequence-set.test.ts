import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  add,
  addRange,
  closeFirstHole,
  contiguous,
  emptySet,
  has,
  hasHole,
  highest,
} from '../../backend/store/metrics/sequence-set.ts';

type Change = { first: number; last: number };

const change: fc.Arbitrary<Change> = fc
  .tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 0, max: 6 }))
  .map(([first, length]) => ({ first, last: first + length }));

describe('a set of sequence numbers', () => {
  it('holds what a plain set would, as sorted ranges that never touch', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const set = emptySet();
        const model = new Set<number>();
        for (const { first, last } of changes) {
          const isNew = !model.has(first);
          expect(add(set, first)).toBe(isNew);
          addRange(set, first, last);
          for (let seq = first; seq <= last; seq += 1) model.add(seq);
        }
        for (let seq = 0; seq <= 70; seq += 1) expect(has(set, seq)).toBe(model.has(seq));
        const { firsts, lasts } = set;
        firsts.forEach((first, index) => {
          expect(first).toBeLessThanOrEqual(lasts[index] as number);
          expect(first).toBeGreaterThan((lasts[index - 1] ?? -1) + 1);
        });
        expect(highest(set)).toBe(Math.max(0, ...model));
      }),
    );
  });

  it('closes its oldest hole and says which', () => {
    const set = emptySet();
    for (const seq of [3, 4, 7]) add(set, seq);
    expect(contiguous(set)).toBe(0);
    expect(closeFirstHole(set)).toEqual({ first: 1, last: 2 });
    expect(contiguous(set)).toBe(4);
    expect(closeFirstHole(set)).toEqual({ first: 5, last: 6 });
    expect(hasHole(set)).toBe(false);
    expect(closeFirstHole(set)).toBeUndefined();
  });
});
