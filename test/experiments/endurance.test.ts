/** The short forms of the experiments on endurance; docs/reliability.md has the long ones. */
import { expect, it } from 'vitest';
import { quietScope } from '../support/experiment.ts';
import { r07 } from './r07.ts';
import { r08 } from './r08.ts';
import { r09, slopeOf } from './r09.ts';

it('keeps every sample of a fleet while its metrics store is away (R7)', async () => {
  const figures = await r07.run(quietScope(r07.short));
  expect(figures.violations).toEqual([]);
  expect(figures['spoolSamples']).toBeGreaterThan(0);
}, 300_000);

it('takes its whole fleet back after each kill -9, with nothing missing (R8)', async () => {
  const figures = await r08.run(quietScope(r08.short));
  expect(figures.violations).toEqual([]);
  expect(figures['restarts']).toBe(r08.short);
}, 400_000);

it('loses nothing and keeps its descriptors under a sample a second (R9)', async () => {
  const figures = await r09.run(quietScope(r09.short));
  expect(figures.violations).toEqual([]);
  expect(figures['sent']).toBeGreaterThan(1_000);
}, 300_000);

it('finds the slope of memory by least squares, and how sure it is of it', () => {
  const looks = (mibOf: (minute: number) => number) =>
    Array.from({ length: 60 }, (_, minute) => {
      return { atMs: minute * 60_000, mib: mibOf(minute), descriptors: 1 };
    });
  expect(slopeOf(looks((minute) => 200 + minute / 2))).toEqual({ perHour: 30, error: 0 });
  const noisy = slopeOf(looks((minute) => 200 + (minute % 2)));
  expect(Math.abs(noisy.perHour)).toBeLessThan(2 * noisy.error);
});
