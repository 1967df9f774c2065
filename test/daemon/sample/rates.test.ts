import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Counter,
  cpuShares,
  gapMaxMs,
  ratePerSecond,
  sumOfRates,
} from '../../../daemon/sample/rates.ts';

const counter = (value: number, wrapsAfter?: number): Counter =>
  wrapsAfter === undefined ? { value } : { value, wrapsAfter };

describe('ratePerSecond', () => {
  const cases: [string, Counter | undefined, Counter | undefined, number, number | null][] = [
    ['is null for the first reading', undefined, counter(5), 1_000, null],
    ['is null when the counter is gone', counter(5), undefined, 1_000, null],
    ['divides growth by time', counter(1_000), counter(6_000), 5_000, 1_000],
    ['keeps a true zero', counter(7), counter(7), 5_000, 0],
    ['is null when the clock stood still', counter(1), counter(2), 0, null],
    ['is null when the clock went back', counter(1), counter(2), -5, null],
    ['still answers over a long gap', counter(0), counter(600_000), gapMaxMs, 1_000],
    ['is null over a gap too long', counter(0), counter(600), gapMaxMs + 1, null],
    ['is null after a reset', counter(9_000), counter(10), 5_000, null],
    ['follows a counter over its wrap', counter(95, 100), counter(5, 100), 1_000, 10],
    [
      'takes a step over half the range for a reset',
      counter(45, 100),
      counter(5, 100),
      1_000,
      null,
    ],
    ['is null when the range itself shrank', counter(500, 1_000), counter(5, 100), 1_000, null],
  ];
  it.each(cases)('%s', (_, previous, current, elapsedMs, expected) => {
    expect(ratePerSecond(previous, current, elapsedMs)).toBe(expected);
  });

  it('is never negative, never NaN and never infinite, whatever the counters do', () => {
    const any = fc.record({ value: fc.double({ min: 0, max: 2 ** 53, noNaN: true }) });
    fc.assert(
      fc.property(any, any, fc.integer({ min: -10, max: 2 * gapMaxMs }), (a, b, elapsedMs) => {
        const rate = ratePerSecond(a, b, elapsedMs);
        expect(rate === null || (Number.isFinite(rate) && rate >= 0)).toBe(true);
      }),
    );
  });

  it('adds up to the true growth over any cutting of the time', () => {
    const steps = fc.array(
      fc.record({ grown: fc.nat(1e9), elapsedMs: fc.integer({ min: 1, max: gapMaxMs }) }),
      { minLength: 1, maxLength: 20 },
    );
    fc.assert(
      fc.property(steps, (list) => {
        let value = 0;
        let measured = 0;
        for (const { grown, elapsedMs } of list) {
          const rate = ratePerSecond(counter(value), counter(value + grown), elapsedMs);
          measured += ((rate ?? NaN) * elapsedMs) / 1000;
          value += grown;
        }
        expect(Math.abs(measured - value)).toBeLessThanOrEqual(1e-6 * (1 + value));
      }),
    );
  });

  it('gives the same rate whether or not the counter wrapped in between', () => {
    const range = 262_143;
    fc.assert(
      fc.property(fc.nat(range - 1), fc.nat(Math.floor(range / 2)), (from, grown) => {
        const to = (from + grown) % range;
        const rate = ratePerSecond(counter(from, range), counter(to, range), 1_000);
        expect(rate).toBe(grown);
      }),
    );
  });
});

describe('sumOfRates', () => {
  const map = (entries: Record<string, number>) =>
    new Map(Object.entries(entries).map(([name, value]) => [name, { value }]));

  it('leaves out a device that came, went or was reset', () => {
    const before = map({ sda: 1_000, gone: 50, reset: 9_000 });
    const after = map({ sda: 3_000, came: 70, reset: 10 });
    expect(sumOfRates(before, after, 1_000)).toBe(2_000);
  });

  it('is null without any device and without a reading before', () => {
    expect(sumOfRates(map({}), map({}), 1_000)).toBeNull();
    expect(sumOfRates(null, map({ sda: 1 }), 1_000)).toBeNull();
    expect(sumOfRates(map({ sda: 1 }), null, 1_000)).toBeNull();
  });
});

describe('cpuShares', () => {
  const ticks = (busy: number, idle: number, ioWait: number) => ({ busy, idle, ioWait });

  it('shares the time between two readings', () => {
    const shares = cpuShares(ticks(100, 100, 0), ticks(130, 160, 10));
    expect(shares).toEqual({ cpuRatio: 0.3, ioWaitRatio: 0.1 });
  });

  it('is unknown for the first reading, without time and after a reset', () => {
    const unknown = { cpuRatio: null, ioWaitRatio: null };
    expect(cpuShares(null, ticks(1, 1, 1))).toEqual(unknown);
    expect(cpuShares(ticks(5, 5, 5), ticks(5, 5, 5))).toEqual(unknown);
    expect(cpuShares(ticks(500, 500, 5), ticks(3, 4, 0))).toEqual(unknown);
  });

  it('stays within 0 and 1 although idle and iowait may step back', () => {
    const reading = fc.record({ busy: fc.nat(1e6), idle: fc.nat(1e6), ioWait: fc.nat(1e6) });
    fc.assert(
      fc.property(reading, reading, (before, after) => {
        for (const share of Object.values(cpuShares(before, after))) {
          expect(share === null || (share >= 0 && share <= 1)).toBe(true);
        }
      }),
    );
    expect(cpuShares(ticks(0, 100, 9), ticks(50, 99, 0))).toEqual({ cpuRatio: 1, ioWaitRatio: 0 });
  });
});
