import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createBuffer,
  landed,
  push,
  queuedCount,
  takeOff,
  turnedBack,
} from '../../../backend/ingest/buffer.ts';
import type { StoredSample } from '../../../backend/store/ports.ts';

const sampleOf = (seq: number, length: number): StoredSample => ({
  cluster: 'home',
  node: 'n1',
  incarnation: 1,
  seq,
  sampledAtMs: seq,
  values: Float64Array.from({ length }, (_, index) => seq * 1_000 + index),
  guests: [],
});

const isIntact = ({ seq, values }: StoredSample): boolean =>
  values.every((value, index) => value === seq * 1_000 + index);

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('push'), length: fc.nat(900) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('push'), length: fc.constant(40_000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('takeOff'), length: fc.nat(40) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('landed'), length: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('turnedBack'), length: fc.constant(0) }) },
);

describe('the buffer of samples', () => {
  it('keeps the numbers of every sample in it as they came, in order, whatever leaves', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 50, maxLength: 400 }), (steps) => {
        const buffer = createBuffer({ samplesMax: 120, bytesMax: 2_000_000 });
        const scratch = new Float64Array(40_000);
        let seq = 0;
        let left = 0;
        for (const { do: what, length } of steps) {
          if (what === 'push') {
            const sample = sampleOf((seq += 1), length);
            scratch.set(sample.values);
            left += push(buffer, { ...sample, values: scratch.subarray(0, length) }).length;
            scratch.fill(-1);
          } else if (what === 'takeOff') {
            if (buffer.flight.length === 0) takeOff(buffer, length);
          } else if (what === 'landed') {
            left += buffer.flight.length;
            landed(buffer);
          } else turnedBack(buffer);
          const inside = [...buffer.flight, ...buffer.queue.slice(buffer.head)];
          expect(inside.every(({ sample }) => isIntact(sample))).toBe(true);
          const numbers = inside.map(({ sample }) => sample.seq);
          expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
          expect(inside.length + left).toBe(seq);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('uses the room of what has left again', () => {
    const buffer = createBuffer({ samplesMax: 1_000, bytesMax: 50_000_000 });
    const seen = new Set<ArrayBufferLike | undefined>();
    for (let seq = 1; seq <= 20_000; seq += 1) {
      push(buffer, sampleOf(seq, 313));
      seen.add(buffer.queue.at(-1)?.sample.values.buffer);
      if (seq % 500 !== 0) continue;
      takeOff(buffer, 500);
      landed(buffer);
    }
    expect(queuedCount(buffer)).toBe(0);
    expect(buffer.bytes).toBe(0);
    // 500 samples of 313 numbers fit five blocks of 32,768, and a sixth is being filled.
    expect(seen.size).toBeLessThanOrEqual(6);
  });
});
