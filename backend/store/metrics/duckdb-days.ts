/**
 * The days of the embedded store: which exist, how their tables look, and the number of each
 * series. A day's tables are made before the transaction that first writes to them, and a series
 * number is remembered only after the commit that stored it.
 */
import { type Entity, metricsOf } from '../../../broker/contract/metrics.ts';
import type { DuckDb } from './duckdb-driver.ts';
import {
  addMetric,
  createDay,
  type Day,
  dropTable,
  entities,
  listTables,
  rawTable,
  rawTablesOf,
  readColumns,
  readSeries,
  tablesOf,
} from './duckdb-sql.ts';
import { addSeries, emptySeries, type SeriesName, type SeriesNumbers } from './series-numbers.ts';

/**
 * Series of one day that are told apart: 40 000 guests that each visit five nodes, 25 MB of map.
 * A guest beyond it is not stored that day, so that a daemon which invents guests cannot fill the
 * memory; its node is always stored.
 */
export const seriesPerDayMax = 220_000;
/** Today, and what replays still bring of the days before. */
const openDaysMax = 3;

export type OpenDay = {
  day: Day;
  columns: Record<Entity, readonly string[]>;
  ids: SeriesNumbers;
  nextId: number;
};

export type Days = {
  /** Those with raw samples, oldest first. */
  list(): readonly Day[];
  open(day: Day): Promise<OpenDay>;
  /** Raw samples only: roll-ups still need the names of the day's series. */
  dropBefore(day: Day): Promise<Day[]>;
};

async function columnsOf(db: DuckDb, entity: Entity, day: Day): Promise<string[]> {
  const table = rawTable(entity, day);
  const read = async () => (await db.query(readColumns(table))).map(({ name }) => name as string);
  const present = new Set(await read());
  const absent = metricsOf(entity).filter(({ name }) => !present.has(name));
  if (absent.length === 0) return [...present];
  for (const { name } of absent) await db.execute(addMetric(table, name));
  return read();
}

/** All tables of a day or none. */
const make = (db: DuckDb, day: Day): Promise<void> =>
  db.transaction(async () => {
    for (const sql of createDay(day)) await db.execute(sql);
  });

async function load(db: DuckDb, day: Day): Promise<OpenDay> {
  await make(db, day);
  const columns = {
    node: await columnsOf(db, 'node', day),
    guest: await columnsOf(db, 'guest', day),
  };
  const ids = emptySeries();
  let nextId = 1;
  for (const row of await db.query(readSeries(day))) {
    const series = row as SeriesName & { id: number };
    addSeries(ids, series);
    nextId = Math.max(nextId, series.id + 1);
  }
  return { day, columns, ids, nextId };
}

/** Days of which there is any raw table, oldest first. */
async function listDays(db: DuckDb): Promise<Day[]> {
  const tables = (await db.query(listTables)).map(({ name }) => name as string);
  const found = entities.flatMap((entity) => {
    const prefix = rawTable(entity, '');
    return tables
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length));
  });
  return [...new Set(found)].sort();
}

export async function openDays(db: DuckDb): Promise<Days> {
  const found = await listDays(db);
  for (const day of found) {
    // Versions that made and dropped tables one by one may have been killed between two of them.
    await make(db, day);
    // A catalogue that grew must not make the days before it unreadable.
    await columnsOf(db, 'node', day);
    await columnsOf(db, 'guest', day);
  }
  let days: readonly Day[] = found;
  const open = new Map<Day, OpenDay>();
  const close = (day: Day) => {
    open.delete(day);
    db.release(tablesOf(day));
  };
  return {
    list: () => days,
    async open(day) {
      const known = open.get(day);
      const opened = known ?? (await load(db, day));
      // Re-inserted, so that the first key is the day unused for longest.
      open.delete(day);
      open.set(day, opened);
      if (!known && !days.includes(day)) days = [...days, day].sort();
      const [unused] = open.keys();
      if (open.size > openDaysMax && unused !== undefined) close(unused);
      return opened;
    },
    async dropBefore(oldest) {
      const expired = days.filter((day) => day < oldest);
      days = days.filter((day) => day >= oldest);
      for (const day of expired) {
        close(day);
        await db.transaction(async () => {
          for (const table of rawTablesOf(day)) await db.execute(dropTable(table));
        });
      }
      return expired;
    },
  };
}
