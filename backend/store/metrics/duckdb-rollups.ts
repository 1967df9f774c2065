/**
 * Means and maxima of a minute (90 days) and an hour (2 years), made from raw samples 90 s after
 * each minute ends. What comes later marks its minute, in the transaction that stores it, and the
 * minute and its hour are made again. Each slice is one transaction with the mark that it is done,
 * so a crash at any moment neither loses nor doubles one.
 */
import type { Cancel, Clock, Log } from '../../../broker/contract/ports.ts';
import type { DuckDb } from './duckdb-driver.ts';
import {
  addLate,
  countSeries,
  addRollupMetrics,
  createRollup,
  createState,
  forgetEvents,
  forgetRollup,
  makeHour,
  makeMinutes,
  readLate,
  readUntil,
  removeLate,
  setUntil,
} from './duckdb-rollup-sql.ts';
import {
  type Day,
  dayOf,
  dropTable,
  entities,
  listTables,
  monthOf,
  readColumns,
  seriesTable,
  tableOf,
} from './duckdb-sql.ts';
import { stepOf } from './grid.ts';
import { hourMs, minuteMs, type Resolution, retentionMs } from './sources.ts';

const settleMs = 90_000;
const everyMs = 10_000;
const lateMinutesPerTurn = 30;
/**
 * Rows of one slice's groups: each takes 0.5 kB while it is made, of the 64 MB the store has. A
 * minute of 2048 nodes x 20 guests is 43 000; a small house catches up in slices of ten minutes.
 */
const groupsPerSlice = 40_000;

export type RollupStore = {
  db: DuckDb;
  days: { list(): readonly Day[] };
};

export type RollupState = {
  /** Up to where each resolution is made; 0 = not yet begun. */
  until: Record<Resolution, number>;
  /** Days and months of which there are tables. */
  periods: Record<Resolution, string[]>;
  ensured: Set<string>;
  lateCount: number;
};

export const startOfDay = (day: Day): number =>
  Date.UTC(Number(day.slice(0, 4)), Number(day.slice(4, 6)) - 1, Number(day.slice(6, 8)));

/** Reads what the file holds and gives older tables the metrics the catalogue has gained. */
export async function openRollups(db: DuckDb): Promise<RollupState> {
  for (const sql of createState) await db.execute(sql);
  const tables = (await db.query(listTables)).map(({ name }) => name as string);
  const periodsOf = (resolution: Resolution) =>
    tables
      .filter((name) => name.startsWith(`node_${resolution}_`))
      .map((name) => name.slice(`node_${resolution}_`.length));
  const periods = { '1m': periodsOf('1m'), '1h': periodsOf('1h') };
  for (const resolution of ['1m', '1h'] as const) {
    for (const entity of entities) {
      for (const period of periods[resolution]) {
        const table = tableOf(entity, resolution, period);
        const columns = await db.query(readColumns(table));
        const present = new Set(columns.map(({ name }) => name as string));
        for (const sql of addRollupMetrics(entity, table, present)) await db.execute(sql);
      }
    }
  }
  const until: RollupState['until'] = { '1m': 0, '1h': 0 };
  for (const row of await db.query(readUntil)) {
    until[row['resolution'] as Resolution] = row['until_ms'] as number;
  }
  const late = await db.query(readLate(1_000_000));
  return { until, periods, ensured: new Set(), lateCount: late.length };
}

/** For the transaction that stores samples of these times. Returns the SQL, or none. */
export function markLate(state: RollupState, timesMs: readonly number[]): string | undefined {
  const minutes = new Set<number>();
  for (const timeMs of timesMs) {
    if (timeMs < state.until['1m']) minutes.add(stepOf(timeMs, minuteMs));
  }
  state.lateCount += minutes.size;
  return minutes.size === 0 ? undefined : addLate([...minutes]);
}

async function ensure(state: RollupState, db: DuckDb, resolution: Resolution, timeMs: number) {
  const period = resolution === '1m' ? dayOf(timeMs) : monthOf(timeMs);
  const key = `${resolution}_${period}`;
  if (state.ensured.has(key)) return;
  for (const sql of createRollup(resolution, timeMs)) await db.execute(sql);
  state.ensured.add(key);
  const known = state.periods[resolution];
  if (!known.includes(period)) state.periods[resolution] = [...known, period].sort();
}

/** Minutes of one day, from its raw samples; nothing where these are gone. */
async function minutes({ db, days }: RollupStore, [fromMs, toMs]: readonly [number, number]) {
  if (!days.list().includes(dayOf(fromMs))) return;
  for (const entity of entities) {
    await db.execute(forgetRollup(entity, '1m', [fromMs, toMs]));
    await db.execute(makeMinutes(entity, fromMs, toMs));
  }
}

async function hour({ db }: RollupStore, state: RollupState, hourAtMs: number): Promise<void> {
  if (!state.periods['1m'].includes(dayOf(hourAtMs))) return;
  for (const entity of entities) {
    await db.execute(forgetRollup(entity, '1h', [hourAtMs, hourAtMs + hourMs]));
    await db.execute(makeHour(entity, hourAtMs));
  }
}

/** Where to begin in a file that has raw samples and no roll-up yet. */
const beginning = ({ days }: RollupStore, targetMs: number): number => {
  const [oldest] = days.list();
  return oldest === undefined ? targetMs : Math.min(startOfDay(oldest), targetMs);
};

/** Start of the first of these days after a time: what was off for a year is skipped at once. */
const nextDay = (days: readonly Day[], afterMs: number): number => {
  const next = days.find((day) => day > dayOf(afterMs));
  return next === undefined ? Infinity : startOfDay(next);
};

