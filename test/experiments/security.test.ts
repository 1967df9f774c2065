/** The short forms of the experiments that attack the command channel; docs has the long ones. */
import { expect, it } from 'vitest';
import { quietScope } from '../support/experiment.ts';
import { r14Tools } from './r14-tools.ts';
import { r25 } from './r25.ts';
import { r26 } from './r26.ts';

it('leaves no process of a stubborn tool, and keeps only the end of a gigabyte (R14)', async () => {
  const figures = await r14Tools.run(quietScope(r14Tools.short));
  expect(figures.violations).toEqual([]);
  expect(figures['tools']).toBe(4);
}, 120_000);

it('lets no identity speak, hear or act for another, and no grant twice or altered (R25)', async () => {
  const figures = await r25.run(quietScope(r25.short));
  expect(figures.violations).toEqual([]);
  expect(figures['hostile']).toBeGreaterThanOrEqual(100_000);
}, 240_000);

it('accepts no hostile arguments, and runs nothing but what was checked (R26)', async () => {
  const figures = await r26.run(quietScope(r26.short));
  expect(figures.violations).toEqual([]);
  expect(figures['honestAccepted']).toBeGreaterThan(0);
}, 240_000);
