/**
 * R9: `n` minutes of a fleet at one sample a second. The memory of the server is looked at every 5 s,
 * and the last three quarters of it go through a line of least squares: how much it grows in an hour,
 * with the standard error of that. Descriptors stay as many as they were; no sample is missing.
 */
import { usageOf } from '../../simulator/usage.ts';
import {
  experiment,
  type Figures,
  pauseMs,
  residentBytes,
  type Scope,
  upperBound,
} from '../support/experiment.ts';
import { descriptorsOf, startFleet } from '../support/fleet.ts';

const lookEveryMs = 5_000;
/** Of a run of an hour; a shorter one says too little about memory to be judged by it. */
const slopeMibPerHourMax = 20;
const judgedMinutesMin = 30;
/** A flush, a checkpoint and a question may each have a file open at the moment of looking. */
const descriptorsSpareMax = 8;

export type Look = { atMs: number; mib: number; descriptors: number };

/** Least squares of memory over time, and the standard error of the slope; in MiB an hour. */
export function slopeOf(looks: readonly Pick<Look, 'atMs' | 'mib'>[]): {
  perHour: number;
  error: number;
} {
  const n = looks.length;
  const hours = looks.map(({ atMs }) => atMs / 3_600_000);
  const mean = (values: readonly number[]) => values.reduce((sum, v) => sum + v, 0) / n;
  const [meanX, meanY] = [mean(hours), mean(looks.map(({ mib }) => mib))];
  const [sxx, sxy] = looks.reduce<[number, number]>(
    ([xx, xy], { mib }, index) => {
      const dx = (hours[index] as number) - meanX;
      return [xx + dx * dx, xy + dx * (mib - meanY)];
    },
    [0, 0],
  );
  const perHour = sxy / sxx;
  const squares = looks.reduce((sum, { mib }, index) => {
    const residual = mib - meanY - perHour * ((hours[index] as number) - meanX);
    return sum + residual * residual;
  }, 0);
  const error = Math.sqrt(squares / Math.max(1, n - 2) / sxx);
  return { perHour: Number(perHour.toFixed(2)), error: Number(error.toFixed(2)) };
}

function judge(looks: readonly Look[], minutes: number) {
  const last = looks.slice(Math.floor(looks.length / 4));
  const slope = slopeOf(last);
  const counts = last.map(({ descriptors }) => descriptors);
  const range = { min: Math.min(...counts), max: Math.max(...counts) };
  const violations: string[] = [];
  if (minutes >= judgedMinutesMin && slope.perHour - 2 * slope.error > slopeMibPerHourMax) {
    violations.push(`memory grows by ${slope.perHour} MiB an hour`);
  }
  if (range.max - range.min > descriptorsSpareMax) {
    violations.push(`descriptors went from ${range.min} to ${range.max}`);
  }
  const peakMib = Math.max(...looks.map(({ mib }) => mib));
  return { slopeMibPerHour: slope, descriptors: range, peakMib, looks: looks.length, violations };
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const nodes = Math.min(2_048, n * 64);
  const guests = 20;
  const load = { seed, nodes, guests, intervalSeconds: 1, minutes: n };
  const fleet = await startFleet(load);
  try {
    const { pid } = fleet.stack.run();
    const [startMs, before] = [performance.now(), usageOf(pid)];
    const looks: Look[] = [];
    while (!fleet.simulation.run.isOver()) {
      const mib = residentBytes(pid) / 2 ** 20;
      looks.push({ atMs: performance.now() - startMs, mib, descriptors: descriptorsOf(pid) });
      if (looks.length % 24 === 0) say(`${Math.round(mib)} MiB`);
      await Promise.race([pauseMs(lookEveryMs), fleet.simulation.run.exited]);
    }
    const after = usageOf(pid);
    const { samples, isValid } = await fleet.simulation.report();
    // When the daemons have ended, the server's memory and descriptors are another thing.
    const whileAllAreHere = looks.filter(({ descriptors }) => descriptors > nodes);
    const { violations, ...figures } = judge(whileAllAreHere, n);
    if (samples.lost !== 0) violations.push(`${samples.lost} samples are lost`);
    const rejected = await fleet.figure('kr_ingest_total', { figure: 'rejected' });
    if (rejected > 0) violations.push(`${rejected} samples were rejected`);
    const seconds = (performance.now() - startMs) / 1000;
    const cpu = before && after ? (after.cpuSeconds - before.cpuSeconds) / seconds : null;
    return {
      minutes: n,
      nodes,
      guests,
      isGeneratorOnTime: isValid,
      sent: samples.sent,
      lost: samples.lost,
      rejected,
      cpuRatio: cpu === null ? null : Number(cpu.toFixed(2)),
      ...figures,
      upperBound: upperBound(samples.sent),
      violations,
    };
  } finally {
    await fleet.remove();
  }
}

export const r09 = experiment(import.meta, { name: 'R9', short: 1, long: 60, run });
