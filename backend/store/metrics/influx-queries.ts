/**
 * The questions put to InfluxDB, as rows of annotated CSV made into answers. What the server did
 * not answer is an error of the store, never an empty series.
 */
import { type Entity, metricsOf } from '../../../broker/contract/metrics.ts';
import type { EventQuery, MetricsEvent, RangeQuery, TopQuery, TotalQuery } from '../ports.ts';
import { MetricsQueryError } from './errors.ts';
import {
  eventsFlux,
  latestFlux,
  maxSuffix,
  rangeFlux,
  spansFlux,
  topFlux,
  totalFlux,
} from './flux.ts';
import { type Cell, checkRange, checkTop, seriesOf, type TotalCell, totalsOf } from './grid.ts';
import type { InfluxClient, ParameterizedQuery } from './influx-client.ts';
import { type Horizons, type Part, partsOf } from './sources.ts';

type Row = Record<string, unknown>;
export type Source = { client: InfluxClient; bucket: string; horizons: () => Horizons };
export type Subject = { cluster: string; entity: Entity; node?: string; guest?: string };

const messageOf = (error: unknown): string =>
  error instanceof Error ? `${error.name}: ${error.message}`.slice(0, 512) : String(error);

/** @throws MetricsQueryError of the field `store`. */
export async function ask(client: InfluxClient, query: ParameterizedQuery): Promise<Row[]> {
  try {
    return await client.query(query);
  } catch (cause) {
    const hint = `InfluxDB did not answer (${messageOf(cause)}); check KR_INFLUX_URL and its log`;
    throw new MetricsQueryError('store', hint, cause);
  }
}

const timeOf = (row: Row): number => Date.parse(String(row['_time']));
const metricOf = (row: Row): string => String(row['_field']).replace(maxSuffix, '');
/** Null for the empty string, as which an event's line keeps what is missing. */
const nameOf = (row: Row, column: string): string | null => {
  const value = row[column];
  return typeof value === 'string' && value !== '' ? value : null;
};

async function perPart(
  { client, horizons }: Source,
  query: { fromMs: number; toMs: number; stepMs: number },
  fluxOf: (part: Part) => ParameterizedQuery,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const part of partsOf(query, horizons())) rows.push(...(await ask(client, fluxOf(part))));
  return rows;
}

export async function range(source: Source, query: RangeQuery) {
  checkRange(query);
  const rows = await perPart(source, query, (part) => rangeFlux(source.bucket, query, part));
  const cells = rows.map((row): Cell => ({
    node: String(row['node']),
    guest: query.entity === 'guest' ? String(row['guest']) : null,
    metric: metricOf(row),
    timeMs: timeOf(row),
    value: row['_value'] as number | null,
  }));
  return seriesOf(query, cells);
}

export async function total(source: Source, query: TotalQuery) {
  checkRange(query);
  const rows = await perPart(source, query, (part) => totalFlux(source.bucket, query, part));
  const cells = rows.map((row): TotalCell => ({
    metric: metricOf(row),
    timeMs: timeOf(row),
    value: row['_value'] as number | null,
  }));
  return totalsOf(query, cells);
}

/** From one source: the newest minutes matter little for the order of a day. */
export async function top({ client, bucket, horizons }: Source, query: TopQuery) {
  checkTop(query);
  const { fromMs, toMs } = query;
  const stepMs = toMs - fromMs;
  const [part] = partsOf({ fromMs, toMs, stepMs: stepMs - (stepMs % 60_000) || 1 }, horizons());
  const rows = await ask(client, topFlux(bucket, query, part ?? { source: 'raw', fromMs, toMs }));
  return rows.map((row) => ({
    cluster: String(row['cluster']),
    node: String(row['node']),
    ...(query.entity === 'guest' ? { guest: String(row['guest']) } : {}),
    value: Number(row['_value']),
  }));
}

export async function latest({ client, bucket }: Source, subject: Subject, sinceMs: number) {
  if (subject[subject.entity] === undefined) {
    throw new MetricsQueryError(subject.entity, `name the ${subject.entity}`);
  }
  const rows = await ask(client, latestFlux(bucket, subject, sinceMs));
  if (rows.length === 0) return null;
  const atMs = Math.max(...rows.map(timeOf));
  const newest = new Map(
    rows.filter((row) => timeOf(row) === atMs).map((row) => [row['_field'], row['_value']]),
  );
  const values = metricsOf(subject.entity).map(({ name }): [string, number | null] => [
    name,
    (newest.get(name) as number | undefined) ?? null,
  ]);
  return { atMs, values: Object.fromEntries(values) };
}

export async function missing({ client, bucket }: Source, sinceMs: number, clusterPrefix = '') {
  const rows = await ask(client, spansFlux(bucket, sinceMs));
  let samples = 0;
  let absent = 0;
  for (const row of rows) {
    if (!String(row['cluster']).startsWith(clusterPrefix)) continue;
    const [stored, first, last] = [row['stored'], row['first'], row['last']].map(Number);
    samples += stored ?? 0;
    absent += (last ?? 0) - (first ?? 0) + 1 - (stored ?? 0);
  }
  return { samples, missing: absent };
}

export async function events({ client, bucket }: Source, query: EventQuery) {
  const rows = await ask(client, eventsFlux(bucket, query));
  return rows.map((row): MetricsEvent => ({
    atMs: timeOf(row),
    cluster: nameOf(row, 'cluster') ?? '',
    kind: nameOf(row, 'kind') ?? '',
    outcome: nameOf(row, 'outcome') ?? '',
    node: nameOf(row, 'node'),
    guest: nameOf(row, 'guest'),
    text: nameOf(row, 'text') ?? '',
    id: nameOf(row, 'id'),
  }));
}
