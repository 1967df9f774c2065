/**
 * The SQL that makes roll-ups, forgets them, and keeps events. Values are FLOAT: seven digits of a
 * mean are enough, and half the disk. Pure; every name here comes from the catalogue or a clock.
 */
import { type Entity, metricsOf } from '../../../broker/contract/metrics.ts';
import {
  addMetric,
  type Day,
  dayOf,
  entities,
  monthOf,
  rawTable,
  seriesTable,
  tableOf,
} from './duckdb-sql.ts';
import { hourMs, minuteMs, type Resolution } from './sources.ts';

export const createState = [
  `CREATE TABLE IF NOT EXISTS rollup_until (resolution VARCHAR NOT NULL, until_ms BIGINT NOT NULL)`,
  `CREATE TABLE IF NOT EXISTS late_minutes (at_ms BIGINT NOT NULL)`,
  `CREATE TABLE IF NOT EXISTS events (at_ms BIGINT NOT NULL, "cluster" VARCHAR NOT NULL,
     kind VARCHAR NOT NULL, outcome VARCHAR NOT NULL, node VARCHAR, guest VARCHAR,
     text VARCHAR NOT NULL, id VARCHAR)`,
];

/** The highest number of a series of the day; they count from 1 without gaps. */
export const lastSeries = (day: Day): string =>
  `SELECT CAST(coalesce(max(id), 0) AS DOUBLE) AS id FROM ${seriesTable(day)}`;

export const readUntil = `SELECT resolution, CAST(until_ms AS DOUBLE) AS until_ms FROM rollup_until`;

export const setUntil = (resolution: Resolution, untilMs: number): string[] => [
  `DELETE FROM rollup_until WHERE resolution = '${resolution}'`,
  `INSERT INTO rollup_until VALUES ('${resolution}', ${untilMs})`,
];

export const addLate = (minutes: readonly number[]): string =>
  `INSERT INTO late_minutes VALUES ${minutes.map((at) => `(${at})`).join(', ')}`;

/** The newest first: a replay's end is what somebody looks at. */
export const readLate = (limit: number): string =>
  `SELECT DISTINCT CAST(at_ms AS DOUBLE) AS at_ms FROM late_minutes ORDER BY 1 DESC LIMIT ${limit}`;

export const removeLate = (minutes: readonly number[]): string =>
  `DELETE FROM late_minutes WHERE at_ms IN (${minutes.join(', ')})`;

const periodOf: Record<Resolution, (timeMs: number) => string> = { '1m': dayOf, '1h': monthOf };

const pairOf = (name: string): string[] => [name, `${name}_max`];

export const createRollup = (resolution: Resolution, timeMs: number): string[] =>
  entities.map((entity) => {
    const guest = entity === 'guest' ? ['guest VARCHAR NOT NULL'] : [];
    const names =
      resolution === '1m'
        ? ['series INTEGER NOT NULL']
        : ['"cluster" VARCHAR NOT NULL', 'node VARCHAR NOT NULL', ...guest];
    const values = metricsOf(entity).flatMap(({ name }) => pairOf(name));
    const columns = [
      ...names,
      'at_ms BIGINT NOT NULL',
      'samples INTEGER NOT NULL',
      ...values.map((name) => `"${name}" FLOAT`),
    ];
    const table = tableOf(entity, resolution, periodOf[resolution](timeMs));
    return `CREATE TABLE IF NOT EXISTS ${table} (${columns.join(', ')})`;
  });

/** What an older catalogue left out of a roll-up's table. */
export const addRollupMetrics = (
  entity: Entity,
  table: string,
  present: ReadonlySet<string>,
): string[] =>
  metricsOf(entity)
    .flatMap(({ name }) => pairOf(name))
    .filter((name) => !present.has(name))
    .map((name) => addMetric(table, name, 'FLOAT'));

const between = (fromMs: number, toMs: number): string => `at_ms >= ${fromMs} AND at_ms < ${toMs}`;

/** Some of a day's series over some of its minutes; what comes after `firstId` where no end is told. */
export type Piece = { fromMs: number; toMs: number; firstId: number; endId: number | null };

const within = ({ fromMs, toMs, firstId, endId }: Piece): string =>
  `${between(fromMs, toMs)} AND series >= ${firstId}` +
  (endId === null ? '' : ` AND series < ${endId}`);

/** Within one day. Columns are named, since a table may have grown. */
export function makeMinutes(entity: Entity, piece: Piece): string {
  const day: Day = dayOf(piece.fromMs);
  const names = metricsOf(entity).map(({ name }) => name);
  const columns = names.flatMap(pairOf).map((name) => `"${name}"`);
  const values = names.flatMap((name) => [`avg("${name}")`, `max("${name}")`]);
  return `INSERT INTO ${tableOf(entity, '1m', day)} (series, at_ms, samples, ${columns.join(', ')})
    SELECT series, at_ms // ${minuteMs} * ${minuteMs}, count(*), ${values.join(', ')}
    FROM ${rawTable(entity, day)} WHERE ${within(piece)}
    GROUP BY series, at_ms // ${minuteMs}`;
}

/** One hour, from its minutes. */
export function makeHour(entity: Entity, hour: number): string {
  const day: Day = dayOf(hour);
  const metrics = metricsOf(entity).map(({ name }) => name);
  const columns = metrics.flatMap(pairOf).map((name) => `"${name}"`);
  const values = metrics.flatMap((name) => [
    `sum("${name}" * samples) / sum(CASE WHEN "${name}" IS NULL THEN NULL ELSE samples END)`,
    `max("${name}_max")`,
  ]);
  const names = ['"cluster"', 'node', ...(entity === 'guest' ? ['guest'] : [])];
  const ofSeries = names.map((name) => `s.${name}`);
  return `INSERT INTO ${tableOf(entity, '1h', monthOf(hour))}
      (${names.join(', ')}, at_ms, samples, ${columns.join(', ')})
    SELECT ${ofSeries.join(', ')}, ${hour}, sum(samples), ${values.join(', ')}
    FROM ${tableOf(entity, '1m', day)} r JOIN ${seriesTable(day)} s ON s.id = r.series
    WHERE ${between(hour, hour + hourMs)} GROUP BY ${ofSeries.join(', ')}`;
}

export const forgetMinutes = (entity: Entity, piece: Piece): string =>
  `DELETE FROM ${tableOf(entity, '1m', dayOf(piece.fromMs))} WHERE ${within(piece)}`;

export const forgetHour = (entity: Entity, hour: number): string =>
  `DELETE FROM ${tableOf(entity, '1h', monthOf(hour))} WHERE ${between(hour, hour + hourMs)}`;

export const forgetEvents = (beforeMs: number): string =>
  `DELETE FROM events WHERE at_ms < ${beforeMs}`;

export const selectEvents = (hasCluster: boolean, limit: number): string =>
  `SELECT CAST(at_ms AS DOUBLE) AS "atMs", "cluster", kind, outcome, node, guest, text, id
   FROM events WHERE at_ms >= $fromMs AND at_ms < $toMs
     ${hasCluster ? 'AND "cluster" = $cluster' : ''}
   ORDER BY at_ms DESC LIMIT ${limit}`;

/** Blocks in use; a file does not shrink, but uses them again. */
export const readUsedBytes = `SELECT CAST(used_blocks * block_size AS DOUBLE) AS bytes
  FROM pragma_database_size()`;
