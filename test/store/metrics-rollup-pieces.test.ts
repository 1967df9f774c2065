import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDays } from '../../backend/store/metrics/duckdb-days.ts';
import { openDuckDb } from '../../backend/store/metrics/duckdb-driver.ts';
import { markLate, openRollups, rollUp } from '../../backend/store/metrics/duckdb-rollups.ts';
import { dayOf, rawTable, seriesTable, tableOf } from '../../backend/store/metrics/duckdb-sql.ts';
import { startMs } from './metrics-samples.ts';

const minuteMs = 60_000;
const midnightMs = Math.ceil(startMs / 86_400_000) * 86_400_000;
const day = dayOf(midnightMs);
const raw = rawTable('node', day);
/** More than are made at once. */
const series = 20_000;

let folder: string;
let close: () => Promise<void> = async () => undefined;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'kr-pieces-'))));
afterEach(async () => {
  await close();
  await rm(folder, { recursive: true, force: true });
});

/** A file in which every series has one sample, of 0.25, in each of the first two minutes. */
async function fleet() {
  const db = await openDuckDb({ file: join(folder, 'metrics.duckdb'), memoryLimitMb: 64 });
  close = () => db.close();
  const days = await openDays(db);
  await days.open(day);
  await db.execute(`INSERT INTO ${seriesTable(day)}
    SELECT i, 'home', 'n' || i, NULL FROM range(1, ${series + 1}) t(i)`);
  await db.execute(`INSERT INTO ${raw} (series, at_ms, incarnation, seq, "cpuRatio")
    SELECT i, ${midnightMs} + m * ${minuteMs}, 1, m + 1, 0.25
    FROM range(1, ${series + 1}) t(i), range(0, 2) u(m)`);
  const state = await openRollups(db);
  const store = { db, days };
  /** As a batch does it: the sample and the mark of its minute in one transaction. */
  const late = async (id: number, seq: number): Promise<void> => {
    const atMs = midnightMs + seq * 1_000;
    const mark = markLate(state, [atMs]);
    await db.transaction(async () => {
      await db.execute(`INSERT INTO ${raw} (series, at_ms, incarnation, seq, "cpuRatio")
        VALUES (${id}, ${atMs}, 1, ${seq}, 1)`);
      if (mark !== undefined) await db.execute(mark);
    });
  };
  const piece = (): Promise<boolean> => rollUp(store, state, midnightMs + 210_000);
  const rest = async (): Promise<void> => {
    while (await piece());
  };
  const made = () =>
    db.query(`SELECT CAST(count(*) AS INTEGER) AS rows, CAST(sum(samples) AS INTEGER) AS samples,
      CAST(count(DISTINCT series) AS INTEGER) AS series FROM ${tableOf('node', '1m', day)}`);
  return { state, late, piece, rest, made };
}

const whole = (samples: number) => [{ rows: 2 * series, samples: 2 * series + samples, series }];

describe('minutes that are made piece by piece', () => {
  it('come to every series once, and are not told as made before the last piece', async () => {
    const { state, piece, rest, made } = await fleet();
    expect(await piece()).toBe(true);
    expect(state.until['1m']).toBe(0);
    expect((await made())[0]?.['rows']).toBeLessThan(series);
    await rest();
    expect(state.until['1m']).toBe(midnightMs + 2 * minuteMs);
    expect(await made()).toEqual(whole(0));
  });

  it('hold a sample that came after the piece of its series', async () => {
    const { late, piece, rest, made } = await fleet();
    await piece();
    await late(1, 40);
    await rest();
    expect(await made()).toEqual(whole(1));
  });

  it('hold one that came while they were made once more', async () => {
    const { state, late, piece, rest, made } = await fleet();
    await rest();
    await late(series, 40);
    await piece();
    expect(state.making?.late).not.toBeNull();
    await late(1, 41);
    await rest();
    expect(await made()).toEqual(whole(2));
    expect(state.lateCount).toBe(0);
  });

  it('are made whole after an end between two pieces', async () => {
    const { piece, made, state, rest } = await fleet();
    await piece();
    // What a new process begins with.
    Object.assign(state, { making: null });
    await rest();
    expect(await made()).toEqual(whole(0));
  });
});
