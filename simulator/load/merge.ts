/**
 * The reports of shards, put together to the report of the whole test. Each shard knows what it
 * sent and what of its own is stored; the server's counters are those of all, so that they are
 * taken from the first look of any shard to the last. Pure.
 */
import { exactQuantile } from '../histogram.ts';
import { byKind, judge, type KeptReading, latencyFigures, type Report } from '../report.ts';
import { parseSlo } from '../slo.ts';
import { accountsOf } from './accounts.ts';
import type { Reading } from './reading.ts';
import { columns, type Second, type StageFigures } from './rows.ts';

export class MergeError extends Error {
  override readonly name = 'MergeError';
  readonly code = 'KR_MERGE';
}

type Books = NonNullable<Report['books']>;

const readingOf = (kept: KeptReading): Reading => ({
  ...kept,
  latency: new Map(kept.latency.map(([bound, count]) => [bound ?? Infinity, count])),
});

/** The server counts upwards: its lowest count was the earliest, whoever's clock saw it. */
function extreme(looks: readonly (KeptReading | null)[], which: 'first' | 'last'): Reading | null {
  if (looks.includes(null)) return null;
  const sorted = looks.flatMap((look) => look ?? []).sort((a, b) => a.received - b.received);
  const found = which === 'first' ? sorted[0] : sorted.at(-1);
  return found ? readingOf(found) : null;
}

const sum = (values: readonly number[]): number => values.reduce((all, one) => all + one, 0);
const sumOrNull = (values: readonly (number | null)[]): number | null =>
  values.includes(null) ? null : sum(values.flatMap((value) => value ?? []));
const most = (values: readonly (number | null)[]): number | null =>
  values.includes(null) ? null : Math.max(...values.flatMap((value) => value ?? []));

/** Shards by their place; @throws MergeError unless each of them is there once. */
function ordered(reports: readonly Report[]): { report: Report; books: Books }[] {
  const parts = reports.map((report) => {
    const { shard, books } = report;
    if (!shard || !books) throw new MergeError('not every report is that of a --shard');
    return { report, books, shard };
  });
  const count = parts[0]?.shard.count ?? 0;
  const indexes = new Set(parts.map(({ shard }) => shard.index));
  const isWhole = parts.length === count && indexes.size === count;
  if (!isWhole || parts.some(({ shard }) => shard.count !== count)) {
    throw new MergeError(`these are ${parts.length} of ${count} shards; give each of them once`);
  }
  return parts.sort((a, b) => a.shard.index - b.shard.index);
}

/** Seconds since each shard's own start: shards are started together. */
function secondsOf(reports: readonly Report[]): Second[] {
  const own = new Set<string>(
    'wanted connected sentPerSecond replayedPerSecond unconfirmed generatorCpuRatio'.split(' '),
  );
  const [first] = reports;
  return (first?.seconds ?? []).flatMap((row, index) => {
    const rows = reports.map(({ seconds = [] }) => seconds[index]);
    if (rows.includes(undefined)) return [];
    const cells = columns.map((name) => [
      name,
      own.has(name) ? sumOrNull(rows.map((each) => each?.[name] ?? null)) : row[name],
    ]);
    return [Object.fromEntries(cells) as Second];
  });
}

function commandsOf(reports: readonly Report[]): Report['commands'] {
  const all = reports.flatMap(({ commands }) => commands ?? []);
  if (all.length === 0) return null;
  const followed = reports.flatMap(({ books }) => books?.followed ?? []);
  const times = followed.flatMap(({ offerToStartedMs }) => offerToStartedMs ?? []);
  const count = (name: 'count' | 'refused' | 'skipped' | 'notTerminal' | 'indeterminate') =>
    sum(all.map((each) => each[name]));
  return {
    count: count('count'),
    refused: count('refused'),
    skipped: count('skipped'),
    notTerminal: count('notTerminal'),
    indeterminate: count('indeterminate'),
    wrongEffects: all.flatMap(({ wrongEffects }) => wrongEffects),
    offerToStartedP50Ms: exactQuantile(times, 0.5),
    offerToStartedP99Ms: exactQuantile(times, 0.99),
    kinds: byKind(followed),
  };
}

/** What a stage did to the server is the same in every shard, but for the instant of the look. */
const stagesOf = (reports: readonly Report[]): StageFigures[] =>
  (reports[0]?.stages ?? []).map((first, index) => {
    const all = reports.flatMap(({ stages }) => stages[index] ?? []);
    return {
      ...first,
      nodes: sum(all.map(({ nodes }) => nodes)),
      sentPerSecond: sumOrNull(all.map(({ sentPerSecond }) => sentPerSecond)),
      unconfirmed: sum(all.map(({ unconfirmed }) => unconfirmed)),
      generatorCpuRatio: sumOrNull(all.map(({ generatorCpuRatio }) => generatorCpuRatio)),
      generatorLagMs: most(all.map(({ generatorLagMs }) => generatorLagMs)),
    };
  });

