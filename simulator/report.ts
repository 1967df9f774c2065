/**
 * What a run came to: one object of figures, a table for people, and the verdict. A run in which
 * the generator itself was the bottleneck is invalid: its latencies are those of the generator.
 */
import type { RejectionCode } from '../broker/contract/codec.ts';
import type { Followed } from './commands.ts';
import { between, countOf, exactQuantile, quantileOf } from './histogram.ts';
import type { Accounts } from './load/accounts.ts';
import type { FaultCounts } from './load/faults.ts';
import type { kneeOf, Tried } from './load/knee.ts';
import type { Reading } from './load/reading.ts';
import type { Second, StageFigures } from './load/rows.ts';
import type { Shard } from './load/stages.ts';
import { brokenPromises, type Figures, nothingKnown, parseSlo, type Promised } from './slo.ts';

export type KindFigures = {
  kind: string;
  count: number;
  states: Record<string, number>;
  offerToStartedP50Ms: number | null;
  offerToStartedP99Ms: number | null;
};

/** A reading as JSON has it: Infinity, the last bound, is null there. */
export type KeptReading = Omit<Reading, 'latency'> & { latency: [number | null, number][] };

export type Report = {
  /** Of the profile, or of the scenario. */
  name: string;
  scenario: string;
  seed: number;
  shard: Shard | null;
  /** As many as can be connected at once. */
  nodes: number;
  guestsPerNode: number;
  intervalMs: number;
  timeScale: number;
  durationMs: number;
  /** False when the generator could not keep up; the figures then mean nothing. */
  isValid: boolean;
  invalidBecause: string[];
  /** How many were to connect before the first stage, how many did, and in which time. */
  firstNodes: number;
  connectedNodes: number;
  connectMs: number;
  samples: {
    taken: number;
    sent: number;
    replayed: number;
    skippedBeats: number;
    dropped: number;
    stored: number | null;
    lost: number | null;
  };
  /** null: the server was restarted, or could not tell. */
  accounts: Accounts | null;
  publishToStateMs: { count: number; p50: number | null; p99: number | null; max: number | null };
  rejectedMessages: number;
  generator: { cpuSeconds: number; cpuRatio: number; rssPeakBytes: number; lagP99Ms: number };
  backend: { cpuSeconds: number | null; cpuRatio: number | null; rssPeakBytes: number | null };
  energyKilowattHours: number;
  effects: number;
  commands: null | {
    count: number;
    refused: number;
    skipped: number;
    notTerminal: number;
    indeterminate: number;
    wrongEffects: string[];
    offerToStartedP50Ms: number | null;
    offerToStartedP99Ms: number | null;
    kinds: KindFigures[];
  };
  faults: FaultCounts & {
    brokenLinks: number;
    duplicates: number;
    malformed: Partial<Record<RejectionCode, number>>;
  };
  stages: StageFigures[];
  knee: null | { steps: Tried[]; found: ReturnType<typeof kneeOf> };
  books?:
    | {
        atStart: KeptReading | null;
        before: KeptReading | null;
        after: KeptReading | null;
        atEnd: KeptReading | null;
        sent: number;
        breaks: number;
        followed: Followed[];
      }
    | undefined;
  /** As they were written. */
  promises: string[];
  brokenPromises: string[];
  /** One for each second; kept in files, and left out of what is printed. */
  seconds?: Second[];
};
type Judged = Omit<Report, 'brokenPromises' | 'seconds'>;

/** Quantiles of what arrived between two looks. */
export function latencyFigures(
  before: Reading | null,
  after: Reading | null,
): Report['publishToStateMs'] {
  if (!after) return { count: 0, p50: null, p99: null, max: null };
  const buckets = between(before?.latency ?? new Map(), after.latency);
  const ms = (quantile: number): number | null => {
    const seconds = quantileOf(buckets, quantile);
    return seconds === null ? null : Math.round(seconds * 1e5) / 100;
  };
  return { count: countOf(buckets), p50: ms(0.5), p99: ms(0.99), max: ms(1) };
}

/** More than this of one core, or this late, and the generator measured itself. */
const generatorCpuMax = 0.9;
const generatorLagMaxMs = 100;

