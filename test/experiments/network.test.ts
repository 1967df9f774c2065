/** The short forms of the experiments on the network; docs/reliability.md has the long ones. */
import { expect, it } from 'vitest';
import { quietScope } from '../support/experiment.ts';
import { r10 } from './r10.ts';
import { r11 } from './r11.ts';

it('loses and repeats nothing when lines are held, cut, clogged and flapping (R10)', async () => {
  const figures = await r10.run(quietScope(r10.short));
  expect(figures.violations).toEqual([]);
  expect(figures['commands']).toBeGreaterThan(5);
}, 240_000);

it('loses and repeats nothing when packets are lost, repeated, late and torn (R11)', async () => {
  const figures = await r11.run(quietScope(r11.short));
  expect(figures.violations).toEqual([]);
  expect(figures['commands']).toBeGreaterThanOrEqual(r11.short);
  expect(figures['faults']).toMatchObject({ lost: expect.any(Number) });
}, 240_000);
