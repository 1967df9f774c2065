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

/** Side by side, not as an object each: a second of a full fleet has 43,000 rows. */
type Rows = { series: number[]; atMs: number[]; values: Float64Array[]; offsets: number[] };
type NodeRows = Rows & { incarnations: number[]; seqs: number[] };
type NewSeries = SeriesName & { id: number };
export type DayRows = {
  nodes: NodeRows;
  guests: Rows;
  series: NewSeries[];
  refusedGuests: number;
};

const emptyRows = (): Rows => ({ series: [], atMs: [], values: [], offsets: [] });

type At = { atMs: number; offset: number };

function pushRow(rows: Rows, series: number, values: Float64Array, { atMs, offset }: At): void {
  rows.series.push(series);
  rows.atMs.push(atMs);
  rows.values.push(values);
  rows.offsets.push(offset);
}

/** Rows of one day with the numbers their series have or will have. */
export function rowsOf(day: OpenDay, samples: readonly StoredSample[]): DayRows {
  const nodes: NodeRows = { ...emptyRows(), incarnations: [], seqs: [] };
  const rows: DayRows = { nodes, guests: emptyRows(), series: [], refusedGuests: 0 };
  const added = emptySeries();
  const idOf = (cluster: string, node: string, guest: string | null): number | undefined => {
    const known = findSeries(day.ids, cluster, node, guest);
    const id = known ?? findSeries(added, cluster, node, guest);
    if (id !== undefined) return id;
    if (guest !== null && day.ids.count + added.count >= seriesPerDayMax) return undefined;
    const series = { cluster, node, guest, id: day.nextId + added.count };
    addSeries(added, series);
    rows.series.push(series);
    return series.id;
  };
  for (const { cluster, node, incarnation, seq, sampledAtMs: atMs, values, guests } of samples) {
    pushRow(nodes, idOf(cluster, node, null) as number, values, { atMs, offset: 0 });
    nodes.incarnations.push(incarnation);
    nodes.seqs.push(seq);
    for (let index = 0; index < guests.length; index += 1) {
      const series = idOf(cluster, node, guests[index] as string);
      if (series === undefined) rows.refusedGuests += 1;
      else pushRow(rows.guests, series, values, { atMs, offset: guestOffset(index) });
    }
  }
  return rows;
}

function bigInts(numbers: readonly number[]): BigInt64Array {
  const values = new BigInt64Array(numbers.length);
  for (let row = 0; row < values.length; row += 1) values[row] = BigInt(numbers[row] as number);
  return values;
}

const fixedColumns = ({ series, atMs }: Rows): Column[] => [
  { name: 'series', values: new Int32Array(series) },
  { name: 'at_ms', values: bigInts(atMs) },
];

const identityColumns = ({ incarnations, seqs }: NodeRows): Column[] => [
  { name: 'incarnation', values: bigInts(incarnations) },
  { name: 'seq', values: bigInts(seqs) },
];

const seriesColumns = (rows: readonly NewSeries[]): Column[] => [
  { name: 'id', values: Int32Array.from(rows, ({ id }) => id) },
  { name: 'cluster', values: rows.map(({ cluster }) => cluster) },
  { name: 'node', values: rows.map(({ node }) => node) },
  { name: 'guest', values: rows.map(({ guest }) => guest) },
];

/** Row by row, since the values of a row lie side by side in memory and those of a column do not. */
function metricColumns(names: readonly string[], entity: Entity, rows: Rows): Column[] {
  const known = metricsOf(entity).map(({ name }) => name);
  const places = Int32Array.from(names, (name) => known.indexOf(name));
  const columns = names.map(() => new Float64Array(rows.values.length));
  rows.values.forEach((values, row) => {
    const offset = rows.offsets[row] as number;
    for (let index = 0; index < places.length; index += 1) {
      const place = places[index] as number;
      // A column the catalogue no longer has stays in old tables, and is null.
      const value = place < 0 ? NaN : (values[offset + place] as number);
      (columns[index] as Float64Array)[row] = value;
    }
  });
  return names.map((name, index) => ({ name, values: columns[index] as Float64Array }));
}

/** The columns as the table orders them, which an older catalogue may have made. */
function inOrder(day: OpenDay, entity: Entity, fixed: Column[], rows: Rows): Column[] {
  const names = day.columns[entity];
  const byName = new Map(fixed.map((column) => [column.name, column]));
  const others = names.filter((name) => !byName.has(name));
  for (const column of metricColumns(others, entity, rows)) byName.set(column.name, column);
  return names.map((name) => byName.get(name) as Column);
}

export async function appendDay(db: DuckDb, day: OpenDay, rows: DayRows): Promise<void> {
  const { nodes, guests, series } = rows;
  if (series.length > 0) {
    await db.append(seriesTable(day.day), seriesColumns(series), series.length);
  }
  const nodeColumns = [...fixedColumns(nodes), ...identityColumns(nodes)];
  const columns = inOrder(day, 'node', nodeColumns, nodes);
  await db.append(rawTable('node', day.day), columns, nodes.series.length);
  if (guests.series.length > 0) {
    const guestColumns = inOrder(day, 'guest', fixedColumns(guests), guests);
    await db.append(rawTable('guest', day.day), guestColumns, guests.series.length);
  }
}

export const eventColumns = (list: readonly MetricsEvent[]): Column[] => [
  { name: 'at_ms', values: BigInt64Array.from(list, ({ atMs }) => BigInt(atMs)) },
  ...(['cluster', 'kind', 'outcome', 'node', 'guest', 'text', 'id'] as const).map(
    (name): Column => ({ name, values: list.map((event) => event[name]) }),
  ),
];
