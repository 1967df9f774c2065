/** The short forms of the experiments on the executor; docs/reliability.md has the long ones. */
import { expect, it } from 'vitest';
import { quietScope } from '../support/experiment.ts';
import { r04 } from './r04.ts';
import { r05 } from './r05.ts';
import { r13 } from './r13.ts';
import { r14 } from './r14.ts';
import { r19 } from './r19.ts';
import { r20 } from './r20.ts';
import { r21 } from './r21.ts';

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

it('ends hanging tools with all their children, and works on beside a slow disk and store (R14)', async () => {
  const figures = await r14.run(quietScope(r14.short));
  expect(figures.violations).toEqual([]);
  expect(figures['fsync']).toMatchObject({ commands: 8 });
}, 240_000);

it('grants and begins nothing once HOLD stands, in each of its layers (R21)', async () => {
  const figures = await r21.run(quietScope(r21.short));
  expect(figures.violations).toEqual([]);
  expect(figures['file']).toMatchObject({ begunAfter: 0, afterRestart: 0 });
}, 300_000);

it('begins nothing destructive beside a wrong clock, and works on when it is right (R13)', async () => {
  const figures = await r13.run(quietScope(2));
  expect(figures.violations).toEqual([]);
  expect(figures['found']).toBe(true);
}, 240_000);

it('does not act on telemetry that lies, nor when a fifth of the nodes is silent (R20)', async () => {
  const figures = await r20.run(quietScope(r20.short));
  expect(figures.violations).toEqual([]);
  expect(figures['silentAnswer']).toMatch(/^KR_|REJECTED KR_/);
}, 300_000);

it('switches off only what can be woken, and tells of a wake that nothing came of (R19)', async () => {
  const figures = await r19.run(quietScope(r19.short));
  expect(figures.violations).toEqual([]);
  expect(figures['failedWakes']).toBeGreaterThan(0);
}, 120_000);
