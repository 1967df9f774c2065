/**
 * InfluxDB 2, or what speaks its write protocol. `write` resolves when the server has accepted
 * every line, or the spool on our disk has them. Idempotent by nature: a repeated sample has the
 * same tags and time and overwrites itself. How far each node is stored is itself stored, as
 * measurement `watermark`, at most every 10 s per node and never ahead of the samples; losing one
 * costs a replay that changes nothing.
 */
import type { Cancel, Clock, Log } from '../../../broker/contract/ports.ts';
import type { MetricsStore, StoredSample, Watermark } from '../ports.ts';
import { bucketOf, watermarksFlux } from './flux.ts';
import { fresh, type Held, type HeldRange, hold, holdRange, watermarksOf } from './held.ts';
import { connectInflux, type InfluxOptions } from './influx-client.ts';
import { createDelivery, type Delivery } from './influx-delivery.ts';
import { ask, events, latest, missing, range, type Source, top, total } from './influx-queries.ts';
import { type Rollups, startRollups } from './influx-rollups.ts';
import { eventLine, linesOf, watermarkLine } from './lines.ts';
import { dayMs, rawRetentionDaysDefault, shortestStepMs } from './sources.ts';
import { openSpool, type Spool } from './spool.ts';

const watermarkEveryMs = 10_000;
const closeWithinMs = 1_000;
/** 6 minutes of 2048 nodes x 20 guests at 5 s, days of a small house; see docs/telemetry.md. */
const spoolBytesMaxDefault = 256 * 1024 * 1024;

export type InfluxStoreOptions = InfluxOptions & {
  clock: Clock;
  log: Log;
  retentionDays?: number;
  /** False: another process makes them, and this one waits until they are there. Default true. */
  makesBuckets?: boolean;
  /** Null = none: what the server does not take, `write` throws. */
  spool: { folder: string; bytesMax?: number } | null;
};

type Store = {
  source: Source;
  delivery: Delivery;
  rollups: Rollups;
  held: Held;
  /** What the server was last told, by cluster/node, and when. */
  told: Map<string, { seq: number; incarnation: number; atMs: number }>;
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

const namesOf = (samples: readonly StoredSample[]): HeldRange[] =>
  samples.map(({ cluster, node, incarnation, seq }) => {
    return { cluster, node, incarnation, first: seq, last: seq };
  });

async function write(
  store: Store,
  samples: readonly StoredSample[],
  minAgeMs = watermarkEveryMs,
): Promise<void> {
  const { clock, bucket } = store.options;
  const batch = fresh(store.held, samples);
  const watermarks = dueWatermarks(store, minAgeMs);
  const marks = watermarks.map((watermark) => watermarkLine(watermark, clock.wallMs()));
  const lines = [...batch.flatMap(linesOf), ...marks];
  if (lines.length === 0) return;
  await store.delivery.deliver({ bucket, names: namesOf(batch), samples: batch.length, lines });
  store.rollups.stored(batch.map(({ sampledAtMs }) => sampledAtMs));
  for (const sample of batch) hold(store.held, sample);
  const atMs = clock.monotonicMs();
  for (const { cluster, node, incarnation, seq } of watermarks) {
    store.told.set(`${cluster}/${node}`, { incarnation, seq, atMs });
  }
}

/** What the server was last told. It may be behind what it holds, never ahead. */
async function readWatermarks({ source, held, options }: Store): Promise<void> {
  const { bucket, clock, log } = options;
  try {
    const sinceMs = clock.wallMs() - retentionMs(options);
    const rows = await ask(source.client, watermarksFlux(bucket, sinceMs));
    const nodes = new Map<string, Record<string, unknown>>();
    for (const row of rows) {
      const key = `${String(row['cluster'])}/${String(row['node'])}`;
      nodes.set(key, { ...row, ...nodes.get(key), [String(row['_field'])]: row['_value'] });
    }
    for (const row of nodes.values()) {
      const incarnation = Number(row['incarnation']);
      const name = { cluster: String(row['cluster']), node: String(row['node']), incarnation };
      if (Number(row['seq']) > 0) holdRange(held, { ...name, first: 1, last: Number(row['seq']) });
    }
  } catch (error) {
    log.warn({ err: error }, 'watermarks not read: daemons will send again what they still hold');
  }
}

const retentionMs = ({ retentionDays = rawRetentionDaysDefault }: InfluxStoreOptions): number =>
  retentionDays * dayMs;

const openSpoolOf = async ({ spool, log }: InfluxStoreOptions): Promise<Spool | null> =>
  spool === null
    ? null
    : openSpool({
        folder: spool.folder,
        bytesMax: spool.bytesMax ?? spoolBytesMaxDefault,
        onDropped: (samples) =>
          log.error({ samples }, 'the spool is full: its oldest samples are lost'),
      });

const timesOf = (lines: readonly string[]): number[] =>
  lines.map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)));

