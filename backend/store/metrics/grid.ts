/**
 * Range queries independent of the store: the check of what is asked, and the grid of steps into
 * which answers are laid, so that a gap is a null in its place whatever the store left out. Pure.
 */
import { metricsOf } from '../../../broker/contract/metrics.ts';
import type { RangeQuery, Series, TopQuery, Total, TotalQuery } from '../ports.ts';
import { MetricsQueryError } from './errors.ts';

/** Eight points for each pixel column of a wide screen. */
export const pointsPerSeriesMax = 16_384;
/** About 40 bytes a point in the answer: 20 MB. */
export const pointsPerAnswerMax = 500_000;

/** Start of the step a time belongs to; steps are aligned to the epoch, as Flux aligns them. */
export const stepOf = (timeMs: number, stepMs: number): number =>
  Math.floor(timeMs / stepMs) * stepMs;

type Asked = Omit<RangeQuery, 'cluster' | 'node' | 'guest' | 'aggregate'>;

const stepsOf = ({ fromMs, toMs, stepMs }: Asked): number =>
  Math.ceil((toMs - stepOf(fromMs, stepMs)) / stepMs);

const topMax = 1_000;

function checkMetrics({ entity, metrics }: Pick<RangeQuery, 'entity' | 'metrics'>): void {
  const known = new Set(metricsOf(entity).map((metric) => metric.name));
  const unknown = metrics.find((name) => !known.has(name));
  if (unknown === undefined) return;
  throw new MetricsQueryError('metrics', `${unknown} is no metric of a ${entity}`);
}

/** Throws MetricsQueryError as `checkRange` does. */
export function checkTop({ entity, metric, fromMs, toMs, limit }: TopQuery): void {
  checkMetrics({ entity, metrics: [metric] });
  if (!(fromMs < toMs)) throw new MetricsQueryError('from', 'must lie before to');
  if (!Number.isSafeInteger(limit) || limit < 1 || limit > topMax) {
    throw new MetricsQueryError('limit', `use a whole number from 1 to ${topMax}`);
  }
}

/** Throws MetricsQueryError unless every name is of the catalogue and the answer is bounded. */
export function checkRange(query: Asked): void {
  checkMetrics(query);
  if (query.metrics.length === 0) throw new MetricsQueryError('metrics', 'name at least one');
  if (!Number.isSafeInteger(query.stepMs) || query.stepMs < 1) {
    throw new MetricsQueryError('stepMs', 'use a whole number of ms from 1');
  }
  if (!(query.fromMs < query.toMs)) throw new MetricsQueryError('from', 'must lie before to');
  if (stepsOf(query) > pointsPerSeriesMax) {
    const hint = `gives more than ${pointsPerSeriesMax} points; use a longer step or less time`;
    throw new MetricsQueryError('stepMs', hint);
  }
}

/** One value a store computed for one step of one series. */
export type Cell = {
  node: string;
  guest: string | null;
  metric: string;
  timeMs: number;
  value: number | null;
};

/** Lays cells into full series, in order of node, guest and the metrics asked for. */
export function seriesOf(query: RangeQuery, cells: readonly Cell[]): Series[] {
  const firstMs = stepOf(query.fromMs, query.stepMs);
  const steps = stepsOf(query);
  const series = new Map<string, Series>();
  for (const { node, guest, metric, timeMs, value } of cells) {
    const order = query.metrics.indexOf(metric).toString().padStart(4, '0');
    const key = `${node}\n${guest ?? ''}\n${order}`;
    let found = series.get(key);
    if (!found) {
      if ((series.size + 1) * steps > pointsPerAnswerMax) {
        const hint = `more than ${pointsPerAnswerMax} points; name a node, fewer metrics or less time`;
        throw new MetricsQueryError('metrics', hint);
      }
      const points = Array.from({ length: steps }, (_, index): [number, null] => [
        firstMs + index * query.stepMs,
        null,
      ]);
      found = { metric, node, ...(guest === null ? {} : { guest }), points };
      series.set(key, found);
    }
    const point = found.points[(stepOf(timeMs, query.stepMs) - firstMs) / query.stepMs];
    if (point) point[1] = value;
  }
  return [...series.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each);
}

export type TotalCell = Omit<Cell, 'node' | 'guest'>;

/** As `seriesOf`, for one series per metric; a metric nobody has a value of is all gaps. */
export function totalsOf(query: TotalQuery, cells: readonly TotalCell[]): Total[] {
  const asSeries = cells.map((cell) => ({ ...cell, node: '', guest: null }));
  const gaps = query.metrics.map((metric) => {
    return { node: '', guest: null, metric, timeMs: -1, value: null };
  });
  const all = seriesOf({ ...query, cluster: '' }, [...gaps, ...asSeries]);
  return all.map(({ metric, points }) => ({ metric, points }));
}
