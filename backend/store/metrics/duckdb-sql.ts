/**
 * The SQL of the embedded metrics store, generated from the catalogue. One set of tables per UTC
 * day, so that retention drops tables instead of deleting rows:
 *
 *   series_<day>      id -> cluster, node, guest (null for the node itself)
 *   node_raw_<day>    series, at_ms, incarnation, seq, one column per node metric
 *   guest_raw_<day>   series, at_ms, one column per guest metric
 *   <entity>_1m_<day>    series, at_ms, samples, mean "x" and maximum "x_max" of each metric
 *   <entity>_1h_<month>  as 1m, with cluster, node and guest instead of series
 *   rollup_until, late_minutes   up to where roll-ups are made, and which are to be made again
 *   events            what was decided and done
 *
 * A row names its series by a number: a scan for one guest among 40 000 compares integers, three
 * times faster than strings. Pure. Names from outside are parameters, metrics are checked against
 * the catalogue before they come here.
 */
import { type Entity, metricsOf } from '../../../broker/contract/metrics.ts';
import type { Aggregate } from '../ports.ts';
import { dayMs, type Source } from './sources.ts';

/** `20270115`, as it stands in table names. */
export type Day = string;

export const dayOf = (timeMs: number): Day =>
  new Date(timeMs).toISOString().slice(0, 10).replaceAll('-', '');

/** `202701`. */
export const monthOf = (timeMs: number): string => dayOf(timeMs).slice(0, 6);

export const oldestDay = (nowMs: number, retentionDays: number): Day =>
  dayOf(nowMs - retentionDays * dayMs);

export const entities: readonly Entity[] = ['node', 'guest'];
export const seriesTable = (day: Day): string => `series_${day}`;
/** `period` is a day, or a month for the resolution of an hour. */
export const tableOf = (entity: Entity, source: Source, period: string): string =>
  `${entity}_${source}_${period}`;
export const rawTable = (entity: Entity, day: Day): string => tableOf(entity, 'raw', day);

const metricColumns = (entity: Entity): string =>
  metricsOf(entity)
    .map(({ name }) => `"${name}" DOUBLE`)
    .join(', ');

/** Three statements, since each is a commit of its own, and a busy disk takes its time for each. */
export const createDay = (day: Day): string[] => [
  `CREATE TABLE IF NOT EXISTS ${seriesTable(day)} (id INTEGER NOT NULL, "cluster" VARCHAR NOT NULL,
     node VARCHAR NOT NULL, guest VARCHAR)`,
  `CREATE TABLE IF NOT EXISTS ${rawTable('node', day)} (series INTEGER NOT NULL,
     at_ms BIGINT NOT NULL, incarnation BIGINT NOT NULL, seq BIGINT NOT NULL,
     ${metricColumns('node')})`,
  `CREATE TABLE IF NOT EXISTS ${rawTable('guest', day)} (series INTEGER NOT NULL,
     at_ms BIGINT NOT NULL, ${metricColumns('guest')})`,
];

/** A catalogue that grew meets tables of days before. */
export const addMetric = (table: string, name: string, type = 'DOUBLE'): string =>
  `ALTER TABLE ${table} ADD COLUMN "${name}" ${type}`;

/** In the order in which rows are appended. */
export const readColumns = (table: string): string =>
  `SELECT column_name AS name FROM duckdb_columns() WHERE table_name = '${table}'
   ORDER BY column_index`;

export const rawTablesOf = (day: Day): string[] => entities.map((entity) => rawTable(entity, day));
export const tablesOf = (day: Day): string[] => [seriesTable(day), ...rawTablesOf(day)];

export const dropTable = (table: string): string => `DROP TABLE IF EXISTS ${table}`;

export const listTables = `SELECT table_name AS name FROM duckdb_tables() ORDER BY name`;

export const readSeries = (day: Day): string =>
  `SELECT id, "cluster", node, guest FROM ${seriesTable(day)}`;

/** What a query names: its names travel as parameters of these names. */
export type Scope = { entity: Entity; cluster: boolean; node: boolean; guest: boolean };

const scopeFilter = ({ cluster, node, guest }: Scope, alias: string): string =>
  [
    ...(cluster ? [`${alias}."cluster" = $cluster`] : []),
    ...(node ? [`${alias}.node = $node`] : []),
    ...(guest ? [`${alias}.guest = $guest`] : []),
    'r.at_ms >= $fromMs AND r.at_ms < $toMs',
  ].join(' AND ');

