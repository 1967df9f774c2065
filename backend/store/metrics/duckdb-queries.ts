/**
 * The questions put to the embedded metrics store. They run on the reading connection and see
 * whole batches only. Names from outside travel as parameters.
 */
import type { Entity } from '../../../broker/contract/metrics.ts';
import type { RangeQuery } from '../ports.ts';
import type { DuckDb } from './duckdb-driver.ts';
import {
  type Day,
  dayOf,
  type Scope,
  selectLatest,
  selectMissing,
  selectRange,
} from './duckdb-sql.ts';
import { MetricsQueryError } from './errors.ts';
import { type Cell, checkRange, pointsPerAnswerMax, seriesOf } from './grid.ts';

type Source = { db: Pick<DuckDb, 'query'>; days: { list(): readonly Day[] } };
type Subject = { cluster: string; entity: Entity; node?: string; guest?: string };

const scopeOf = ({ entity, node, guest }: Subject): Scope => ({
  entity,
  node: node !== undefined,
  guest: guest !== undefined,
});

const namesOf = ({ cluster, node, guest }: Subject): Record<string, string> => ({
  cluster,
  ...(node === undefined ? {} : { node }),
  ...(guest === undefined ? {} : { guest }),
});

export async function range({ db, days }: Source, query: RangeQuery) {
  checkRange(query);
  const { fromMs, toMs, stepMs, metrics, aggregate } = query;
  const first = dayOf(fromMs);
  const last = dayOf(toMs - 1);
  const touched = days.list().filter((day) => day >= first && day <= last);
  if (touched.length === 0) return [];
  const rowsMax = Math.ceil(pointsPerAnswerMax / metrics.length) + 1;
  const shape = { days: touched, scope: scopeOf(query), metrics, aggregate, rowsMax };
  const times = { fromMs: BigInt(fromMs), toMs: BigInt(toMs), stepMs: BigInt(stepMs) };
  const rows = await db.query(selectRange(shape), { ...namesOf(query), ...times });
  if (rows.length === rowsMax) {
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

export async function missing({ db, days }: Source, sinceMs: number) {
  const touched = days.list().filter((day) => day >= dayOf(sinceMs));
  if (touched.length === 0) return { samples: 0, missing: 0 };
  const [row] = await db.query(selectMissing(touched), { sinceMs: BigInt(sinceMs) });
  return row as { samples: number; missing: number };
}
