/**
 * Runs seeds in processes of their own and adds up what happened. A process that dies or stands
 * still has found something too: its seed counts as violated, and another process goes on. Says
 * what a run must have contained to count as evidence at all.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import type { Tier } from './house.ts';
import type { Counts, Outcome } from './simulation.ts';

export type Range = { tier: Tier; from: number; seeds: number; jobs: number };
export type RunOptions = Range & {
  /** Ends with the first chunk that holds a violation. */
  untilViolation?: boolean;
  onOutcome?: (outcome: Outcome) => void;
};

export type ToWorker = { from: number; seeds: number };
export type FromWorker = { outcome: Outcome } | { done: true };

export type Figures = Counts & {
  tier: Tier;
  from: number;
  seeds: number;
  violations: number;
  failingSeeds: number[];
  /** Seeds run twice, with the same event log both times. */
  repeated: number;
  unjudged: Record<string, number>;
  seconds: number;
};

/**
 * A seed takes milliseconds. One that takes this long will not end, even on a machine whose other
 * work leaves it a hundredth of a core: two minutes were once too few for seeds that do end.
 */
const standstillMs = 900_000;
const chunkSeeds: Record<Tier, number> = { core: 64, full: 8 };
/** One seed in so many is run twice: the same seed must give the same event log (L-3). */
export const repeatEvery: Record<Tier, number> = { core: 50, full: 25 };
const shownMax = 20;

export const replayOf = ({ tier, seed }: { tier: Tier; seed: number }): string =>
  `npm run sim:protocol -- --tier ${tier} --replay ${seed}`;

const zero: Counts = {
  commands: 0,
  effects: 0,
  powerOffs: 0,
  wakes: 0,
  crashes: 0,
  duplicates: 0,
  lost: 0,
  late: 0,
  tornWrites: 0,
  takeovers: 0,
  holds: 0,
  forgedGrants: 0,
  simulatedMs: 0,
};

export const noFigures = ({ tier, from }: Range): Figures => ({
  ...zero,
  tier,
  from,
  seeds: 0,
  violations: 0,
  failingSeeds: [],
  repeated: 0,
  unjudged: {},
  seconds: 0,
});

export function add(figures: Figures, { seed, counts, violations, unjudged, isRepeated }: Outcome) {
  figures.seeds += 1;
  for (const name of Object.keys(zero) as (keyof Counts)[]) figures[name] += counts[name];
  for (const [why, times] of Object.entries(unjudged)) {
    figures.unjudged[why] = (figures.unjudged[why] ?? 0) + times;
  }
  if (isRepeated) figures.repeated += 1;
  if (violations.length === 0) return;
  figures.violations += 1;
  if (figures.failingSeeds.length < shownMax) figures.failingSeeds.push(seed);
}

const fallen = (tier: Tier, seed: number, why: string): Outcome => ({
  seed,
  tier,
  violations: [`BUG: ${why}`],
  unjudged: {},
  hash: '',
  counts: zero,
  isRepeated: false,
  lines: null,
});

type Shift = { next: number; end: number };

/** One process after another works off chunks until there are none. */
async function work(
  options: RunOptions,
  take: () => ToWorker | undefined,
  tell: (o: Outcome) => void,
) {
  const { tier } = options;
  let child: ChildProcess | undefined;
  for (let chunk = take(); chunk; chunk = take()) {
    const shift: Shift = { next: chunk.from, end: chunk.from + chunk.seeds };
    while (shift.next < shift.end) {
      child ??= fork(join(import.meta.dirname, 'worker.ts'), [tier], {
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      });
      const why = await serve(child, shift, tell);
      if (why === null) break;
      child.kill('SIGKILL');
      child = undefined;
      tell(fallen(tier, shift.next, why));
      shift.next += 1;
    }
  }
  child?.disconnect();
}

/** null when the shift is done, or why the process did not get there. */
function serve(
  child: ChildProcess,
  shift: Shift,
  tell: (o: Outcome) => void,
): Promise<string | null> {
  return new Promise((resolve) => {
    let said = '';
    let timer: NodeJS.Timeout;
    const end = (why: string | null): void => {
      clearTimeout(timer);
      child.removeAllListeners();
      child.stderr?.removeAllListeners();
      resolve(why);
    };
    const watch = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => end(`no end after ${standstillMs} ms`), standstillMs);
    };
    child.stderr?.on(
      'data',
      (bytes: Buffer) => void (said = (said + bytes.toString()).slice(-2_000)),
    );
    child.on('exit', (code) => end(`the process ended with ${code}: ${said}`));
    child.on('message', (message: FromWorker) => {
      if ('done' in message) return end(null);
      shift.next = message.outcome.seed + 1;
      tell(message.outcome);
      return watch();
    });
    watch();
    child.send({ from: shift.next, seeds: shift.end - shift.next } satisfies ToWorker);
  });
}

export async function runSeeds(options: RunOptions): Promise<Figures> {
  const { tier, from, seeds, jobs, untilViolation, onOutcome } = options;
  const figures = noFigures(options);
  const startedMs = performance.now();
  let next = from;
  const take = (): ToWorker | undefined => {
    const left = from + seeds - next;
    if (left <= 0 || (untilViolation && figures.violations > 0)) return undefined;
    const chunk = { from: next, seeds: Math.min(chunkSeeds[tier], left) };
    next += chunk.seeds;
    return chunk;
  };
  const tell = (outcome: Outcome): void => {
    add(figures, outcome);
    figures.seconds = (performance.now() - startedMs) / 1_000;
    onOutcome?.(outcome);
  };
  await Promise.all(Array.from({ length: jobs }, () => work(options, take, tell)));
  figures.failingSeeds.sort((a, b) => a - b);
  return figures;
}

/** A run in which too little happened proves nothing: the reasons, or none. */
export function whyNotCounted(figures: Figures): string[] {
  const needs = { commands: 2, crashes: 1, duplicates: 1 };
  return (Object.keys(needs) as (keyof typeof needs)[]).flatMap((what) => {
    const mean = figures[what] / figures.seeds;
    return mean >= needs[what] ? [] : [`${what} per seed: ${mean}, needed ${needs[what]}`];
  });
}
