/**
 * Means and maxima of a minute (90 days) and an hour (2 years), made from raw samples 90 s after
 * each minute ends. What comes later marks its minute, in the transaction that stores it, and the
 * minute and its hour are made again. Minutes are made piece by piece, so that storing waits for
 * none of them for long; each piece replaces what it makes, and the last one is one transaction with
 * the mark that all are done, so a crash at any moment neither loses nor doubles one.
 */
import type { DuckDb } from './duckdb-driver.ts';
import {
  addLate,
  addRollupMetrics,
  createRollup,
  createState,
  forgetEvents,
  forgetHour,
  forgetMinutes,
  lastSeries,
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
/**
 * Series times minutes of one piece: each takes 0.5 kB while it is made, of the 64 MB the store has,
 * and nothing is stored meanwhile. A minute of 2048 nodes x 20 guests is 43 000, at a sample a second
 * seconds of work; a small house catches up in pieces of ten minutes.
 */
const groupsPerPiece = 8_000;
const lateMinutesRead = 1_000;

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
  /** What is being made, and from which series on it is not made yet. */
  making: Making | null;
};

type Making = {
  fromMs: number;
  toMs: number;
  nextId: number;
  /** The day's last series when this began; the last piece takes in what has come since. */
  lastId: number;
  /** All minutes of one hour that are made once more, this one among them; null for new ones. */
  late: readonly number[] | null;
  /** Late minutes that samples came for meanwhile, so that they are to be made once more. */
  marked: Set<number>;
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
  return { until, periods, ensured: new Set(), lateCount: late.length, making: null };
}

/** For the transaction that stores samples of these times. Returns the SQL, or none. */
export function markLate(state: RollupState, timesMs: readonly number[]): string | undefined {
  const { making, until } = state;
  const madeUntilMs = Math.max(until['1m'], making?.toMs ?? 0);
  const minutes = new Set<number>();
  for (const timeMs of timesMs) {
    if (timeMs < madeUntilMs) minutes.add(stepOf(timeMs, minuteMs));
  }
  for (const minute of minutes) making?.marked.add(minute);
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

/** The next piece of these minutes; `done` belongs to the transaction of the last. True when it was. */
async function makePiece(
  { db }: RollupStore,
  making: Making,
  done: () => Promise<void>,
): Promise<boolean> {
  const { fromMs, toMs, nextId: firstId, lastId } = making;
  const seriesFit = Math.floor((groupsPerPiece * minuteMs) / (toMs - fromMs));
  const nextId = firstId + Math.max(1, seriesFit);
  const isLast = nextId > lastId;
  const piece = { fromMs, toMs, firstId, endId: isLast ? null : nextId };
  await db.transaction(async () => {
    for (const entity of entities) {
      await db.execute(forgetMinutes(entity, piece));
      await db.execute(makeMinutes(entity, piece));
    }
    if (isLast) await done();
  });
  making.nextId = nextId;
  return isLast;
}

async function hour({ db }: RollupStore, state: RollupState, hourAtMs: number): Promise<void> {
  if (!state.periods['1m'].includes(dayOf(hourAtMs))) return;
  for (const entity of entities) {
    await db.execute(forgetHour(entity, hourAtMs));
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

async function lastSeriesOf({ db }: RollupStore, day: Day): Promise<number> {
  const [row] = await db.query(lastSeries(day));
  return Number(row?.['id'] ?? 0);
}

function sliceMsOf(lastId: number): number {
  const minutesFit = Math.floor(groupsPerPiece / Math.max(1, lastId));
  // A divisor of an hour, so that no slice reaches into the next day.
  const fitting = [10, 5, 2].find((count) => count <= minutesFit);
  return (fitting ?? 1) * minuteMs;
}

async function noteUntil({ db }: RollupStore, resolution: Resolution, toMs: number): Promise<void> {
  for (const sql of setUntil(resolution, toMs)) await db.execute(sql);
}

/** True when there is more to do. */
async function advanceMinutes(store: RollupStore, state: RollupState, nowMs: number) {
  const targetMs = stepOf(nowMs - settleMs, minuteMs);
  const fromMs = state.until['1m'] === 0 ? beginning(store, targetMs) : state.until['1m'];
  const isStored = store.days.list().includes(dayOf(fromMs));
  const lastId = isStored ? await lastSeriesOf(store, dayOf(fromMs)) : 0;
  // One slice lies in one day, which is where its rows go.
  const sliceMs = sliceMsOf(lastId);
  const endMs = isStored ? stepOf(fromMs, sliceMs) + sliceMs : nextDay(store.days.list(), fromMs);
  const toMs = Math.min(targetMs, endMs);
  if (toMs <= fromMs && state.until['1m'] !== 0) return false;
  if (isStored && toMs > fromMs) {
    await ensure(state, store.db, '1m', fromMs);
    state.making = { fromMs, toMs, nextId: 0, lastId, late: null, marked: new Set() };
    return true;
  }
  await store.db.transaction(() => noteUntil(store, '1m', toMs));
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
    await noteUntil(store, '1h', toMs);
  });
  state.until['1h'] = toMs;
  return toMs < targetMs;
}

/** The late minutes of the newest hour that has some; true when there were any. */
async function beginLate(store: RollupStore, state: RollupState): Promise<boolean> {
  if (state.lateCount === 0) return false;
  const rows = await store.db.query(readLate(lateMinutesRead));
  const all = rows.map(({ at_ms: atMs }) => atMs as number);
  state.lateCount = all.length;
  const [newest] = all;
  if (newest === undefined) return false;
  const hourAtMs = stepOf(newest, hourMs);
  const late = all.filter((atMs) => stepOf(atMs, hourMs) === hourAtMs);
  if (!store.days.list().includes(dayOf(newest))) {
    await store.db.execute(removeLate(late));
    return true;
  }
  await ensure(state, store.db, '1m', newest);
  await ensure(state, store.db, '1h', hourAtMs);
  const lastId = await lastSeriesOf(store, dayOf(newest));
  const span = { fromMs: newest, toMs: newest + minuteMs };
  state.making = { ...span, nextId: 0, lastId, late, marked: new Set() };
  return true;
}

/** One more piece of what is being made. */
async function goOn(store: RollupStore, state: RollupState, making: Making): Promise<void> {
  const { fromMs, toMs, late, marked } = making;
  // A day that retention has dropped meanwhile has nothing left to be made from.
  if (!store.days.list().includes(dayOf(fromMs))) {
    state.making = null;
    return;
  }
  const next = late?.[late.indexOf(fromMs) + 1];
  const isDone = await makePiece(store, making, async () => {
    if (late === null) return noteUntil(store, '1m', toMs);
    // Their marks stay until the hour is made from all of them.
    if (next !== undefined) return;
    const hourAtMs = stepOf(fromMs, hourMs);
    if (hourAtMs < state.until['1h']) await hour(store, state, hourAtMs);
    const made = late.filter((atMs) => !marked.has(atMs));
    if (made.length > 0) await store.db.execute(removeLate(made));
  });
  if (!isDone) return;
  if (late === null) state.until['1m'] = toMs;
  state.making =
    next === undefined ? null : { ...making, fromMs: next, toMs: next + minuteMs, nextId: 0 };
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
  const isMore =
    state.making !== null ||
    (await advanceMinutes(store, state, nowMs)) ||
    (await advanceHours(store, state)) ||
    (await beginLate(store, state));
  if (state.making) await goOn(store, state, state.making);
  return isMore;
}