export function invalidReasons(generator: { cpuRatio: number; lagP99Ms: number }): string[] {
  const reasons: string[] = [];
  if (generator.cpuRatio > generatorCpuMax) {
    const percent = Math.round(generator.cpuRatio * 100);
    reasons.push(`the simulator used ${percent} % of a core: use fewer nodes or a longer interval`);
  }
  if (generator.lagP99Ms > generatorLagMaxMs) {
    const lagMs = Math.round(generator.lagP99Ms);
    reasons.push(`the simulator ran ${lagMs} ms late (p99): give it a core of its own`);
  }
  return reasons;
}

function kindFigures(kind: string, followed: readonly Followed[]): KindFigures {
  const states: Record<string, number> = {};
  for (const { state } of followed) states[state] = (states[state] ?? 0) + 1;
  const times = followed.flatMap(({ offerToStartedMs }) => offerToStartedMs ?? []);
  return {
    kind,
    count: followed.length,
    states,
    offerToStartedP50Ms: exactQuantile(times, 0.5),
    offerToStartedP99Ms: exactQuantile(times, 0.99),
  };
}

export function byKind(followed: readonly Followed[]): KindFigures[] {
  const kinds = Map.groupBy(followed, ({ kind }) => kind);
  return [...kinds]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([kind, of]) => kindFigures(kind, of));
}

export const mebibytes = (bytes: number | null): number | null =>
  bytes === null ? null : Math.round(bytes / 2 ** 20);

const droppedOf = ({ accounts, samples }: Judged): number | null =>
  accounts && accounts.dropped.link + accounts.dropped.ingest + samples.dropped;

export const figuresOf = (report: Judged): Figures => ({
  lost: report.samples.lost,
  p50: report.publishToStateMs.p50,
  p99: report.publishToStateMs.p99,
  max: report.publishToStateMs.max,
  connect: report.connectedNodes < report.firstNodes ? null : report.connectMs,
  commandP50: report.commands?.offerToStartedP50Ms ?? null,
  commandP99: report.commands?.offerToStartedP99Ms ?? null,
  notTerminal: report.commands?.notTerminal ?? null,
  wrongEffects: report.commands?.wrongEffects.length ?? null,
  rejected: report.rejectedMessages,
  refused: report.accounts?.rejected ?? null,
  duplicates: report.accounts?.duplicates ?? null,
  dropped: droppedOf(report),
  unaccounted: report.accounts?.unaccounted ?? null,
  backendRss: mebibytes(report.backend.rssPeakBytes),
  backendCpu: report.backend.cpuRatio,
  generatorCpu: report.generator.cpuRatio,
});

/** Promises of an invalid run are all broken: nobody knows what they would have been. */
export function judge(report: Judged, promises: readonly Promised[]): string[] {
  const broken = [...imbalance(report), ...brokenPromises(promises, figuresOf(report))];
  if (promises.length === 0 || report.isValid) return broken;
  return [...report.invalidBecause.map((why) => `the run is invalid: ${why}`), ...broken];
}

const parsedKnee = parseSlo('p99<1s');
/** Without a promise of one's own: a second behind is too late. */
const kneePromises = parsedKnee.ok ? parsedKnee.promises : [];

/** What everybody is promised, asked for or not: no message goes astray unseen. */
const imbalance = ({ accounts }: Judged): string[] =>
  accounts === null || accounts.unaccounted === 0
    ? []
    : [
        `the accounts do not balance: ${accounts.unaccounted} telemetry messages are unaccounted for`,
      ];

/** Of a step in the search for the knee: the load was really there, and the promises hold. */
export function holdsStage(figures: StageFigures, promises: readonly Promised[]): boolean {
  const { nodes, intervalMs, publishToStateMs, sentPerSecond } = figures;
  const planned = (nodes * 1_000) / intervalMs;
  if (sentPerSecond === null || sentPerSecond < 0.95 * planned) return false;
  if (figures.dropped !== 0 || publishToStateMs.count === 0) return false;
  const known: Partial<Figures> = {
    p50: publishToStateMs.p50,
    p99: publishToStateMs.p99,
    backendCpu: figures.backendCpuRatio,
    generatorCpu: figures.generatorCpuRatio,
    refused: figures.rejected,
    dropped: figures.dropped,
  };
  const own = promises.filter(({ figure }) => figure in known);
  const limits = own.length > 0 ? own : kneePromises;
  return brokenPromises(limits, { ...nothingKnown, ...known }).length === 0;
}
