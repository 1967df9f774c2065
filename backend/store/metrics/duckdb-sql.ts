/**
 * The SQL of the embedded metrics store, generated from the catalogue. One set of tables per UTC
 * day, so that retention drops tables instead of deleting rows:
 *
 *   series_<day>     id -> cluster, node, guest (null for the node itself)
 *   node_raw_<day>   series, at_ms, incarnation, seq, one column per node metric
 *   guest_raw_<day>  series, at_ms, one column per guest metric
 *
 * A row names its series by a number: a scan for one guest among 40 000 compares integers, three
 * times faster than strings. Pure. Names from outside are parameters, metrics are checked against
 * the catalogue before they come here.
 */
import { type Entity, metricsOf } from '../../../broker/contract/metrics.ts';
import type { Aggregate } from '../ports.ts';

const dayMs = 86_400_000;

/** `20270115`, as it stands in table names. */
export type Day = string;

export const dayOf = (timeMs: number): Day =>
  new Date(timeMs).toISOString().slice(0, 10).replaceAll('-', '');

export const oldestDay = (nowMs: number, retentionDays: number): Day =>
  dayOf(nowMs - retentionDays * dayMs);

export const seriesTable = (day: Day): string => `series_${day}`;
export const rawTable = (entity: Entity, day: Day): string => `${entity}_raw_${day}`;

/** Fixed columns first; metrics are added one by one, so that a grown catalogue meets old days. */
export const createDay = (day: Day): string[] => [
  `CREATE TABLE IF NOT EXISTS ${seriesTable(day)} (id INTEGER NOT NULL, "cluster" VARCHAR NOT NULL,
     node VARCHAR NOT NULL, guest VARCHAR)`,
  `CREATE TABLE IF NOT EXISTS ${rawTable('node', day)} (series INTEGER NOT NULL,
     at_ms BIGINT NOT NULL, incarnation BIGINT NOT NULL, seq BIGINT NOT NULL)`,
  `CREATE TABLE IF NOT EXISTS ${rawTable('guest', day)} (series INTEGER NOT NULL,
     at_ms BIGINT NOT NULL)`,
];

export const addMetric = (table: string, name: string): string =>
  `ALTER TABLE ${table} ADD COLUMN "${name}" DOUBLE`;

/** In the order in which rows are appended. */
export const readColumns = (table: string): string =>
  `SELECT column_name AS name FROM duckdb_columns() WHERE table_name = '${table}'
   ORDER BY column_index`;

export const tablesOf = (day: Day): string[] => [
  seriesTable(day),
  rawTable('node', day),
  rawTable('guest', day),
];

export const dropTable = (table: string): string => `DROP TABLE IF EXISTS ${table}`;

export const listDays = `SELECT substr(table_name, 8) AS day FROM duckdb_tables()
  WHERE table_name LIKE 'series_%' ORDER BY day`;

export const readSeries = (day: Day): string =>
  `SELECT id, "cluster", node, guest FROM ${seriesTable(day)}`;

const entityFilter = (entity: Entity): string =>
  entity === 'node' ? 's.guest IS NULL' : 's.guest IS NOT NULL';

export type Scope = { entity: Entity; node: boolean; guest: boolean };

const scopeFilter = ({ entity, node, guest }: Scope): string =>
  [
    `s."cluster" = $cluster`,
    entityFilter(entity),
    ...(node ? ['s.node = $node'] : []),
    ...(guest ? ['s.guest = $guest'] : []),
  ].join(' AND ');

/** arg_max skips rows whose value is null, as Flux does, which has no field there at all. */
const functions = {
  mean: (column: string) => `avg(${column})`,
  min: (column: string) => `min(${column})`,
  max: (column: string) => `max(${column})`,
  last: (column: string) => `arg_max(${column}, at_ms)`,
} as const satisfies Record<Aggregate, (column: string) => string>;

