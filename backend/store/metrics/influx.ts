/**
 * InfluxDB 2, or what speaks its write protocol. `write` resolves only after the server accepted
 * every line. Idempotent by nature: a repeated sample has the same tags and time and overwrites
 * itself. How far each node is stored is itself stored, as measurement `watermark`, at most every
 * 10 s per node and never ahead of the samples; losing one costs a replay that changes nothing.
 */
import type { Entity } from '../../../broker/contract/metrics.ts';
import { metricsOf } from '../../../broker/contract/metrics.ts';
import type { Cancel, Clock, Log } from '../../../broker/contract/ports.ts';
import type { MetricsStore, RangeQuery, StoredSample, Watermark } from '../ports.ts';
import { MetricsQueryError, MetricsWriteError } from './errors.ts';
import { latestFlux, rangeFlux, spansFlux, watermarksFlux } from './flux.ts';
import { type Cell, checkRange, seriesOf } from './grid.ts';
import { fresh, type Held, hold, holdRange, watermarksOf } from './held.ts';
import {
  connectInflux,
  type InfluxClient,
  type InfluxOptions,
  linesPerRequest,
  type ParameterizedQuery,
} from './influx-client.ts';
import { linesOf, watermarkLine } from './lines.ts';

/** More only moves the queue from here to the server. */
const requestsInFlightMax = 3;
const watermarkEveryMs = 10_000;
const closeWithinMs = 1_000;
/** As long as raw samples are kept; a node silent for longer starts over. */
const historyMs = 7 * 86_400_000;

export type InfluxStoreOptions = InfluxOptions & { clock: Clock; log: Log };

type Store = {
  client: InfluxClient;
  held: Held;
  /** What the server was last told, by cluster/node, and when. */
  told: Map<string, { seq: number; incarnation: number; atMs: number }>;
  lastFailure: string | null;
  options: InfluxStoreOptions;
};

/** Of each node its newest incarnation. */
function newestWatermarks(held: Held): Watermark[] {
  const newest = new Map<string, Watermark>();
  for (const watermark of watermarksOf(held)) {
    const key = `${watermark.cluster}/${watermark.node}`;
    const known = newest.get(key);
    if (!known || known.incarnation < watermark.incarnation) newest.set(key, watermark);
  }
  return [...newest.values()];
}

/** Lines for what was stored before this write, so that a watermark never comes first. */
function dueWatermarks({ held, told, options }: Store, minAgeMs: number): Watermark[] {
  const nowMs = options.clock.monotonicMs();
  return newestWatermarks(held).filter(({ cluster, node, incarnation, seq }) => {
    const last = told.get(`${cluster}/${node}`);
    if (seq === 0 || (last?.seq === seq && last.incarnation === incarnation)) return false;
    return last === undefined || nowMs - last.atMs >= minAgeMs;
  });
}

async function sendAll({ client }: Store, lines: readonly string[]): Promise<void> {
  const requests: (readonly string[])[] = [];
  for (let start = 0; start < lines.length; start += linesPerRequest) {
    requests.push(lines.slice(start, start + linesPerRequest));
  }
  const worker = async (): Promise<void> => {
    for (let next = requests.shift(); next; next = requests.shift()) await client.send(next);
  };
  // All settle before we answer: a request still under way must not overlap the repetition.
  const ends = await Promise.allSettled(Array.from({ length: requestsInFlightMax }, worker));
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed) throw failed.reason;
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? `${error.name}: ${error.message}`.slice(0, 512) : String(error);

async function write(
  store: Store,
  samples: readonly StoredSample[],
  minAgeMs = watermarkEveryMs,
): Promise<void> {
  const { clock } = store.options;
  const batch = fresh(store.held, samples);
  const watermarks = dueWatermarks(store, minAgeMs);
  const marks = watermarks.map((watermark) => watermarkLine(watermark, clock.wallMs()));
  try {
    await sendAll(store, [...batch.flatMap(linesOf), ...marks]);
    store.lastFailure = null;
  } catch (cause) {
    store.lastFailure = messageOf(cause);
    throw new MetricsWriteError(`InfluxDB did not take it: ${store.lastFailure}`, cause);
  }
  for (const sample of batch) hold(store.held, sample);
  const atMs = clock.monotonicMs();
  for (const { cluster, node, incarnation, seq } of watermarks) {
    store.told.set(`${cluster}/${node}`, { incarnation, seq, atMs });
  }
}

