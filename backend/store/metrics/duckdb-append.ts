/**
 * Samples and events as rows of the embedded store's tables. A guest beyond the number of series a
 * day tells apart is left out and counted; its node never is.
 */
import type { MetricsEvent, StoredSample } from '../ports.ts';
import { type OpenDay, seriesKey, seriesPerDayMax } from './duckdb-days.ts';
import type { Column, DuckDb } from './duckdb-driver.ts';
import { rawTable, seriesTable } from './duckdb-sql.ts';

type Values = Readonly<Record<string, unknown>>;
type GuestRow = { series: number; atMs: number; values: Values };
type NodeRow = GuestRow & { incarnation: number; seq: number };
type NewSeries = { id: number; cluster: string; node: string; guest: string | null };
export type DayRows = {
  nodes: NodeRow[];
  guests: GuestRow[];
  series: NewSeries[];
  refusedGuests: number;
};

/** Rows of one day with the numbers their series have or will have. */
export function rowsOf(day: OpenDay, samples: readonly StoredSample[]): DayRows {
  const rows: DayRows = { nodes: [], guests: [], series: [], refusedGuests: 0 };
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
      if (guestSeries === undefined) rows.refusedGuests += 1;
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

export async function appendDay(db: DuckDb, day: OpenDay, rows: DayRows): Promise<void> {
  const { nodes, guests, series } = rows;
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

export const eventColumns = (list: readonly MetricsEvent[]): Column[] => [
  { name: 'at_ms', type: 'BIGINT', valueAt: (row) => BigInt(list[row]!.atMs) },
  ...(['cluster', 'kind', 'outcome', 'node', 'guest', 'text', 'id'] as const).map(
    (name): Column => ({ name, type: 'VARCHAR', valueAt: (row) => list[row]![name] }),
  ),
];