export type Selection = {
  source: Source;
  /** Days, or months. */
  periods: readonly string[];
  scope: Scope;
  metrics: readonly string[];
  aggregate: Aggregate;
};

/** Rows of all periods: names if wanted, at_ms, weight and one column per metric. */
function selectRows(selection: Selection, withNames: boolean): string {
  const { source, periods, scope, metrics, aggregate } = selection;
  const suffix = source !== 'raw' && aggregate === 'max' ? '_max' : '';
  const values = metrics.map((name) => `CAST(r."${name}${suffix}" AS DOUBLE) AS "${name}"`);
  const weight = source === 'raw' ? '1' : 'r.samples';
  const hasOwnNames = source === '1h';
  const alias = hasOwnNames ? 'r' : 's';
  const guest = scope.entity === 'guest' ? `${alias}.guest` : 'NULL AS guest';
  const names = withNames ? [`${alias}."cluster"`, `${alias}.node`, guest] : [];
  const columns = [...names, 'r.at_ms', `${weight} AS weight`, ...values].join(', ');
  const needsSeries = !hasOwnNames && (withNames || scope.cluster || scope.node || scope.guest);
  return periods
    .map((period) => {
      const join = needsSeries ? `JOIN ${seriesTable(period)} s ON s.id = r.series` : '';
      return `SELECT ${columns} FROM ${tableOf(scope.entity, source, period)} r ${join}
        WHERE ${scopeFilter(scope, alias)}`;
    })
    .join(' UNION ALL ');
}

type Expression = (column: string) => string;

/**
 * arg_max skips rows whose value is null, as Flux does, which has no field there at all. A mean of
 * means is weighted by the samples behind each. The quantile interpolates, as Flux's exact_mean.
 */
const functions = {
  mean: (column) =>
    `sum(${column} * weight) / sum(CASE WHEN ${column} IS NULL THEN NULL ELSE weight END)`,
  min: (column) => `min(${column})`,
  max: (column) => `max(${column})`,
  last: (column) => `arg_max(${column}, at_ms)`,
  p95: (column) => `quantile_cont(${column}, 0.95)`,
} as const satisfies Record<Aggregate, Expression>;

const valuesOf = ({ source, metrics, aggregate }: Selection): string => {
  const of: Expression =
    aggregate === 'mean' && source === 'raw' ? (column) => `avg(${column})` : functions[aggregate];
  return metrics.map((name) => `${of(`"${name}"`)} AS "${name}"`).join(', ');
};

const step = 'CAST(at_ms // $stepMs * $stepMs AS DOUBLE) AS step';

/** One row per node or guest and step: node, guest, step (start in ms), one column per metric. */
export const selectRange = (selection: Selection, rowsMax: number): string =>
  `SELECT node, guest, ${step}, ${valuesOf(selection)}
    FROM (${selectRows(selection, true)})
    GROUP BY node, guest, at_ms // $stepMs LIMIT ${rowsMax}`;

/** One row per step, over every series: step, one column per metric. */
export const selectTotal = (selection: Selection): string =>
  `SELECT ${step}, ${valuesOf(selection)} FROM (${selectRows(selection, false)})
    GROUP BY at_ms // $stepMs`;

/** The `limit` series with the highest value of the one metric. */
export function selectTop(selection: Selection, limit: number): string {
  const [name = ''] = selection.metrics;
  return `SELECT * FROM (SELECT "cluster", node, guest, ${valuesOf(selection)}
      FROM (${selectRows(selection, true)}) GROUP BY "cluster", node, guest)
    WHERE "${name}" IS NOT NULL
    ORDER BY "${name}" DESC, "cluster", node, guest LIMIT ${limit}`;
}

const entityFilter = (entity: Entity): string =>
  entity === 'node' ? 's.guest IS NULL' : 's.guest IS NOT NULL';

/** The newest row of one node or guest within one day. */
export const selectLatest = (day: Day, { entity, node, guest }: Scope): string =>
  `SELECT CAST(r.at_ms AS DOUBLE) AS at_ms, ${metricsOf(entity)
    .map(({ name }) => `r."${name}"`)
    .join(', ')}
   FROM ${rawTable(entity, day)} r JOIN ${seriesTable(day)} s ON s.id = r.series
   WHERE ${[
     's."cluster" = $cluster',
     entityFilter(entity),
     ...(node ? ['s.node = $node'] : []),
     ...(guest ? ['s.guest = $guest'] : []),
   ].join(' AND ')} ORDER BY r.at_ms DESC LIMIT 1`;

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
       AND starts_with("cluster", $clusterPrefix)
     GROUP BY "cluster", node, incarnation)`;