async function sliceMsOf({ db }: RollupStore, day: Day): Promise<number> {
  const [row] = await db.query(countSeries(day));
  const minutesFit = Math.floor(groupsPerSlice / Math.max(1, Number(row?.['count'])));
  // A divisor of an hour, so that no slice reaches into the next day.
  const fitting = [10, 5, 2].find((count) => count <= minutesFit);
  return (fitting ?? 1) * minuteMs;
}

async function advanceMinutes(store: RollupStore, state: RollupState, nowMs: number) {
  const targetMs = stepOf(nowMs - settleMs, minuteMs);
  const fromMs = state.until['1m'] === 0 ? beginning(store, targetMs) : state.until['1m'];
  const isStored = store.days.list().includes(dayOf(fromMs));
  // One slice lies in one day, which is where its rows go.
  const sliceMs = isStored ? await sliceMsOf(store, dayOf(fromMs)) : 0;
  const endMs = isStored ? stepOf(fromMs, sliceMs) + sliceMs : nextDay(store.days.list(), fromMs);
  const toMs = Math.min(targetMs, endMs);
  if (toMs <= fromMs && state.until['1m'] !== 0) return false;
  if (isStored) await ensure(state, store.db, '1m', fromMs);
  await store.db.transaction(async () => {
    if (isStored) await minutes(store, [fromMs, toMs]);
    for (const sql of setUntil('1m', toMs)) await store.db.execute(sql);
  });
  state.until['1m'] = toMs;
  return toMs < targetMs;
}

async function advanceHours(store: RollupStore, state: RollupState) {
  const targetMs = stepOf(state.until['1m'], hourMs);
  const isNew = state.until['1h'] === 0;
  const fromMs = isNew ? stepOf(beginning(store, targetMs), hourMs) : state.until['1h'];
  const isMade = state.periods['1m'].includes(dayOf(fromMs));
  const endMs = isMade ? fromMs + hourMs : nextDay(state.periods['1m'], fromMs);
  const toMs = Math.min(targetMs, endMs);
  if (toMs <= fromMs && !isNew) return false;
  if (isMade) await ensure(state, store.db, '1h', fromMs);
  await store.db.transaction(async () => {
    if (toMs > fromMs) await hour(store, state, fromMs);
    for (const sql of setUntil('1h', toMs)) await store.db.execute(sql);
  });
  state.until['1h'] = toMs;
  return toMs < targetMs;
}

/** Minutes that samples came for after they were made. */
async function redoLate(store: RollupStore, state: RollupState): Promise<boolean> {
  if (state.lateCount === 0) return false;
  const rows = await store.db.query(readLate(lateMinutesPerTurn));
  const late = rows.map(({ at_ms: atMs }) => atMs as number);
  if (late.length === 0) {
    state.lateCount = 0;
    return false;
  }
  const hours = [...new Set(late.map((atMs) => stepOf(atMs, hourMs)))];
  for (const atMs of hours) {
    await ensure(state, store.db, '1m', atMs);
    await ensure(state, store.db, '1h', atMs);
  }
  await store.db.transaction(async () => {
    for (const atMs of late) await minutes(store, [atMs, atMs + minuteMs]);
    for (const atMs of hours) if (atMs < state.until['1h']) await hour(store, state, atMs);
    await store.db.execute(removeLate(late));
  });
  state.lateCount = Math.max(1, state.lateCount - late.length);
  return true;
}

/** Roll-ups and events that have outlived their retention. */
export async function dropOld({ db, days }: RollupStore, state: RollupState, nowMs: number) {
  const oldest = {
    '1m': dayOf(nowMs - retentionMs['1m']),
    '1h': monthOf(nowMs - retentionMs['1h']),
  };
  for (const resolution of ['1m', '1h'] as const) {
    const expired = state.periods[resolution].filter((each) => each < oldest[resolution]);
    state.periods[resolution] = state.periods[resolution].filter((each) => !expired.includes(each));
    for (const period of expired) {
      for (const entity of entities) {
        await db.execute(dropTable(tableOf(entity, resolution, period)));
      }
      if (resolution === '1m' && !days.list().includes(period)) {
        await db.execute(dropTable(seriesTable(period)));
      }
    }
  }
  await db.execute(forgetEvents(nowMs - retentionMs['1h']));
}

/** One bounded piece of what is due. False when nothing more is. */
export async function rollUp(
  store: RollupStore,
  state: RollupState,
  nowMs: number,
): Promise<boolean> {
  const isBehind = await advanceMinutes(store, state, nowMs);
  const isHourBehind = await advanceHours(store, state);
  const isLate = await redoLate(store, state);
  return isBehind || isHourBehind || isLate;
}

export type Housekeeping = {
  clock: Clock;
  log: Log;
  /** Runs between batches, one at a time. */
  inTurn: (work: () => Promise<void>) => Promise<void>;
  /** One piece of what is due; true when there is more. */
  piece: (nowMs: number) => Promise<boolean>;
};

/** Does what is due, piece by piece, and looks again every 10 s. Returns how to stop. */
export function keepHouse({ clock, log, inTurn, piece }: Housekeeping): () => void {
  const house = { isStopped: false };
  let cancel: Cancel = () => undefined;
  const next = async (): Promise<boolean> => {
    let isMore = false;
    await inTurn(async () => {
      isMore = !house.isStopped && (await piece(clock.wallMs()));
    });
    return isMore;
  };
  const turn = async (): Promise<void> => {
    try {
      while (await next());
    } catch (error) {
      log.warn({ err: error }, 'roll-ups not made, tried again in 10 s');
    }
    if (!house.isStopped) cancel = clock.after(everyMs, turn);
  };
  cancel = clock.after(everyMs, turn);
  return () => {
    house.isStopped = true;
    cancel();
  };
}
