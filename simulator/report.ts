/**
 * What a run came to: one object of figures, a table for people, and the verdict. A run in which
 * the generator itself was the bottleneck is invalid: its latencies are those of the generator.
 */
import { exactQuantile } from './histogram.ts';
import type { Followed } from './commands.ts';
import { brokenPromises, type Figures, type Promised } from './slo.ts';

export type KindFigures = {
  kind: string;
  count: number;
  states: Record<string, number>;
  offerToStartedP50Ms: number | null;
  offerToStartedP99Ms: number | null;
};

export type Report = {
  scenario: string;
  seed: number;
  nodes: number;
  guestsPerNode: number;
  intervalMs: number;
  timeScale: number;
  durationMs: number;
  /** False when the generator could not keep up; the figures then mean nothing. */
  isValid: boolean;
  invalidBecause: string[];
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
  publishToStateMs: { count: number; p50: number | null; p99: number | null; max: number | null };
  rejectedMessages: number;
  generator: { cpuSeconds: number; cpuRatio: number; rssPeakBytes: number; lagP99Ms: number };
  backend: { cpuSeconds: number | null; cpuRatio: number | null; rssPeakBytes: number | null };
  energyKilowattHours: number;
  effects: number;
  commands: null | {
    count: number;
    refused: number;
    notTerminal: number;
    indeterminate: number;
    wrongEffects: string[];
    offerToStartedP50Ms: number | null;
    offerToStartedP99Ms: number | null;
    kinds: KindFigures[];
  };
  brokenPromises: string[];
};

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

const mebibytes = (bytes: number | null): number | null =>
  bytes === null ? null : Math.round(bytes / 2 ** 20);

export const figuresOf = (report: Omit<Report, 'brokenPromises'>): Figures => ({
  lost: report.samples.lost,
  p50: report.publishToStateMs.p50,
  p99: report.publishToStateMs.p99,
  max: report.publishToStateMs.max,
  connect: report.connectedNodes < report.nodes ? null : report.connectMs,
  commandP50: report.commands?.offerToStartedP50Ms ?? null,
  commandP99: report.commands?.offerToStartedP99Ms ?? null,
  notTerminal: report.commands?.notTerminal ?? null,
  wrongEffects: report.commands?.wrongEffects.length ?? null,
  rejected: report.rejectedMessages,
  backendRss: mebibytes(report.backend.rssPeakBytes),
  backendCpu: report.backend.cpuRatio,
  generatorCpu: report.generator.cpuRatio,
});

/** Promises of an invalid run are all broken: nobody knows what they would have been. */
export function judge(
  report: Omit<Report, 'brokenPromises'>,
  promises: readonly Promised[],
): string[] {
  const broken = brokenPromises(promises, figuresOf(report));
  if (promises.length === 0 || report.isValid) return broken;
  return [...report.invalidBecause.map((why) => `the run is invalid: ${why}`), ...broken];
}

const text = (value: number | null, unit = ''): string =>
  value === null ? 'unknown' : `${Number(value.toFixed(2))}${unit}`;
const percent = (ratio: number | null): string =>
  ratio === null ? 'unknown' : `${Math.round(ratio * 100)} %`;

function commandRows({ commands }: Report): [string, string][] {
  if (commands === null) return [];
  const { notTerminal, indeterminate, wrongEffects, refused } = commands;
  return [
    ['commands', `${commands.count}, ${refused} refused at the door`],
    ['  not ended', `${notTerminal}, of them ${indeterminate} INDETERMINATE`],
    ['  wrong effects', String(wrongEffects.length)],
    [
      '  offer to started',
      `p50 ${text(commands.offerToStartedP50Ms, ' ms')}, p99 ${text(commands.offerToStartedP99Ms, ' ms')}`,
    ],
    ...commands.kinds.map(({ kind, states, ...times }): [string, string] => [
      `  ${kind}`,
      `${Object.entries(states)
        .map(([state, count]) => `${count} ${state}`)
        .join(
          ', ',
        )}; started after p50 ${text(times.offerToStartedP50Ms, ' ms')}, p99 ${text(times.offerToStartedP99Ms, ' ms')}`,
    ]),
  ];
}

export function renderReport(report: Report): string {
  const { samples, publishToStateMs: latency, generator, backend } = report;
  const rows: [string, string][] = [
    ['scenario', `${report.scenario}, seed ${report.seed}, ${report.durationMs / 1000} s`],
    [
      'connected',
      `${report.connectedNodes} of ${report.nodes} in ${text(report.connectMs, ' ms')}`,
    ],
    ['samples', `${samples.taken} taken, ${samples.sent} sent, ${samples.replayed} replayed`],
    ['lost', `${text(samples.lost)} (stored ${text(samples.stored)}, dropped ${samples.dropped})`],
    [
      'publish to state',
      `p50 ${text(latency.p50, ' ms')}, p99 ${text(latency.p99, ' ms')}, max ${text(latency.max, ' ms')} of ${latency.count}`,
    ],
    ['rejected messages', String(report.rejectedMessages)],
    [
      'backend',
      `${percent(backend.cpuRatio)} of a core, peak ${text(mebibytes(backend.rssPeakBytes), ' MiB')}`,
    ],
    [
      'simulator',
      `${percent(generator.cpuRatio)} of a core, peak ${text(mebibytes(generator.rssPeakBytes), ' MiB')}, late by p99 ${text(generator.lagP99Ms, ' ms')}`,
    ],
    ['energy', `${text(report.energyKilowattHours)} kWh, ${report.effects} effects`],
    ...commandRows(report),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const table = rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
  const verdict = [
    ...report.invalidBecause.map((why) => `INVALID: ${why}`),
    ...(report.commands?.wrongEffects ?? []).slice(0, 10).map((why) => `WRONG: ${why}`),
    ...report.brokenPromises.map((why) => `BROKEN: ${why}`),
  ];
  return [...table, ...verdict].join('\n');
}
