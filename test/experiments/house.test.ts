/**
 * The short forms of the experiments with daemon processes over fake Proxmox tools. How fast a
 * backend serves again is a figure of the long form, on a machine that does nothing else.
 */
import { expect, it } from 'vitest';
import { quietScope } from '../support/experiment.ts';
import { r03 } from './r03.ts';
import { r04House } from './r04-house.ts';

const isAboutPace = (violation: string): boolean =>
  /^(served after|the last command ended)/.test(violation);

it('loses and repeats nothing when the backend is killed in its work (R3)', async () => {
  const figures = await r03.run(quietScope(r03.short));
  expect(figures.violations.filter((violation) => !isAboutPace(violation))).toEqual([]);
  expect(figures['commands']).toBeGreaterThanOrEqual(r03.short);
}, 600_000);

it('loses and repeats nothing when whole daemons are killed in their work (R4)', async () => {
  const figures = await r04House.run(quietScope(r04House.short));
  expect(figures.violations.filter((violation) => !isAboutPace(violation))).toEqual([]);
  expect(figures['commands']).toBeGreaterThanOrEqual(r04House.short);
}, 600_000);
