/**
 * What the backend asks of its stores. Metrics: append, latest, range. SQL goes through Kysely
 * (store/sql), whose two dialects differ only in what `Dialect` names.
 */
import type { Entity } from '../../broker/contract/metrics.ts';
import type { GuestSample, NodeValues } from '../../broker/contract/telemetry.ts';

/** One sample as stored; (cluster, node, incarnation, seq) is its identity. */
export type StoredSample = {
  cluster: string;
  node: string;
  incarnation: number;
  seq: number;
  sampledAtMs: number;
  values: NodeValues;
  guests: readonly GuestSample[];
};

export type Aggregate = 'mean' | 'min' | 'max' | 'last';

export type RangeQuery = {
  cluster: string;
  entity: Entity;
  /** One node or guest; absent = every one of the cluster, as separate series. */
  node?: string;
  guest?: string;
  metrics: readonly string[];
  /** Half-open [fromMs, toMs). */
  fromMs: number;
  toMs: number;
  stepMs: number;
  aggregate: Aggregate;
};

export type Series = {
  metric: string;
  node: string;
  guest?: string;
  /** One point per step that falls in the range; a gap is null, never left out, never 0. */
  points: [timeMs: number, value: number | null][];
};

export type Watermark = { cluster: string; node: string; incarnation: number; seq: number };

export type MetricsStore = {
  /** Durable when it resolves. Repeating a sample changes nothing. */
  write(samples: readonly StoredSample[]): Promise<void>;
  /** Newest values of a node or guest, null when never seen. */
  latest(query: {
    cluster: string;
    entity: Entity;
    node?: string;
    guest?: string;
  }): Promise<{ atMs: number; values: Record<string, number | null> } | null>;
  range(query: RangeQuery): Promise<Series[]>;
  /** Per node and incarnation, the highest seq up to which, from 1, nothing is missing. */
  watermarks(): Promise<Watermark[]>;
  /** Sequence numbers missing between the first and last stored of each incarnation since. */
  missing(sinceMs: number): Promise<{ samples: number; missing: number }>;
  health(): Promise<{ ok: boolean; detail: string }>;
  close(): Promise<void>;
};
