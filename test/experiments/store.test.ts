/** The short forms of the experiments on the SQL store; docs/reliability.md has the long ones. */
import { expect, it } from 'vitest';
import { quietScope } from '../support/experiment.ts';
import { r06 } from './r06.ts';
import { r12 } from './r12.ts';
import { r15 } from './r15.ts';
import { r29 } from './r29.ts';

it('loses and repeats nothing when MariaDB dies or hangs under work (R6)', async () => {
  const figures = await r06.run(quietScope(r06.short));
  expect(figures.violations).toEqual([]);
  expect(figures['commands']).toBeGreaterThan(20);
}, 180_000);

it('has one leader per epoch when leaders stand still in the middle of their work (R12)', async () => {
  const figures = await r12.run(quietScope(r12.short));
  expect(figures.violations).toEqual([]);
  expect(figures['takeovers']).toBe(r12.short);
  expect(figures['grants']).toBeGreaterThan(5);
}, 180_000);

it('works again by itself after full disks of journal, MariaDB and data folder (R15)', async () => {
  const figures = await r15.run(quietScope(r15.short));
  expect(figures.violations).toEqual([]);
}, 300_000);

it('carries nothing out again when the database is older than its daemons (R29)', async () => {
  const figures = await r29.run(quietScope(r29.short));
  expect(figures.violations).toEqual([]);
  expect(figures['asked']).toBeGreaterThan(10);
}, 300_000);
