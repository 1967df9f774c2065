/**
 * The embedded metrics store. A batch is one transaction: durable when `write` resolves, absent
 * when it rejects. Idempotent because it knows what it holds, by sequence number. Keeps raw
 * samples for `retentionDays` and within `diskMaxMb`; a sample older than that has expired on
 * arrival and is not stored. Roll-ups of them live longer.
 */
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import type { MetricsEvent, MetricsStore, StoredSample } from '../ports.ts';
import { appendDay, type DayRows, eventColumns, rowsOf } from './duckdb-append.ts';
import { type Days, type OpenDay, openDays, seriesPerDayMax } from './duckdb-days.ts';
import { type DuckDb, isFatal, openDuckDb } from './duckdb-driver.ts';
import { type Day, dayOf, oldestDay, selectRanges, selectSpans } from './duckdb-sql.ts';
import { events, latest, missing, range, type Source, top, total } from './duckdb-queries.ts';
import { readUsedBytes } from './duckdb-rollup-sql.ts';
import {
  dropOld,
  markLate,
  openRollups,
  rollUp,
  type RollupState,
  startOfDay,
} from './duckdb-rollups.ts';
import { MetricsWriteError } from './errors.ts';
import { fresh, type Held, type HeldRange, hold, holdRange, watermarksOf } from './held.ts';
import { keepHouse } from './housekeeping.ts';
import { addSeries } from './series-numbers.ts';
import { dayMs, rawRetentionDaysDefault, shortestStepMs } from './sources.ts';

const keepHouseOldMs = 600_000;
/** A small house needs about 1 GB; see docs/telemetry.md. */
const diskMaxMbDefault = 20_480;

/**
 * The page cache, not the whole cost: at 2048 nodes x 20 guests the store takes about as much
 * again beside it. Below 64 a checkpoint under that load fails.
 */
const memoryLimitMbDefault = 64;

export type DuckDbStoreOptions = {
  file: string;
  clock: Clock;
  log: Log;
  retentionDays?: number;
  memoryLimitMb?: number;
  /** Beyond it the oldest raw day is dropped early; never the newest. */
  diskMaxMb?: number;
};

type Store = {
  db: DuckDb;
  days: Days;
  held: Held;
  rollups: RollupState;
  oldDroppedMs: number;
  options: DuckDbStoreOptions;
  /** Guests not stored because their day had too many series. */
  refusedGuests: number;
  /** Days dropped before their time for want of disk. */
  daysDroppedEarly: number;
  usedBytes: number;
  lastFailure: string | null;
};

function byDay(samples: readonly StoredSample[]): Map<Day, StoredSample[]> {
  const days = new Map<Day, StoredSample[]>();
  for (const sample of samples) {
    const day = dayOf(sample.sampledAtMs);
    const same = days.get(day);
    if (same) same.push(sample);
    else days.set(day, [sample]);
  }
  return days;
}

const oldestKept = ({ options }: Store): Day =>
  oldestDay(options.clock.wallMs(), options.retentionDays ?? rawRetentionDaysDefault);

async function retain(store: Store): Promise<void> {
  const dropped = await store.days.dropBefore(oldestKept(store));
  if (dropped.length > 0) store.options.log.info({ days: dropped }, 'expired metrics dropped');
}

async function write(store: Store, samples: readonly StoredSample[]): Promise<void> {
  const oldest = oldestKept(store);
  const parts: { day: OpenDay; rows: DayRows }[] = [];
  const batch = fresh(store.held, samples);
  for (const [name, ofDay] of byDay(batch)) {
    if (name < oldest) continue;
    const isNew = !store.days.list().includes(name);
    const day = await store.days.open(name);
    if (isNew) await retain(store);
    parts.push({ day, rows: rowsOf(day, ofDay) });
  }
  if (parts.length === 0) return;
  const late = markLate(
    store.rollups,
    batch.map(({ sampledAtMs }) => sampledAtMs),
  );
  await store.db.transaction(async () => {
    for (const { day, rows } of parts) await appendDay(store.db, day, rows);
    if (late !== undefined) await store.db.execute(late);
  });
  for (const { day, rows } of parts) {
    store.refusedGuests += rows.refusedGuests;
    for (const series of rows.series) addSeries(day.ids, series);
    day.nextId += rows.series.length;
  }
  for (const sample of batch) hold(store.held, sample);
}

/** What the file holds, in as few ranges as it takes. */
async function readHeld({ db, days, held, options }: Store): Promise<void> {
  if (days.list().length === 0) return;
  type Span = HeldRange & { stored: number; first_at_ms: number };
  const spans = (await db.query(selectSpans(days.list()))) as Span[];
  const holdsAll = ({ first, last, stored }: Span) => stored === last - first + 1;
  for (const span of spans.filter(holdsAll)) holdRange(held, span);
  if (!spans.every(holdsAll)) {
    const ranges = (await db.query(selectRanges(days.list()))) as HeldRange[];
    for (const range of ranges) holdRange(held, range);
  }
  // What came before an incarnation's first sample of days ago has expired or was given up.
  const yesterdayMs = options.clock.wallMs() - dayMs;
  for (const span of spans) {
    if (span.first > 1 && span.first_at_ms < yesterdayMs) {
      holdRange(held, { ...span, first: 1, last: span.first - 1 });
    }
  }
}

async function writeEvents({ db }: Store, list: readonly MetricsEvent[]): Promise<void> {
  if (list.length === 0) return;
  await db.transaction(() => db.append('events', eventColumns(list), list.length));
}