async function openState(options: InfluxStoreOptions): Promise<Store> {
  const { clock, log, org, bucket, retentionDays = rawRetentionDaysDefault } = options;
  const client = connectInflux(options);
  const spool = await openSpoolOf(options);
  const { makesBuckets = true } = options;
  const rollups = startRollups({ client, org, bucket, retentionDays, makesBuckets, clock, log });
  const onDrained = (lines: readonly string[]) => rollups.stored(timesOf(lines));
  const delivery = createDelivery({ client, spool, clock, log, onDrained });
  const horizons = () => ({
    rawSinceMs: clock.wallMs() - retentionMs(options),
    until: rollups.until(),
  });
  const source = { client, bucket, horizons };
  const held: Held = new Map();
  const store: Store = { source, delivery, rollups, held, told: new Map(), options };
  await readWatermarks(store);
  for (const name of spool?.names ?? []) holdRange(held, name);
  return store;
}

/** The last watermarks spare every daemon a replay at the next start; no more than that. */
async function tellLast({ options }: Store, told: Promise<void>): Promise<void> {
  let cancelLate: Cancel = () => undefined;
  const late = new Promise<void>((done) => {
    cancelLate = options.clock.after(closeWithinMs, done);
  });
  const logged = told.catch((error: unknown) => {
    options.log.warn({ err: error }, 'last watermarks not stored');
  });
  await Promise.race([logged, late]);
  cancelLate();
}

const healthOf = ({ delivery, options }: Store) => {
  const { spoolBytes, spoolDropped, refusedLines } = delivery.figures();
  const failure = delivery.failure();
  const spooled = spoolBytes === 0 ? '' : `; ${spoolBytes} bytes wait in the spool`;
  const lost = spoolDropped === 0 ? '' : `; ${spoolDropped} samples fell out of the spool`;
  const refused = refusedLines === 0 ? '' : `; ${refusedLines} lines refused for ever`;
  const what = failure ?? `InfluxDB at ${options.url}`;
  return { ok: failure === null, detail: `${what}${spooled}${lost}${refused}` };
};

/** Never fails because the server is away: then everything waits for it. */
export async function openInfluxStore(options: InfluxStoreOptions): Promise<MetricsStore> {
  const store = await openState(options);
  const { source, delivery, rollups } = store;
  let writing: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = writing.then(work);
    writing = done.catch(() => undefined);
    return done;
  };
  return {
    write: (samples) => inTurn(() => write(store, samples)),
    writeEvents: (list) =>
      inTurn(async () => {
        if (list.length === 0) return;
        const bucket = bucketOf(options.bucket, '1h');
        await delivery.deliver({ bucket, names: [], samples: 0, lines: list.map(eventLine) });
      }),
    latest: (subject) => latest(source, subject, options.clock.wallMs() - retentionMs(options)),
    range: (query) => range(source, query),
    total: (query) => total(source, query),
    top: (query) => top(source, query),
    events: (query) => events(source, query),
    watermarks: async () => watermarksOf(store.held),
    finestStepMs: (fromMs) => {
      const { clock, retentionDays = rawRetentionDaysDefault } = options;
      return shortestStepMs(fromMs, clock.wallMs(), retentionDays);
    },
    missing: (sinceMs, clusterPrefix) => missing(source, sinceMs, clusterPrefix),
    health: async () => healthOf(store),
    figures: () => ({ ...delivery.figures(), ...rollups.figures() }),
    async close() {
      rollups.close();
      await tellLast(
        store,
        inTurn(() => write(store, [], 0)),
      );
      await delivery.close();
    },
  };
}