async function ask({ client }: Store, query: ParameterizedQuery) {
  try {
    return await client.query(query);
  } catch (cause) {
    const hint = `InfluxDB did not answer (${messageOf(cause)}); check KR_INFLUX_URL and its log`;
    throw new MetricsQueryError('store', hint, cause);
  }
}

const timeOf = (row: Record<string, unknown>): number => Date.parse(String(row['_time']));

async function range(store: Store, query: RangeQuery) {
  checkRange(query);
  const rows = await ask(store, rangeFlux(store.options.bucket, query));
  const cells = rows.map((row): Cell => ({
    node: String(row['node']),
    guest: query.entity === 'guest' ? String(row['guest']) : null,
    metric: String(row['_field']),
    timeMs: timeOf(row),
    value: row['_value'] as number | null,
  }));
  return seriesOf(query, cells);
}

type Subject = { cluster: string; entity: Entity; node?: string; guest?: string };

async function latest(store: Store, subject: Subject) {
  if (subject[subject.entity] === undefined) {
    throw new MetricsQueryError(subject.entity, `name the ${subject.entity}`);
  }
  const { bucket, clock } = store.options;
  const rows = await ask(store, latestFlux(bucket, subject, clock.wallMs() - historyMs));
  if (rows.length === 0) return null;
  const atMs = Math.max(...rows.map(timeOf));
  const newest = new Map(
    rows.filter((row) => timeOf(row) === atMs).map((row) => [row['_field'], row['_value']]),
  );
  const values = metricsOf(subject.entity).map(({ name }): [string, number | null] => [
    name,
    (newest.get(name) as number | undefined) ?? null,
  ]);
  return { atMs, values: Object.fromEntries(values) };
}

async function missing(store: Store, sinceMs: number) {
  const rows = await ask(store, spansFlux(store.options.bucket, sinceMs));
  let samples = 0;
  let absent = 0;
  for (const row of rows) {
    const [stored, first, last] = [row['stored'], row['first'], row['last']].map(Number);
    samples += stored ?? 0;
    absent += (last ?? 0) - (first ?? 0) + 1 - (stored ?? 0);
  }
  return { samples, missing: absent };
}

/** What the server was last told. It may be behind what it holds, never ahead. */
async function readWatermarks(store: Store): Promise<void> {
  const { bucket, clock, log } = store.options;
  try {
    const rows = await ask(store, watermarksFlux(bucket, clock.wallMs() - historyMs));
    const nodes = new Map<string, Record<string, unknown>>();
    for (const row of rows) {
      const key = `${String(row['cluster'])}/${String(row['node'])}`;
      nodes.set(key, { ...row, ...nodes.get(key), [String(row['_field'])]: row['_value'] });
    }
    for (const row of nodes.values()) {
      const incarnation = Number(row['incarnation']);
      const name = { cluster: String(row['cluster']), node: String(row['node']), incarnation };
      if (Number(row['seq']) > 0)
        holdRange(store.held, { ...name, first: 1, last: Number(row['seq']) });
    }
  } catch (error) {
    log.warn({ err: error }, 'watermarks not read: daemons will send again what they still hold');
  }
}

export async function openInfluxStore(options: InfluxStoreOptions): Promise<MetricsStore> {
  const store: Store = {
    client: connectInflux(options),
    held: new Map(),
    told: new Map(),
    lastFailure: null,
    options,
  };
  await readWatermarks(store);
  let writing: Promise<unknown> = Promise.resolve();
  const inTurn = (samples: readonly StoredSample[], minAgeMs?: number): Promise<void> => {
    const written = writing.then(() => write(store, samples, minAgeMs));
    writing = written.catch(() => undefined);
    return written;
  };
  return {
    write: (samples) => inTurn(samples),
    latest: (subject) => latest(store, subject),
    range: (query) => range(store, query),
    watermarks: async () => watermarksOf(store.held),
    missing: (sinceMs) => missing(store, sinceMs),
    health: async () => ({
      ok: store.lastFailure === null,
      detail: store.lastFailure ?? `InfluxDB at ${options.url}`,
    }),
    async close() {
      // The last watermarks spare every daemon a replay at the next start; no more than that.
      const told = inTurn([], 0).catch((error: unknown) => {
        options.log.warn({ err: error }, 'last watermarks not stored');
      });
      let cancelLate: Cancel = () => undefined;
      const late = new Promise<void>((done) => {
        cancelLate = options.clock.after(closeWithinMs, done);
      });
      await Promise.race([told, late]);
      cancelLate();
    },
  };
}
