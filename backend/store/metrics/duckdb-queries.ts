/**
 * The questions put to the embedded metrics store. They run on the reading connection and see
 * whole batches only. Names from outside travel as parameters.
 */
import type { Entity } from '../../../broker/contract/metrics.ts';
import type {
  Aggregate,
  EventQuery,
  MetricsEvent,
  RangeQuery,
  Ranked,
  TopQuery,
  TotalQuery,
} from '../ports.ts';
import type { DuckDb, Parameters } from './duckdb-driver.ts';
import { selectEvents } from './duckdb-rollup-sql.ts';
import {
  type Day,
  dayOf,
  monthOf,
  type Scope,
  type Selection,
  selectLatest,
  selectMissing,
  selectRange,
  selectTop,
  selectTotal,
} from './duckdb-sql.ts';
import { MetricsQueryError } from './errors.ts';
import {
  type Cell,
  checkRange,
  checkTop,
  pointsPerAnswerMax,
  seriesOf,
  type TotalCell,
  totalsOf,
} from './grid.ts';
import { type Horizons, minuteMs, type Part, partsOf, type Source as From } from './sources.ts';

export type Source = {
  db: Pick<DuckDb, 'query'>;
  days: { list(): readonly Day[] };
  /** Days or months of which there is a table, oldest first. */
  periods: (source: From) => readonly string[];
  horizons: () => Horizons;
};
type Subject = { cluster?: string; entity: Entity; node?: string; guest?: string };

const scopeOf = ({ entity, cluster, node, guest }: Subject): Scope => ({
  entity,
  cluster: cluster !== undefined,
  node: node !== undefined,
  guest: guest !== undefined,
});

const namesOf = ({ cluster, node, guest }: Subject): Record<string, string> => ({
  ...(cluster === undefined ? {} : { cluster }),
  ...(node === undefined ? {} : { node }),
  ...(guest === undefined ? {} : { guest }),
});

type Asked = Subject & { metrics: readonly string[]; aggregate: Aggregate };

/** What of a part there are tables for; undefined when there is none. */
function selectionOf(source: Source, part: Part, query: Asked): Selection | undefined {
  const periodOf = part.source === '1h' ? monthOf : dayOf;
  const [first, last] = [periodOf(part.fromMs), periodOf(part.toMs - 1)];
  const periods = source.periods(part.source).filter((each) => each >= first && each <= last);
  if (periods.length === 0) return undefined;
  const { metrics, aggregate } = query;
  return { source: part.source, periods, scope: scopeOf(query), metrics, aggregate };
}

type Row = Record<string, unknown>;

/** Rows of each part, as the part's own query answers them. */
async function perPart(
  source: Source,
  query: Asked & { fromMs: number; toMs: number; stepMs: number },
  sqlOf: (selection: Selection) => string,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const part of partsOf(query, source.horizons())) {
    const selection = selectionOf(source, part, query);
    if (!selection) continue;
    const times = { fromMs: BigInt(part.fromMs), toMs: BigInt(part.toMs) };
    const parameters: Parameters = { ...namesOf(query), ...times, stepMs: BigInt(query.stepMs) };
    rows.push(...((await source.db.query(sqlOf(selection), parameters)) as Row[]));
  }
  return rows;
}

export async function range(source: Source, query: RangeQuery) {
  checkRange(query);
  const { metrics } = query;
  const rowsMax = Math.ceil(pointsPerAnswerMax / metrics.length) + 1;
  const rows = await perPart(source, query, (selection) => selectRange(selection, rowsMax));
  if (rows.length >= rowsMax) {
    throw new MetricsQueryError('metrics', 'too many points; name a node or use a longer step');
  }
  const cells = rows.flatMap((row) =>
    metrics.map((metric): Cell => {
      const { node, guest, step: timeMs } = row as { node: string; guest: string; step: number };
      return { node, guest, metric, timeMs, value: row[metric] as number | null };
    }),
  );
  return seriesOf(query, cells);
}

export async function total(source: Source, query: TotalQuery) {
  checkRange(query);
  const rows = await perPart(source, query, selectTotal);
  const cells = rows.flatMap((row) =>
    query.metrics.map((metric): TotalCell => {
      return { metric, timeMs: row['step'] as number, value: row[metric] as number | null };
    }),
  );
  return totalsOf(query, cells);
}

/** From one source: the newest minutes matter little for the order of a day. */
export async function top(source: Source, query: TopQuery): Promise<Ranked[]> {
  checkTop(query);
  const { fromMs, toMs, metric, aggregate } = query;
  const stepMs = minuteMs;
  const [part] = partsOf({ fromMs, toMs, stepMs }, source.horizons());
  const asked = { ...query, metrics: [metric], aggregate };
  const selection = selectionOf(source, part ?? { source: 'raw', fromMs, toMs }, asked);
  if (!selection) return [];
  const times = { fromMs: BigInt(fromMs), toMs: BigInt(toMs) };
  const sql = selectTop(selection, query.limit);
  const rows = (await source.db.query(sql, { ...namesOf(asked), ...times })) as Row[];
  return rows.map((row) => ({
    cluster: row['cluster'] as string,
    node: row['node'] as string,
    ...(query.entity === 'guest' ? { guest: row['guest'] as string } : {}),
    value: row[metric] as number,
  }));
}

export async function latest({ db, days }: Source, subject: Subject) {
  if (subject[subject.entity] === undefined) {
    throw new MetricsQueryError(subject.entity, `name the ${subject.entity}`);
  }
  for (const day of days.list().toReversed()) {
    const [row] = await db.query(selectLatest(day, scopeOf(subject)), namesOf(subject));
    if (!row) continue;
    const { at_ms: atMs, ...values } = row as Record<string, number | null>;
    return { atMs: atMs as number, values };
  }
  return null;
}

export async function missing({ db, days }: Source, sinceMs: number, clusterPrefix = '') {
  const touched = days.list().filter((day) => day >= dayOf(sinceMs));
  if (touched.length === 0) return { samples: 0, missing: 0 };
  const [row] = await db.query(selectMissing(touched), {
    sinceMs: BigInt(sinceMs),
    clusterPrefix,
  });
  return row as { samples: number; missing: number };
}

export async function events({ db }: Source, query: EventQuery): Promise<MetricsEvent[]> {
  const { cluster, fromMs, toMs, limit } = query;
  const times = { fromMs: BigInt(fromMs), toMs: BigInt(toMs) };
  const names: Parameters = cluster === undefined ? {} : { cluster };
  const sql = selectEvents(cluster !== undefined, limit);
  return (await db.query(sql, { ...names, ...times })) as MetricsEvent[];
}
