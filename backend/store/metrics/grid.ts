/**
 * Range queries independent of the store: the check of what is asked, and the grid of steps into
 * which answers are laid, so that a gap is a null in its place whatever the store left out. Pure.
 */
import { metricsOf } from '../../../broker/contract/metrics.ts';
import type { RangeQuery, Series } from '../ports.ts';
import { MetricsQueryError } from './errors.ts';

/** Eight points for each pixel column of a wide screen. */
export const pointsPerSeriesMax = 16_384;
/** About 40 bytes a point in the answer: 20 MB. */
export const pointsPerAnswerMax = 500_000;

/** Start of the step a time belongs to; steps are aligned to the epoch, as Flux aligns them. */
export const stepOf = (timeMs: number, stepMs: number): number =>
  Math.floor(timeMs / stepMs) * stepMs;

const stepsOf = ({ fromMs, toMs, stepMs }: RangeQuery): number =>
  Math.ceil((toMs - stepOf(fromMs, stepMs)) / stepMs);

/** Throws MetricsQueryError unless every name is of the catalogue and the answer is bounded. */
export function checkRange(query: RangeQuery): void {
  const known = new Set(metricsOf(query.entity).map((metric) => metric.name));
  const unknown = query.metrics.find((name) => !known.has(name));
  if (unknown !== undefined) {
    throw new MetricsQueryError('metrics', `${unknown} is no metric of a ${query.entity}`);
  }
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
