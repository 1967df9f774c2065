/**
 * Reads what a backtest replays: telemetry stretch by stretch from the metrics store, so that a
 * month never stands in memory at once, and facts with their changes from `facts_history`.
 */
import type { Entity } from '../../broker/contract/metrics.ts';
import { MetricsQueryError } from '../store/metrics/errors.ts';
import type { MetricsStore, Series } from '../store/ports.ts';
import type { Source } from './outcome.ts';
import { columns, estimateColumn, peakColumn, type Reel, type Rows, wattsColumn } from './reel.ts';

type Metrics = Pick<MetricsStore, 'range' | 'finestStepMs'>;
export type Stretch = { fromMs: number; toMs: number; stepMs: number };

/** Of one answer; turning that many into rows takes this process some tens of milliseconds. */
const pointsPerStretch = 100_000;
/** Raw samples are asked for at most this long at once, or the store answers from roll-ups. */
const stretchMaxMs = 4 * 3_600_000;

/** Stretches of [fromMs, toMs) with the shortest step there is for each, `stepMs` at least. */
export function* stretchesOf(
  { fromMs, toMs, stepMs }: Stretch,
  rowCount: number,
  finestStepMs: (fromMs: number) => number,
): Generator<Stretch> {
  const perStep = Math.max(1, rowCount) * (columns.length + 2);
  const steps = Math.max(10, Math.floor(pointsPerStretch / perStep));
  let at = Math.floor(fromMs / stepMs) * stepMs;
  while (at < toMs) {
    const step = Math.max(stepMs, finestStepMs(at));
    const start = Math.floor(at / step) * step;
    const spanMs = Math.max(step, Math.min(stretchMaxMs, steps * step));
    const end = Math.min(Math.ceil(toMs / step) * step, start + Math.floor(spanMs / step) * step);
    yield { fromMs: start, toMs: end, stepMs: step };
    at = end;
  }
}

export const sourceOf = ({ fromMs }: Stretch, finestStepMs: Metrics['finestStepMs']): Source => {
  const finestMs = finestStepMs(fromMs);
  return finestMs < 60_000 ? 'raw' : finestMs < 3_600_000 ? '1m' : '1h';
};

const nameOf = ({ node, guest }: Series): string => guest ?? node;

type Filled = { rows: Rows; nodeOf: Map<string, Int32Array> };

/** Lays series into rows of their names; a guest recorded on two nodes is one row. */
function rowsOf(answers: readonly (readonly [Series, string])[], steps: number): Filled {
  const names = [...new Set(answers.map(([series]) => nameOf(series)))].sort();
  const rowOf = new Map(names.map((name, row) => [name, row]));
  const values: Rows['values'] = {};
  const nodeOf = new Map<string, Int32Array>();
  for (const [series, column] of answers) {
    const row = rowOf.get(nameOf(series))!;
    const into = (values[column] ??= new Float64Array(names.length * steps).fill(NaN));
    const { points } = series;
    let where: Int32Array | undefined;
    if (series.guest !== undefined && column === 'cpuRatio') {
      where = nodeOf.get(series.node);
      if (!where) nodeOf.set(series.node, (where = new Int32Array(names.length * steps)));
    }
    for (let step = 0; step < steps; step += 1) {
      const value = points[step]?.[1] ?? null;
      if (value === null) continue;
      into[row * steps + step] = value;
      if (where) where[row * steps + step] = 1;
    }
  }
  return { rows: { names, values }, nodeOf };
}

async function ask(
  metrics: Metrics,
  cluster: string,
  entity: Entity,
  stretch: Stretch,
): Promise<(readonly [Series, string])[]> {
  const of = { cluster, entity, ...stretch };
  const asked = entity === 'node' ? [...columns, wattsColumn, estimateColumn] : columns;
  const means = await metrics.range({ ...of, metrics: asked, aggregate: 'mean' });
  const peaks = await metrics.range({ ...of, metrics: ['cpuRatio'], aggregate: 'max' });
  return [
    ...means.map((series) => [series, series.metric] as const),
    ...peaks.map((series) => [series, peakColumn] as const),
  ];
}

/** One stretch as numbers. Cut in halves where it holds more than the store answers at once. */
export async function reelsOf(
  metrics: Metrics,
  cluster: string,
  stretch: Stretch,
): Promise<Reel[]> {
  const { fromMs, toMs, stepMs } = stretch;
  const steps = (toMs - fromMs) / stepMs;
  try {
    const nodes = rowsOf(await ask(metrics, cluster, 'node', stretch), steps).rows;
    const { rows: guests, nodeOf } = rowsOf(await ask(metrics, cluster, 'guest', stretch), steps);
    const guestNode = new Int32Array(guests.names.length * steps).fill(-1);
    nodes.names.forEach((node, place) => {
      nodeOf.get(node)?.forEach((is, cell) => {
        if (is === 1) guestNode[cell] = place;
      });
    });
    return [{ fromMs, stepMs, steps, nodes, guests, guestNode }];
  } catch (error) {
    if (!(error instanceof MetricsQueryError) || steps < 2) throw error;
    const middleMs = fromMs + Math.floor(steps / 2) * stepMs;
    return [
      ...(await reelsOf(metrics, cluster, { fromMs, toMs: middleMs, stepMs })),
      ...(await reelsOf(metrics, cluster, { fromMs: middleMs, toMs, stepMs })),
    ];
  }
}
