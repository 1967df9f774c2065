/**
 * The shortest interval that a machine sustains: `bench:ingest` with shorter and shorter ones, a
 * process each, as the simulator's own `--find-knee` searches. A step holds when nothing was lost or
 * refused, samples could be queried in time, and the generator itself was not late.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { kneeOf, type Load, nextLoad, type Tried } from '../../simulator/load/knee.ts';

/** Of its clients; beyond it a step measured something else. */
const lateMaxMs = 2_000;
const search = {
  vary: 'interval',
  factor: 1.5,
  for: 0,
  precision: 0.1,
  nodesMax: 0,
  intervalMinMs: 50,
} as const;

type Step = { lateMaxMs: number; lost: number; queryableMs: { p99: number | null } };

/** A run that breaks a promise ends with 99 and still says what it found. */
const runOf = (intervalMs: number, options: readonly string[]): Promise<[Step, boolean]> =>
  new Promise((resolve, reject) => {
    const file = join(import.meta.dirname, 'ingest.ts');
    const interval = ['--interval', String(intervalMs / 1_000)];
    const args = [...process.execArgv, file, ...interval, ...options];
    execFile(process.execPath, args, (error, stdout, stderr) => {
      const line = stdout.trim().split('\n').at(-1) ?? '';
      if (line.startsWith('{')) resolve([JSON.parse(line) as Step, error === null]);
      else reject(new Error(`every ${intervalMs} ms: ${error?.message ?? line}\n${stderr}`));
    });
  });

export async function findKnee(first: Load, options: readonly string[]): Promise<void> {
  const tried: Tried[] = [];
  let load = nextLoad(first, tried, search);
  while (load !== null) {
    const [step, isFine] = await runOf(load.intervalMs, options);
    const holds = isFine && step.lateMaxMs <= lateMaxMs;
    tried.push({ load, holds });
    process.stdout.write(`${JSON.stringify({ holds, ...step })}\n`);
    load = nextLoad(first, tried, search);
  }
  process.stdout.write(`${JSON.stringify({ knee: kneeOf(tried), tried })}\n`);
}
