/**
 * What the backend asks of its stores. Metrics: append, latest, range. SQL goes through Kysely
 * (store/sql), whose two dialects differ only in what `Dialect` names.
 */
import type { Entity } from '../../broker/contract/metrics.ts';

/** One sample as stored; (cluster, node, incarnation, seq) is its identity. */
export type StoredSample = {
  cluster: string;
  node: string;
  incarnation: number;
  seq: number;
  sampledAtMs: number;
  /**
   * Of the node in the order of `nodeMetrics`, then of each guest in that of `guestMetrics`; what was
   * not measured is NaN. Valid until `write` has settled: then they are used for another sample.
   */
  values: Float64Array;
  /** Their ids, in the order of their values. */
  guests: readonly string[];
};

/**
 * Over the samples of a step. From roll-ups `mean` and `max` are those of the samples; `min`,
 * `last` and `p95` are those of the means of a minute or an hour.
 */
export type Aggregate = 'mean' | 'min' | 'max' | 'last' | 'p95';

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

/** One series per metric over every node or guest of one cluster, or of all. */
export type TotalQuery = Omit<RangeQuery, 'cluster' | 'node' | 'guest' | 'aggregate'> & {
  cluster?: string;
  aggregate: Exclude<Aggregate, 'last'>;
};

export type Total = { metric: string; points: [timeMs: number, value: number | null][] };

export type TopQuery = {
  cluster?: string;
  entity: Entity;
  metric: string;
  fromMs: number;
  toMs: number;
  aggregate: Aggregate;
  limit: number;
};

export type Ranked = { cluster: string; node: string; guest?: string; value: number };

/** Something that was decided or done, as Grafana annotates it. */
export type MetricsEvent = {
  atMs: number;
  cluster: string;
  kind: string;
  outcome: string;
  node: string | null;
  guest: string | null;
  text: string;
  /** Of the command, decision or audit entry it tells of. */
  id: string | null;
};

export type EventQuery = { cluster?: string; fromMs: number; toMs: number; limit: number };

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
  total(query: TotalQuery): Promise<Total[]>;
  /** The highest first. Those without a value are left out. */
  top(query: TopQuery): Promise<Ranked[]>;
  /** Durable when it resolves, as for samples. */
  writeEvents(events: readonly MetricsEvent[]): Promise<void>;
  /** The newest first. */
  events(query: EventQuery): Promise<MetricsEvent[]>;
  /** Per node and incarnation, the highest seq up to which, from 1, nothing is missing. */
  watermarks(): Promise<Watermark[]>;
  /** The shortest step for which anything is kept that long ago. */
  finestStepMs(fromMs: number): number;
  /**
   * Sequence numbers missing between the first and last stored of each incarnation since, in the
   * clusters whose id begins with `clusterPrefix`, or in all.
   */
  missing(sinceMs: number, clusterPrefix?: string): Promise<{ samples: number; missing: number }>;
  health(): Promise<{ ok: boolean; detail: string }>;
  /** Counters and levels for `/metrics`, by name. */
  figures(): Record<string, number>;
  close(): Promise<void>;
};
