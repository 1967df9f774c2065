/**
 * The embedded metrics store. A batch is one transaction: durable when `write` resolves, absent
 * when it rejects. Idempotent because it knows what it holds, by sequence number. Keeps raw
 * samples for `retentionDays`; a sample older than that has expired on arrival and is not stored.
 */
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import type { MetricsStore, StoredSample } from '../ports.ts';
import { type Column, type DuckDb, isFatal, openDuckDb } from './duckdb-driver.ts';
import { type Days, type OpenDay, openDays, seriesKey, seriesPerDayMax } from './duckdb-days.ts';
import {
  type Day,
  dayOf,
  oldestDay,
  rawTable,
  selectRanges,
  selectSpans,
  seriesTable,
} from './duckdb-sql.ts';
import { latest, missing, range } from './duckdb-queries.ts';
import { MetricsWriteError } from './errors.ts';
import { fresh, type Held, type HeldRange, hold, holdRange, watermarksOf } from './held.ts';

const retentionDaysDefault = 7;
const dayMs = 86_400_000;

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
};

type Store = {
  db: DuckDb;
  days: Days;
  held: Held;
  options: DuckDbStoreOptions;
  /** Guests not stored because their day had too many series. */
  refusedGuests: number;
  lastFailure: string | null;
};

type Values = Readonly<Record<string, unknown>>;
type GuestRow = { series: number; atMs: number; values: Values };
type NodeRow = GuestRow & { incarnation: number; seq: number };
type NewSeries = { id: number; cluster: string; node: string; guest: string | null };
type DayRows = { nodes: NodeRow[]; guests: GuestRow[]; series: NewSeries[] };

/** Rows of one day with the numbers their series have or will have. */
function rowsOf(store: Store, day: OpenDay, samples: readonly StoredSample[]): DayRows {
  const rows: DayRows = { nodes: [], guests: [], series: [] };
  const added = new Map<string, number>();
  const idOf = (cluster: string, node: string, guest: string | null): number | undefined => {
    const key = seriesKey({ cluster, node, guest });
    const known = day.ids.get(key) ?? added.get(key);
    if (known !== undefined) return known;
    if (guest !== null && day.ids.size + added.size >= seriesPerDayMax) return undefined;
    const id = day.nextId + added.size;
    added.set(key, id);
    rows.series.push({ id, cluster, node, guest });
    return id;
  };
  for (const { cluster, node, incarnation, seq, sampledAtMs: atMs, values, guests } of samples) {
    const series = idOf(cluster, node, null) as number;
    rows.nodes.push({ series, atMs, incarnation, seq, values });
    for (const guest of guests) {
      const guestSeries = idOf(cluster, node, guest.id);
      if (guestSeries === undefined) store.refusedGuests += 1;
      else rows.guests.push({ series: guestSeries, atMs, values: guest });
    }
  }
  return rows;
}

const fixedColumns = (rows: readonly (GuestRow | NodeRow)[]): Column[] => [
  { name: 'series', type: 'INTEGER', valueAt: (row) => rows[row]!.series },
  { name: 'at_ms', type: 'BIGINT', valueAt: (row) => BigInt(rows[row]!.atMs) },
];

const identityColumns = (rows: readonly NodeRow[]): Column[] => [
  { name: 'incarnation', type: 'BIGINT', valueAt: (row) => BigInt(rows[row]!.incarnation) },
  { name: 'seq', type: 'BIGINT', valueAt: (row) => BigInt(rows[row]!.seq) },
];

const seriesColumns = (rows: readonly NewSeries[]): Column[] => [
  { name: 'id', type: 'INTEGER', valueAt: (row) => rows[row]!.id },
  { name: 'cluster', type: 'VARCHAR', valueAt: (row) => rows[row]!.cluster },
  { name: 'node', type: 'VARCHAR', valueAt: (row) => rows[row]!.node },
  { name: 'guest', type: 'VARCHAR', valueAt: (row) => rows[row]!.guest },
];

const metricColumn = (name: string, rows: readonly GuestRow[]): Column => ({
  name,
  type: 'DOUBLE',
  // A column the catalogue no longer has stays in old tables, and is null.
  valueAt: (row) => (rows[row]!.values[name] as number | null | undefined) ?? null,
});

/** The columns as the table orders them, which an older catalogue may have made. */
function inOrder(names: readonly string[], fixed: Column[], rows: readonly GuestRow[]): Column[] {
  const byName = new Map(fixed.map((column) => [column.name, column]));
  return names.map((name) => byName.get(name) ?? metricColumn(name, rows));
}

async function appendDay(store: Store, day: OpenDay, rows: DayRows): Promise<void> {
  const { nodes, guests, series } = rows;
  const { db } = store;
  if (series.length > 0) {
    await db.append(seriesTable(day.day), seriesColumns(series), series.length);
  }
  const nodeColumns = [...fixedColumns(nodes), ...identityColumns(nodes)];
  const columns = inOrder(day.columns.node, nodeColumns, nodes);
  await db.append(rawTable('node', day.day), columns, nodes.length);
  if (guests.length > 0) {
    const guestColumns = inOrder(day.columns.guest, fixedColumns(guests), guests);
    await db.append(rawTable('guest', day.day), guestColumns, guests.length);
  }
}

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
  oldestDay(options.clock.wallMs(), options.retentionDays ?? retentionDaysDefault);

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
    parts.push({ day, rows: rowsOf(store, day, ofDay) });
  }
  if (parts.length === 0) return;
  await store.db.transaction(async () => {
    for (const { day, rows } of parts) await appendDay(store, day, rows);
  });
  for (const { day, rows } of parts) {
    for (const series of rows.series) day.ids.set(seriesKey(series), series.id);
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

const healthOf = ({ lastFailure, refusedGuests }: Store) => ({
  ok: lastFailure === null,
  detail:
    lastFailure ??
    (refusedGuests === 0
      ? 'DuckDB, embedded'
      : `DuckDB, embedded; ${refusedGuests} guest rows refused: over ${seriesPerDayMax} series a day`),
});

async function openState(options: DuckDbStoreOptions): Promise<Store> {
  const { file, memoryLimitMb = memoryLimitMbDefault } = options;
  const db = await openDuckDb({ file, memoryLimitMb });
  const days = await openDays(db);
  const held: Held = new Map();
  const store: Store = { db, days, held, options, refusedGuests: 0, lastFailure: null };
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

  async function writeOrFail(samples: readonly StoredSample[]): Promise<void> {
    try {
      if (isBroken) await reopen();
      await write(store, samples);
      store.lastFailure = null;
    } catch (cause) {
      isBroken ||= isFatal(cause);
      store.lastFailure = cause instanceof Error ? cause.message : String(cause);
      throw new MetricsWriteError(`the metrics file refused it: ${store.lastFailure}`, cause);
    }
  }

  return {
    write(samples) {
      const written = writing.then(() => writeOrFail(samples));
      writing = written.catch(() => undefined);
      return written;
    },
    latest: (subject) => latest(store, subject),
    range: (query) => range(store, query),
    watermarks: async () => watermarksOf(store.held),
    missing: (sinceMs) => missing(store, sinceMs),
    health: async () => healthOf(store),
    async close() {
      await writing;
      await store.db.close();
    },
  };
}
