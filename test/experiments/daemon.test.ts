/** The short forms of the experiments on the executor; docs/reliability.md has the long ones. */
import { expect, it } from 'vitest';
import { quietScope } from '../support/experiment.ts';
import { r04 } from './r04.ts';
import { r05 } from './r05.ts';

it('begins nothing twice when it is killed around journal and effects (R4)', async () => {
  const figures = await r04.run(quietScope(r04.short));
  expect(figures.violations).toEqual([]);
  expect(figures['kills']).toBe(r04.short);
}, 180_000);

it('opens a prefix after any cut of its journal, and stops at a failed fsync (R5)', async () => {
  const figures = await r05.run(quietScope(r05.short));
  expect(figures.violations).toEqual([]);
  expect(figures['cuts']).toBeGreaterThan(1_000);
}, 180_000);
