/**
 * One look at what the other side has counted so far: the server by its `/metrics`, or our own
 * subscriber behind a bare broker. Everything only grows, so two looks tell what happened between.
 */
import { type Buckets, bucketsOf, labelledOf, valueOf } from '../histogram.ts';

export type Reading = {
  /** Monotonic ms of ours. */
  atMs: number;
  /** When the counting process began; another one counts from 0. Null: not told. */
  startedAtSeconds: number | null;
  /** Seconds from the intended instant of a sample to its arrival. */
  latency: Buckets;
  /** Telemetry messages, and what became of them. */
  received: number;
  stored: number;
  duplicates: number;
  dropped: number;
  rejected: number;
  /** By code. */
  rejectedBy: Readonly<Record<string, number>>;
};

/** Seconds from the intended sampling time to being part of the server's state. */
const latencyMetric = 'kr_ingest_publish_to_state_seconds';

/** null when this is no page of our server. */
export function readingOf(metricsText: string, atMs: number): Reading | null {
  const figures = labelledOf(metricsText, 'kr_ingest_total', 'figure');
  const received = figures.get('received');
  if (received === undefined) return null;
  const of = (name: string): number => figures.get(name) ?? 0;
  return {
    atMs,
    startedAtSeconds: valueOf(metricsText, 'kr_process_start_time_seconds'),
    latency: bucketsOf(metricsText, latencyMetric),
    received,
    stored: of('stored'),
    duplicates: of('duplicate'),
    dropped: of('dropped'),
    rejected: of('rejected'),
    rejectedBy: Object.fromEntries([...figures].filter(([name]) => name.startsWith('KR_'))),
  };
}

/** Both were counted by one process. */
export const areComparable = (before: Reading, after: Reading): boolean =>
  before.startedAtSeconds === after.startedAtSeconds && before.received <= after.received;
