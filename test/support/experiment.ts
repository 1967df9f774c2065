/**
 * The frame of an experiment of RELIABILITY section 5: `node test/experiments/rN.ts [--short]
 * [--seed S] [--n N] [--commit C]`. The last line printed is one JSON object with seed, machine, figures and
 * the violations found; exit code 1 when there is one. What a run did not do it must not count.
 */
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { seededRandom } from './clock.ts';
import { fetchServers } from './debian.ts';

export type Figures = Readonly<Record<string, unknown>> & { readonly violations: string[] };

/** How much of it is done; `n` is what the experiment counts, and its figures say what that is. */
export type Scope = {
  n: number;
  seed: number;
  /** The earlier version that is tried, where one is. */
  commit?: string;
  say: (line: string) => void;
};

export const quietScope = (n: number, seed = 1): Scope => ({ n, seed, say: () => undefined });

export type Experiment = {
  name: string;
  /** Counts of the form that CI runs, and of the form that is published. */
  short: number;
  long: number;
  run: (scope: Scope) => Promise<Figures>;
};

/** 95 % upper bound of a rate that was 0 in n. */
export const upperBound = (n: number): number => Number((3 / n).toPrecision(2));

export function percentile(values: readonly number[], ratio: number, digits = 0): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.ceil(ratio * sorted.length) - 1)];
  return value === undefined ? null : Number(value.toFixed(digits));
}

export const spread = (values: readonly number[]) => ({
  count: values.length,
  p50: percentile(values, 0.5),
  p95: percentile(values, 0.95),
  max: percentile(values, 1),
});

/** Seeded choices in the words that experiments use. */
export function chance(seed: number) {
  const random = seededRandom(seed);
  const below = (limit: number): number => Math.floor(random.ratio() * limit);
  return {
    ...random,
    below,
    between: (low: number, high: number): number => low + random.ratio() * (high - low),
    pick: <T>(items: readonly T[]): T => items[below(items.length)] as T,
    is: (ratio: number): boolean => random.ratio() < ratio,
  };
}
export type Chance = ReturnType<typeof chance>;

export const pauseMs = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));

/** What a process holds in memory now; 0 when it is gone. */
export function residentBytes(pid: number): number {
  try {
    const pages = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1];
    return Number(pages) * 4096;
  } catch {
    return 0;
  }
}

/** Looks at a process until it is told to stop; the figures are in MiB. */
export function watchMemory(pid: () => number) {
  const mebibytes = (): number => Math.round(residentBytes(pid()) / 2 ** 20);
  const base = mebibytes();
  let peak = base;
  const timer = setInterval(() => void (peak = Math.max(peak, mebibytes())), 100);
  return {
    stop() {
      clearInterval(timer);
      return { baseMib: base, peakMib: peak, endMib: mebibytes() };
    },
  };
}

const violationsToldMax = 20;

export const machine = () => ({
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memoryGib: Math.round(totalmem() / 2 ** 30),
  node: process.version,
});

async function main({ name, short, long, run }: Experiment): Promise<void> {
  const { values } = parseArgs({
    options: {
      short: { type: 'boolean', default: false },
      seed: { type: 'string', default: '1' },
      n: { type: 'string' },
      commit: { type: 'string' },
    },
  });
  const [n, seed] = [Number(values.n ?? (values.short ? short : long)), Number(values.seed)];
  if (!Number.isInteger(n) || n < 1 || !Number.isInteger(seed)) {
    process.stderr.write('--n and --seed: write whole numbers\n');
    process.exit(2);
  }
  await fetchServers();
  const startMs = performance.now();
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  // Production code may wait on timers that keep no process alive.
  const alive = setInterval(() => undefined, 1_000);
  const { commit } = values;
  const figures = await run({ n, seed, say, ...(commit !== undefined && { commit }) });
  clearInterval(alive);
  const seconds = Math.round((performance.now() - startMs) / 1000);
  const violations = figures.violations.slice(0, violationsToldMax);
  const found = { violationCount: figures.violations.length, violations };
  const line = { experiment: name, n, seed, seconds, machine: machine(), ...figures, ...found };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  // What an experiment has left running must not keep it from ending.
  process.exit(figures.violations.length > 0 ? 1 : 0);
}

/** Declares an experiment, and runs it when its own file is what was started. */
export function experiment(meta: ImportMeta, declared: Experiment): Experiment {
  if (meta.main) {
    void main(declared).catch((error: unknown) => {
      process.stderr.write(`${String((error as Error).stack ?? error)}\n`);
      process.exit(3);
    });
  }
  return declared;
}