const samplesOf = (reports: readonly Report[]): Report['samples'] => {
  const all = reports.map(({ samples }) => samples);
  const total = (name: 'taken' | 'sent' | 'replayed' | 'skippedBeats' | 'dropped'): number =>
    sum(all.map((each) => each[name]));
  return {
    taken: total('taken'),
    sent: total('sent'),
    replayed: total('replayed'),
    skippedBeats: total('skippedBeats'),
    dropped: total('dropped'),
    stored: sumOrNull(all.map(({ stored }) => stored)),
    lost: sumOrNull(all.map(({ lost }) => lost)),
  };
};

function faultsOf(reports: readonly Report[]): Report['faults'] {
  const all = reports.map(({ faults }) => faults);
  const malformed: Report['faults']['malformed'] = {};
  for (const faults of all) {
    for (const [code, count] of Object.entries(faults.malformed)) {
      const name = code as keyof typeof malformed;
      malformed[name] = (malformed[name] ?? 0) + count;
    }
  }
  const total = (
    name: 'droppedLinks' | 'halfOpen' | 'slowReaders' | 'brokenLinks' | 'duplicates',
  ) => sum(all.map((each) => each[name]));
  return {
    droppedLinks: total('droppedLinks'),
    halfOpen: total('halfOpen'),
    slowReaders: total('slowReaders'),
    brokenLinks: total('brokenLinks'),
    duplicates: total('duplicates'),
    malformed,
  };
}

function processesOf(reports: readonly Report[]): Pick<Report, 'generator' | 'backend'> {
  const generators = reports.map(({ generator }) => generator);
  const backends = reports.map(({ backend }) => backend);
  return {
    generator: {
      cpuSeconds: sum(generators.map(({ cpuSeconds }) => cpuSeconds)),
      // Each on a core of its own: the busiest tells whether the generators kept up.
      cpuRatio: Math.max(...generators.map(({ cpuRatio }) => cpuRatio)),
      rssPeakBytes: sum(generators.map(({ rssPeakBytes }) => rssPeakBytes)),
      lagP99Ms: Math.max(...generators.map(({ lagP99Ms }) => lagP99Ms)),
    },
    backend: {
      cpuSeconds: most(backends.map(({ cpuSeconds }) => cpuSeconds)),
      cpuRatio: most(backends.map(({ cpuRatio }) => cpuRatio)),
      rssPeakBytes: most(backends.map(({ rssPeakBytes }) => rssPeakBytes)),
    },
  };
}

function bookFigures(books: readonly Books[], stored: number | null) {
  const look = (name: 'atStart' | 'before' | 'after' | 'atEnd', which: 'first' | 'last') =>
    extreme(
      books.map((each) => each[name]),
      which,
    );
  return {
    accounts: accountsOf({
      before: look('atStart', 'first'),
      after: look('atEnd', 'last'),
      sent: sum(books.map(({ sent }) => sent)),
      stored,
      breaks: sum(books.map(({ breaks }) => breaks)),
    }),
    publishToStateMs: latencyFigures(look('before', 'first'), look('after', 'last')),
  };
}

/** @throws MergeError unless these are all shards of one test. */
export function mergeReports(reports: readonly Report[]): Report {
  const parts = ordered(reports);
  const all = parts.map(({ report }) => report);
  const [first] = all as [Report];
  const total = (name: 'nodes' | 'firstNodes' | 'connectedNodes' | 'rejectedMessages'): number =>
    sum(all.map((each) => each[name]));
  const samples = samplesOf(all);
  const { books: _books, brokenPromises: _broken, seconds: _seconds, ...kept } = first;
  const merged = {
    ...kept,
    shard: null,
    nodes: total('nodes'),
    durationMs: Math.max(...all.map(({ durationMs }) => durationMs)),
    isValid: all.every(({ isValid }) => isValid),
    invalidBecause: [...new Set(all.flatMap(({ invalidBecause }) => invalidBecause))],
    firstNodes: total('firstNodes'),
    connectedNodes: total('connectedNodes'),
    connectMs: Math.max(...all.map(({ connectMs }) => connectMs)),
    samples,
    ...bookFigures(
      parts.map(({ books }) => books),
      samples.stored,
    ),
    rejectedMessages: total('rejectedMessages'),
    ...processesOf(all),
    energyKilowattHours: sum(all.map(({ energyKilowattHours }) => energyKilowattHours)),
    effects: sum(all.map(({ effects }) => effects)),
    commands: commandsOf(all),
    faults: faultsOf(all),
    stages: stagesOf(all),
  };
  const promised = merged.promises.length === 0 ? null : parseSlo(merged.promises.join(','));
  const brokenPromises = judge(merged, promised?.ok ? promised.promises : []);
  return { ...merged, brokenPromises, seconds: secondsOf(all) };
}
