import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createOutbox, type Sample } from '../../../daemon/link/outbox.ts';

const sample = (node: string, seq: number, takenAtMs = seq): Sample => ({
  node,
  incarnation: 1,
  seq,
  takenAtMs,
  payload: 'x'.repeat(10),
});

describe('outbox', () => {
  it('keeps nodes apart and forgets what a receipt covers', () => {
    const outbox = createOutbox({ ageMaxMs: 1_000, bytesMax: 1_000 });
    for (const seq of [1, 2, 3]) outbox.add(sample('a', seq));
    outbox.add(sample('b', 1));
    expect(outbox.cover('a', 2)).toBe(2);
    expect(outbox.cover('unknown', 9)).toBe(0);
    expect(outbox.after('a', 0)?.seq).toBe(3);
    expect(outbox.after('a', 3)).toBeUndefined();
    expect(outbox.after('b', 0)?.seq).toBe(1);
    expect([outbox.count(), outbox.bytes()]).toEqual([2, 20]);
  });

  it('hands out what is too old or too much, oldest first', () => {
    const outbox = createOutbox({ ageMaxMs: 100, bytesMax: 30 });
    for (const seq of [1, 2, 3]) expect(outbox.add(sample('a', seq))).toEqual([]);
    expect(outbox.add(sample('b', 1, 4)).map(({ seq }) => seq)).toEqual([1]);
    expect(outbox.add(sample('a', 4, 103)).map(({ seq }) => seq)).toEqual([2]);
    expect(outbox.add(sample('a', 5, 104)).map(({ node }) => node)).toEqual(['a']);
    expect(outbox.takeAll().map(({ takenAtMs }) => takenAtMs)).toEqual([4, 103, 104]);
    expect([outbox.count(), outbox.bytes()]).toEqual([0, 0]);
  });

  it('never loses or repeats a sample: each is kept, covered or evicted once', () => {
    const deed = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ node: fc.constantFrom('a', 'b', 'c'), gapMs: fc.nat(50) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ node: fc.constantFrom('a', 'b', 'c'), cover: fc.nat(40) }),
      },
    );
    fc.assert(
      fc.property(
        fc.array(deed, { maxLength: 200 }),
        fc.integer({ min: 10, max: 300 }),
        (deeds, bytesMax) => {
          const outbox = createOutbox({ ageMaxMs: 400, bytesMax });
          const seqs: Record<string, number> = { a: 0, b: 0, c: 0 };
          let nowMs = 0;
          let [added, covered, evicted] = [0, 0, 0];
          for (const step of deeds) {
            if ('cover' in step) covered += outbox.cover(step.node, step.cover);
            else {
              nowMs += step.gapMs;
              const seq = (seqs[step.node] ?? 0) + 1;
              seqs[step.node] = seq;
              added += 1;
              evicted += outbox.add(sample(step.node, seq, nowMs)).length;
            }
            expect(outbox.bytes()).toBeLessThanOrEqual(bytesMax);
          }
          expect(outbox.count()).toBe(added - covered - evicted);
          for (const node of ['a', 'b', 'c']) {
            let seq = 0;
            for (let next = outbox.after(node, 0); next; next = outbox.after(node, seq)) {
              expect(next.seq).toBeGreaterThan(seq);
              seq = next.seq;
            }
          }
          expect(outbox.takeAll().length).toBe(added - covered - evicted);
        },
      ),
    );
  });
});
