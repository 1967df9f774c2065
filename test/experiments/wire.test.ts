/** The short forms of the experiments that attack the wire; docs/reliability.md has the long ones. */
import { expect, it } from 'vitest';
import { quietScope } from '../support/experiment.ts';
import { r22 } from './r22.ts';
import { r23 } from './r23.ts';

it('survives mutated and grammar-drawn MQTT packets, and serves honest daemons (R22)', async () => {
  const figures = await r22.run(quietScope(r22.short));
  expect(figures.violations).toEqual([]);
  expect(figures['packets']).toBeGreaterThanOrEqual(r22.short);
  expect(figures['honestSamples']).toBeGreaterThan(0);
}, 120_000);

it('serves legitimate commands within 2 s under denial of service, in bounded memory (R23)', async () => {
  const figures = await r23.run(quietScope(r23.short));
  expect(figures.violations).toEqual([]);
  expect(figures['attacks']).toHaveLength(10);
}, 180_000);
