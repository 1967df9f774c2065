/**
 * What was seen in each second of a run, and what follows from it: the columns of the CSV and of
 * the charts, and the figures of each stage. Rates are those of the second before. Pure; null is
 * what could not be seen, never 0.
 */
import { between, countOf, quantileOf } from '../histogram.ts';
import { cpuBetween, type Usage } from '../usage.ts';
import type { Stage } from './profile.ts';
import { areComparable, type Reading } from './reading.ts';

export type Row = {
  second: number;
  /** Monotonic. */
  atMs: number;
  stage: number;
  isSteady: boolean;
  wanted: number;
  connected: number;
  /** Since the start, as all counts here. */
  sent: number;
  samples: number;
  replayed: number;
  /** Taken, and not confirmed as durable. */
  unconfirmed: number;
  own: Usage | null;
  backend: Usage | null;
  /** How late this process was within the second, ms, 99th percentile. */
  lagMs: number;
  /** Arrives later; null when nobody answered. */
  reading: Reading | null;
};

export const columns = [
  'second',
  'stage',
  'wanted',
  'connected',
  'sentPerSecond',
  'receivedPerSecond',
  'storedPerSecond',
  'rejectedPerSecond',
  'droppedPerSecond',
  'replayedPerSecond',
  'unconfirmed',
  'p50Ms',
  'p99Ms',
  'backendCpuRatio',
  'backendRssMiB',
  'generatorCpuRatio',
  'generatorLagMs',
] as const;
export type Column = (typeof columns)[number];
export type Second = Record<Column, number | null>;

const rounded = (value: number | null, digits = 2): number | null =>
  value === null ? null : Math.round(value * 10 ** digits) / 10 ** digits;

/** Latencies between two looks, ms; null when nothing arrived or they cannot be compared. */
export function latencyBetween(
  before: Reading | null,
  after: Reading | null,
  quantile: number,
): number | null {
  if (!before || !after) return null;
  const seconds = quantileOf(between(before.latency, after.latency), quantile);
  return seconds === null ? null : seconds * 1_000;
}

function serverColumns(before: Reading | null, after: Reading | null) {
  const comparable = before && after && areComparable(before, after);
  const elapsed = comparable ? (after.atMs - before.atMs) / 1_000 : 0;
  const rate = (name: 'received' | 'stored' | 'rejected' | 'dropped'): number | null =>
    comparable && elapsed > 0 ? rounded((after[name] - before[name]) / elapsed) : null;
  return {
    receivedPerSecond: rate('received'),
    storedPerSecond: rate('stored'),
    rejectedPerSecond: rate('rejected'),
    droppedPerSecond: rate('dropped'),
    p50Ms: comparable ? rounded(latencyBetween(before, after, 0.5)) : null,
    p99Ms: comparable ? rounded(latencyBetween(before, after, 0.99)) : null,
  };
}

function secondOf(before: Row | undefined, row: Row, lastReading: Reading | null): Second {
  const elapsed = before ? (row.atMs - before.atMs) / 1_000 : 0;
  const rate = (name: 'sent' | 'replayed'): number | null =>
    before && elapsed > 0 ? rounded((row[name] - before[name]) / elapsed) : null;
  const cpu = (name: 'own' | 'backend'): number | null => {
    const seconds = before ? cpuBetween(before[name], row[name]) : null;
    return seconds === null || elapsed === 0 ? null : rounded(seconds / elapsed);
  };
  return {
    second: row.second,
    stage: row.stage + 1,
    wanted: row.wanted,
    connected: row.connected,
    sentPerSecond: rate('sent'),
    replayedPerSecond: rate('replayed'),
    unconfirmed: row.unconfirmed,
    ...serverColumns(lastReading, row.reading),
    backendCpuRatio: cpu('backend'),
    backendRssMiB: row.backend && Math.round(row.backend.rssBytes / 2 ** 20),
    generatorCpuRatio: cpu('own'),
    generatorLagMs: rounded(row.lagMs, 1),
  };
}

export function secondsOf(rows: readonly Row[]): Second[] {
  let lastReading: Reading | null = null;
  return rows.map((row, index) => {
    const second = secondOf(rows[index - 1], row, lastReading);
    lastReading = row.reading ?? lastReading;
    return second;
  });
}

export const csvOfSeconds = (seconds: readonly Second[]): string =>
  [columns.join(','), ...seconds.map((row) => columns.map((name) => row[name] ?? '').join(','))]
    .map((line) => `${line}\r\n`)
    .join('');

export type StageFigures = {
  stage: number;
  nodes: number;
  intervalMs: number;
  /** Of the part after the ramp. */
  seconds: number;
  sentPerSecond: number | null;
  publishToStateMs: { count: number; p50: number | null; p99: number | null };
  rejected: number | null;
  dropped: number | null;
  unconfirmed: number;
  backendCpuRatio: number | null;
  generatorCpuRatio: number | null;
  generatorLagMs: number | null;
};

const perSecond = (count: number | null, seconds: number): number | null =>
  count === null || seconds === 0 ? null : rounded(count / seconds);

/** Figures between the first and last look at the steady part of one stage. */
export function stageOf(rows: readonly Row[], index: number, stage: Stage): StageFigures {
  const steady = rows.filter((row) => row.stage === index && row.isSteady);
  const [first] = steady;
  const last = steady.at(-1);
  const seconds = first && last ? (last.atMs - first.atMs) / 1_000 : 0;
  const readings = steady.flatMap(({ reading }) => reading ?? []);
  const [before = null] = readings;
  const after = readings.at(-1) ?? null;
  const isKnown = before !== null && after !== null && areComparable(before, after);
  const grown = (name: 'rejected' | 'dropped') => (isKnown ? after[name] - before[name] : null);
  const cpu = (name: 'own' | 'backend') =>
    first && last ? perSecond(cpuBetween(first[name], last[name]), seconds) : null;
  return {
    stage: index + 1,
    nodes: stage.nodes,
    intervalMs: stage.interval,
    seconds: rounded(seconds) ?? 0,
    sentPerSecond: first && last ? perSecond(last.sent - first.sent, seconds) : null,
    publishToStateMs: {
      count: isKnown ? countOf(between(before.latency, after.latency)) : 0,
      p50: isKnown ? rounded(latencyBetween(before, after, 0.5)) : null,
      p99: isKnown ? rounded(latencyBetween(before, after, 0.99)) : null,
    },
    rejected: grown('rejected'),
    dropped: grown('dropped'),
    unconfirmed: last?.unconfirmed ?? 0,
    backendCpuRatio: cpu('backend'),
    generatorCpuRatio: cpu('own'),
    generatorLagMs: steady.length === 0 ? null : Math.max(...steady.map(({ lagMs }) => lagMs)),
  };
}
