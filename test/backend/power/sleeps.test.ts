import { expect, it } from 'vitest';
import { drawnBefore, sleepSpans, sleptWithin } from '../../../backend/power/sleeps.ts';
import type { RangeQuery } from '../../../backend/store/ports.ts';

const at = { cluster: 'home', node: 'pve2' };
const change = (kind: string, atMs: number) => ({ ...at, kind, atMs });

it('counts a sleep from its shutdown to the next wake, an open one up to now', () => {
  const spans = sleepSpans([
    change('node.shutdown', 100),
    change('node.wake', 300),
    change('node.wake', 350),
    change('node.shutdown', 900),
  ]);
  expect(spans.map(({ offAtMs, onAtMs }) => [offAtMs, onAtMs])).toEqual([
    [100, 300],
    [900, null],
  ]);
  expect(sleptWithin(spans, { fromMs: 0, nowMs: 1_000 })).toBe(300);
  expect(sleptWithin(spans, { fromMs: 250, nowMs: 1_000 })).toBe(150);
});

it('counts nothing of a sleep that a hand ended, nobody knows when', () => {
  const spans = sleepSpans([change('node.shutdown', 100), change('node.shutdown', 900)]);
  expect(sleptWithin(spans, { fromMs: 0, nowMs: 1_000 })).toBe(100);
});

const storeOf = (values: Record<string, (number | null)[]>) => ({
  range: async ({ metrics }: RangeQuery) =>
    metrics.map((metric) => ({
      metric,
      node: 'pve2',
      points: (values[metric] ?? []).map(
        (value, index) => [index, value] as [number, number | null],
      ),
    })),
});
const window = { fromMs: 0, stepMs: 5_000 };

it('takes what was measured before what a model says, and says which it was', async () => {
  const both = storeOf({ powerWatts: [10, null, 14], powerEstimatedWatts: [90] });
  const off = { ...at, offAtMs: 60_000 };
  expect(await drawnBefore(both, off, window)).toEqual({ watts: 12, isEstimated: false });
  const model = storeOf({ powerWatts: [null, null], powerEstimatedWatts: [20, 30] });
  expect(await drawnBefore(model, off, window)).toEqual({ watts: 25, isEstimated: true });
  expect(await drawnBefore(storeOf({}), off, window)).toEqual({ watts: null, isEstimated: false });
});