/** Drops the oldest raw day while the file has more in use than it may. */
async function keepWithinDisk(store: Store): Promise<void> {
  const { db, days, options } = store;
  const bytesMax = (options.diskMaxMb ?? diskMaxMbDefault) * 1_048_576;
  const used = async () => Number((await db.query(readUsedBytes))[0]?.['bytes'] ?? 0);
  store.usedBytes = await used();
  while (store.usedBytes > bytesMax && days.list().length > 1) {
    const [day, next] = days.list();
    await days.dropBefore(next as Day);
    store.daysDroppedEarly += 1;
    options.log.error({ day, bytesMax }, 'raw samples dropped early: the disk allowance is full');
    try {
      await db.execute('CHECKPOINT');
    } catch {
      // A query runs. What the drop frees is known after it; dropping more now would be too much.
      return;
    }
    store.usedBytes = await used();
  }
}

/** One piece of what is due besides storing; true when there is more. */
async function keepTidy(store: Store, nowMs: number): Promise<boolean> {
  const isMore = await rollUp(store, store.rollups, nowMs);
  if (isMore || nowMs - store.oldDroppedMs < keepHouseOldMs) return isMore;
  store.oldDroppedMs = nowMs;
  await retain(store);
  await dropOld(store, store.rollups, nowMs);
  await keepWithinDisk(store);
  return false;
}

const sourceOf = ({ db, days, rollups, options }: Store): Source => ({
  db,
  days,
  periods: (source) => (source === 'raw' ? days.list() : rollups.periods[source]),
  horizons: () => {
    const [oldest] = days.list();
    const kept =
      options.clock.wallMs() - (options.retentionDays ?? rawRetentionDaysDefault) * dayMs;
    const rawSinceMs = oldest === undefined ? kept : Math.max(kept, startOfDay(oldest));
    return { rawSinceMs, until: rollups.until };
  },
});

const finestStepMs = ({ clock, retentionDays }: DuckDbStoreOptions, fromMs: number): number =>
  shortestStepMs(fromMs, clock.wallMs(), retentionDays ?? rawRetentionDaysDefault);

const healthOf = ({ lastFailure, refusedGuests }: Store) => ({
  ok: lastFailure === null,
  detail:
    lastFailure ??
    (refusedGuests === 0
      ? 'DuckDB, embedded'
      : `DuckDB, embedded; ${refusedGuests} guest rows refused: over ${seriesPerDayMax} series a day`),
});

const figuresOf = ({ refusedGuests, daysDroppedEarly, usedBytes, rollups, options }: Store) => ({
  refusedGuests,
  daysDroppedEarly,
  usedBytes,
  lateMinutes: rollups.lateCount,
  rollupLagMs: rollups.until['1m'] === 0 ? 0 : options.clock.wallMs() - rollups.until['1m'],
});

async function openState(options: DuckDbStoreOptions): Promise<Store> {
  const { file, memoryLimitMb = memoryLimitMbDefault } = options;
  const db = await openDuckDb({ file, memoryLimitMb });
  const days = await openDays(db);
  const rollups = await openRollups(db);
  const counts = { refusedGuests: 0, daysDroppedEarly: 0, usedBytes: 0, oldDroppedMs: 0 };
  const held: Held = new Map();
  const store: Store = { db, days, held, rollups, options, ...counts, lastFailure: null };
  await retain(store);
  await readHeld(store);
  return store;
}

export async function openDuckDbStore(options: DuckDbStoreOptions): Promise<MetricsStore> {
  let store = await openState(options);
  let isBroken = false;
  let writing: Promise<unknown> = Promise.resolve();

  /** After a fatal error nobody knows what of the batch is on disk; the file does. */
  async function reopen(): Promise<void> {
    await store.db.close().catch(() => undefined);
    store = await openState(options);
    isBroken = false;
    options.log.warn({ file: options.file }, 'metrics file opened again after a fatal error');
  }

  async function doOrFail(work: (store: Store) => Promise<void>): Promise<void> {
    try {
      if (isBroken) await reopen();
      await work(store);
      store.lastFailure = null;
    } catch (cause) {
      isBroken ||= isFatal(cause);
      store.lastFailure = cause instanceof Error ? cause.message : String(cause);
      throw new MetricsWriteError(`the metrics file refused it: ${store.lastFailure}`, cause);
    }
  }

  const inTurn = (work: (store: Store) => Promise<void>): Promise<void> => {
    const done = writing.then(() => doOrFail(work));
    writing = done.catch(() => undefined);
    return done;
  };
  const { clock, log } = options;
  const piece = (nowMs: number) => keepTidy(store, nowMs);
  const stopHouse = keepHouse({ clock, log, inTurn, piece });

  return {
    write: (samples) => inTurn((open) => write(open, samples)),
    writeEvents: (list) => inTurn((open) => writeEvents(open, list)),
    latest: (subject) => latest(sourceOf(store), subject),
    range: (query) => range(sourceOf(store), query),
    total: (query) => total(sourceOf(store), query),
    top: (query) => top(sourceOf(store), query),
    events: (query) => events(sourceOf(store), query),
    watermarks: async () => watermarksOf(store.held),
    finestStepMs: (fromMs) => finestStepMs(options, fromMs),
    missing: (sinceMs, clusterPrefix) => missing(sourceOf(store), sinceMs, clusterPrefix),
    health: async () => healthOf(store),
    figures: () => figuresOf(store),
    async close() {
      stopHouse();
      await writing;
      await store.db.close();
    },
  };
}
