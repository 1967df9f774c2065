/**
 * Samples and events as rows of the embedded store's tables. A guest beyond the number of series a
 * day tells apart is left out and counted; its node never is.
 */
import { type Entity, metricsOf } from '../../../broker/contract/metrics.ts';
import type { MetricsEvent, StoredSample } from '../ports.ts';
import { guestOffset } from '../stored-sample.ts';
import { type OpenDay, seriesPerDayMax } from './duckdb-days.ts';
import type { Column, DuckDb } from './duckdb-driver.ts';
import { rawTable, seriesTable } from './duckdb-sql.ts';
import { addSeries, emptySeries, findSeries, type SeriesName } from './series-numbers.ts';

/**
 * Side by side, not as an object each: a second of a full fleet has 43,000 rows. Of each row its
 * series, the sample it is of, and where its values begin there.
 */
type Rows = { count: number; series: Int32Array; samples: Int32Array; offsets: Int32Array };
type NewSeries = SeriesName & { id: number };
export type DayRows = {
  samples: readonly StoredSample[];
  nodes: Rows;
  guests: Rows;
  series: NewSeries[];
  refusedGuests: number;
};

const roomFor = (countMax: number): Rows => ({
  count: 0,
  series: new Int32Array(countMax),
  samples: new Int32Array(countMax),
  offsets: new Int32Array(countMax),
});

function addRow(rows: Rows, series: number, sample: number, offset: number): void {
  rows.series[rows.count] = series;
  rows.samples[rows.count] = sample;
  rows.offsets[rows.count] = offset;
  rows.count += 1;
}

/** Rows of one day with the numbers their series have or will have. */
export function rowsOf(day: OpenDay, samples: readonly StoredSample[]): DayRows {
  const guestsMax = samples.reduce((sum, { guests }) => sum + guests.length, 0);
  const [nodes, ofGuests] = [roomFor(samples.length), roomFor(guestsMax)];
  const rows: DayRows = { samples, nodes, guests: ofGuests, series: [], refusedGuests: 0 };
  const added = emptySeries();
  const idOf = (cluster: string, node: string, guest: string | null): number | undefined => {
    const known =
      findSeries(day.ids, cluster, node, guest) ?? findSeries(added, cluster, node, guest);
    if (known !== undefined) return known;
    if (guest !== null && day.ids.count + added.count >= seriesPerDayMax) return undefined;
    const series = { cluster, node, guest, id: day.nextId + added.count };
    addSeries(added, series);
    rows.series.push(series);
    return series.id;
  };
  for (let at = 0; at < samples.length; at += 1) {
    const { cluster, node, guests } = samples[at] as StoredSample;
    addRow(nodes, idOf(cluster, node, null) as number, at, 0);
    for (let index = 0; index < guests.length; index += 1) {
      const series = idOf(cluster, node, guests[index] as string);
      if (series === undefined) rows.refusedGuests += 1;
      else addRow(ofGuests, series, at, guestOffset(index));
    }
  }
  return rows;
}

/** As their two halves, the lower first: a BigInt for each would be an object for each. */
function int64s(count: number, of: (row: number) => number): BigInt64Array {
  const values = new BigInt64Array(count);
  const halves = new Uint32Array(values.buffer);
  for (let row = 0; row < count; row += 1) {
    const value = of(row);
    if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is no whole number`);
    halves[2 * row] = value;
    halves[2 * row + 1] = Math.floor(value / 2 ** 32);
  }
  return values;
}

const sampleAt = ({ samples }: DayRows, rows: Rows, row: number): StoredSample =>
  samples[rows.samples[row] as number] as StoredSample;

const fixedColumns = (all: DayRows, rows: Rows): Column[] => [
  { name: 'series', values: rows.series.subarray(0, rows.count) },
  { name: 'at_ms', values: int64s(rows.count, (row) => sampleAt(all, rows, row).sampledAtMs) },
];

const identityColumns = ({ samples }: DayRows): Column[] => {
  const of = (get: (sample: StoredSample) => number) =>
    int64s(samples.length, (row) => get(samples[row] as StoredSample));
  return [
    { name: 'incarnation', values: of(({ incarnation }) => incarnation) },
    { name: 'seq', values: of(({ seq }) => seq) },
  ];
};

const seriesColumns = (rows: readonly NewSeries[]): Column[] => [
  { name: 'id', values: Int32Array.from(rows, ({ id }) => id) },
  { name: 'cluster', values: rows.map(({ cluster }) => cluster) },
  { name: 'node', values: rows.map(({ node }) => node) },
  { name: 'guest', values: rows.map(({ guest }) => guest) },
];

/** A function of its own, which is compiled early: before that each number is an object. */
function copyRow(columns: Float64Array[], row: number, values: Float64Array, at: Int32Array): void {
  for (let index = 0; index < at.length; index += 1) {
    // A column the catalogue no longer has stays in old tables, and is null.
    (columns[index] as Float64Array)[row] = values[at[index] as number] ?? NaN;
  }
}

/** Row by row, since the values of a row lie side by side in memory and those of a column do not. */
function metricColumns(
  names: readonly string[],
  entity: Entity,
  { samples }: DayRows,
  rows: Rows,
): Column[] {
  const known = metricsOf(entity).map(({ name }) => name);
  const places = Int32Array.from(names, (name) => known.indexOf(name));
  const columns = names.map(() => new Float64Array(rows.count));
  const at = new Int32Array(places.length);
  for (let row = 0; row < rows.count; row += 1) {
    const { values } = samples[rows.samples[row] as number] as StoredSample;
    const offset = rows.offsets[row] as number;
    for (let index = 0; index < at.length; index += 1) {
      const place = places[index] as number;
      at[index] = place < 0 ? -1 : offset + place;
    }
    copyRow(columns, row, values, at);
  }
  return names.map((name, index) => ({ name, values: columns[index] as Float64Array }));
}

/** The columns as the table orders them, which an older catalogue may have made. */
function columnsOf(day: OpenDay, entity: Entity, all: DayRows): Column[] {
  const rows = entity === 'node' ? all.nodes : all.guests;
  const names = day.columns[entity];
  const identity = entity === 'node' ? identityColumns(all) : [];
  const fixed = [...fixedColumns(all, rows), ...identity];
  const byName = new Map(fixed.map((column) => [column.name, column]));
  const others = names.filter((name) => !byName.has(name));
  for (const column of metricColumns(others, entity, all, rows)) byName.set(column.name, column);
  return names.map((name) => byName.get(name) as Column);
}

export async function appendDay(db: DuckDb, day: OpenDay, rows: DayRows): Promise<void> {
  const { nodes, guests, series } = rows;
  if (series.length > 0) {
    await db.append(seriesTable(day.day), seriesColumns(series), series.length);
  }
  await db.append(rawTable('node', day.day), columnsOf(day, 'node', rows), nodes.count);
  if (guests.count > 0) {
    await db.append(rawTable('guest', day.day), columnsOf(day, 'guest', rows), guests.count);
  }
}

export const eventColumns = (list: readonly MetricsEvent[]): Column[] => [
  { name: 'at_ms', values: BigInt64Array.from(list, ({ atMs }) => BigInt(atMs)) },
  ...(['cluster', 'kind', 'outcome', 'node', 'guest', 'text', 'id'] as const).map(
    (name): Column => ({ name, values: list.map((event) => event[name]) }),
  ),
];