export type RangeSql = {
  days: readonly Day[];
  scope: Scope;
  metrics: readonly string[];
  aggregate: Aggregate;
  rowsMax: number;
};

/** One row per node or guest and step: node, guest, step (start in ms), one column per metric. */
export function selectRange({ days, scope, metrics, aggregate, rowsMax }: RangeSql): string {
  const columns = metrics.map((name) => `r."${name}"`).join(', ');
  const rows = days.map(
    (day) => `SELECT s.node, s.guest, r.at_ms, ${columns}
      FROM ${rawTable(scope.entity, day)} r JOIN ${seriesTable(day)} s ON s.id = r.series
      WHERE ${scopeFilter(scope)} AND r.at_ms >= $fromMs AND r.at_ms < $toMs`,
  );
  const values = metrics
    .map((name) => `${functions[aggregate](`"${name}"`)} AS "${name}"`)
    .join(', ');
  return `SELECT node, guest, CAST(at_ms // $stepMs * $stepMs AS DOUBLE) AS step, ${values}
    FROM (${rows.join(' UNION ALL ')})
    GROUP BY node, guest, at_ms // $stepMs LIMIT ${rowsMax}`;
}

/** The newest row of one node or guest within one day. */
export const selectLatest = (day: Day, scope: Scope): string =>
  `SELECT CAST(r.at_ms AS DOUBLE) AS at_ms, ${metricsOf(scope.entity)
    .map(({ name }) => `r."${name}"`)
    .join(', ')}
   FROM ${rawTable(scope.entity, day)} r JOIN ${seriesTable(day)} s ON s.id = r.series
   WHERE ${scopeFilter(scope)} ORDER BY r.at_ms DESC LIMIT 1`;

const identities = (days: readonly Day[]): string =>
  days
    .map(
      (day) => `SELECT s."cluster", s.node, r.incarnation, r.seq, r.at_ms
        FROM ${rawTable('node', day)} r JOIN ${seriesTable(day)} s ON s.id = r.series`,
    )
    .join(' UNION ALL ');

/** Per (node, incarnation): what is stored, in one line each. Each identity is stored once. */
export const selectSpans = (days: readonly Day[]): string =>
  `SELECT "cluster", node, CAST(incarnation AS DOUBLE) AS incarnation,
     CAST(min(seq) AS DOUBLE) AS first, CAST(max(seq) AS DOUBLE) AS last,
     CAST(count(*) AS DOUBLE) AS stored, CAST(arg_min(at_ms, seq) AS DOUBLE) AS first_at_ms
   FROM (${identities(days)}) GROUP BY "cluster", node, incarnation`;

/** The ranges without holes of every (node, incarnation) that has a hole. */
export const selectRanges = (days: readonly Day[]): string =>
  `SELECT "cluster", node, CAST(incarnation AS DOUBLE) AS incarnation,
     CAST(min(seq) AS DOUBLE) AS first, CAST(max(seq) AS DOUBLE) AS last
   FROM (SELECT *, seq - row_number() OVER
       (PARTITION BY "cluster", node, incarnation ORDER BY seq) AS island
     FROM (${identities(days)}) AS i SEMI JOIN (
       SELECT "cluster", node, incarnation FROM (${identities(days)})
       GROUP BY "cluster", node, incarnation
       HAVING count(*) < max(seq) - min(seq) + 1) AS h USING ("cluster", node, incarnation))
   GROUP BY "cluster", node, incarnation, island`;

/** Numbers between the first and last stored of each incarnation that are not there. */
export const selectMissing = (days: readonly Day[]): string =>
  `SELECT CAST(coalesce(sum(stored), 0) AS DOUBLE) AS samples,
     CAST(coalesce(sum(span - stored), 0) AS DOUBLE) AS missing
   FROM (SELECT count(*) AS stored, max(seq) - min(seq) + 1 AS span
     FROM (${identities(days)}) WHERE at_ms >= $sinceMs
     GROUP BY "cluster", node, incarnation)`;
