import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  abandonHoles,
  discard,
  expect as await_,
  holePatienceMs,
  newSequence,
  resume,
  settle,
  takeReceipts,
  watermarkOf,
} from '../../../backend/ingest/sequence.ts';

const stored = (seqs: readonly number[], incarnation = 1) => {
  const node = newSequence();
  for (const seq of seqs) settle(node, { incarnation, seq, nowMs: 0 });
  return node;
};

describe('the sequence of a node', () => {
  it('stands before the first missing number, whatever came after', () => {
    expect(watermarkOf(stored([1, 2, 3, 5, 9]))).toEqual({ incarnation: 1, seq: 3 });
    expect(watermarkOf(stored([2, 3]))).toEqual({ incarnation: 1, seq: 0 });
    expect(watermarkOf(undefined)).toEqual({ incarnation: 0, seq: 0 });
  });

  it('reaches the smallest number not stored, in whatever order the others came', () => {
    const orders = fc.uniqueArray(fc.integer({ min: 1, max: 30 }), { maxLength: 30 });
    fc.assert(
      fc.property(orders, (seqs) => {
        let reach = 0;
        while (seqs.includes(reach + 1)) reach += 1;
        expect(watermarkOf(stored(seqs)).seq).toBe(reach);
      }),
    );
  });

  it('reports each movement once', () => {
    const node = stored([1, 2]);
    expect(takeReceipts(node)).toEqual([{ incarnation: 1, seq: 2 }]);
    expect(takeReceipts(node)).toEqual([]);
  });

  it('takes a sample that was dropped when it comes again', () => {
    const node = stored([1]);
    expect(await_(node, 1, 2)).toBe(true);
    expect(await_(node, 1, 2)).toBe(false);
    discard(node, 1, 2);
    expect(await_(node, 1, 2)).toBe(true);
  });

  it('keeps a hole while its daemon replays anything, and gives it up after that', () => {
    const node = stored([1, 5]);
    const laterMs = holePatienceMs * 3;
    expect(abandonHoles(node, laterMs, laterMs - holePatienceMs + 1)).toBe(0);
    expect(abandonHoles(node, laterMs, laterMs - holePatienceMs)).toBe(3);
    expect(watermarkOf(node).seq).toBe(5);
  });

  it('bounds the holes it remembers, oldest given up first', () => {
    const node = newSequence();
    let abandoned = 0;
    for (let seq = 1; seq <= 9_999; seq += 2) {
      abandoned += settle(node, { incarnation: 1, seq, nowMs: 0 });
    }
    expect(node.incarnations.get(1)?.stored.firsts.length).toBe(1_024);
    expect(abandoned).toBe(5_000 - 1_024);
  });

  it('bounds the incarnations it remembers, oldest forgotten first', () => {
    const node = newSequence();
    for (let incarnation = 1; incarnation <= 1_000; incarnation += 1) resume(node, incarnation, 1);
    expect(node.incarnations.size).toBe(96);
    expect(watermarkOf(node)).toEqual({ incarnation: 1_000, seq: 1 });
  });
});
