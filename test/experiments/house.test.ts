/**
 * The short forms of the experiments with daemon processes over fake Proxmox tools. How fast a
 * backend serves again is a figure of the long form, on a machine that does nothing else.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Figures } from '../support/experiment.ts';

const isAboutPace = (violation: string): boolean =>
  /^(served after|the last command ended)/.test(violation);

/** As a person runs it, in a process of its own: the last line it prints. */
function asScript(name: string): Promise<Figures> {
  return new Promise((resolve, reject) => {
    const script = join(import.meta.dirname, name);
    execFile(process.execPath, [script, '--short'], (error, stdout, stderr) => {
      const line = stdout.trim().split('\n').at(-1) ?? '';
      if (line.startsWith('{')) resolve(JSON.parse(line) as Figures);
      else reject(new Error(stderr, { cause: error }));
    });
  });
}

it('loses and repeats nothing when the backend is killed in its work (R3)', async () => {
  const figures = await asScript('r03.ts');
  expect(figures.violations.filter((violation) => !isAboutPace(violation))).toEqual([]);
  expect(figures['commands']).toBeGreaterThanOrEqual(Number(figures['n']));
}, 600_000);

it('loses and repeats nothing when whole daemons are killed in their work (R4)', async () => {
  const figures = await asScript('r04-house.ts');
  expect(figures.violations.filter((violation) => !isAboutPace(violation))).toEqual([]);
  expect(figures['commands']).toBeGreaterThanOrEqual(Number(figures['n']));
}, 600_000);
