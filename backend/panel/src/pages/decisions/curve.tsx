/**
 * What was measured around a decision: the curve that a rule looked at, its threshold, and what was
 * predicted beside what came.
 */
import { useMemo } from 'preact/hooks';
import { query } from '../../api.ts';
import { percent } from '../../format.ts';
import { Chart, type Line } from '../../parts/chart.tsx';
import { useQuery } from '../../query.ts';

type Points = [number, number | null][];
type Telemetry = { series: { metric: string; points: Points }[] };
export type Band = { above: number; clear: number };

const aroundMs = 15 * 60_000;
const roomMs = 60_000;

/** By rule: what it looks at; a ratio of two where there are two. */
const metricsOf: Record<string, readonly [name: string, ...metrics: string[]]> = {
  'relieve.cpuRatio': ['cpu', 'cpuRatio'],
  'relieve.memoryRatio': ['memory', 'memoryUsedBytes', 'memoryTotalBytes'],
  'relieve.memoryPressureRatio': ['waiting for memory', 'memoryPressureSomeAvg60Ratio'],
  'relieve.ioPressureRatio': ['waiting for disks', 'ioPressureSomeAvg60Ratio'],
};

export const hasCurve = (rule: string): boolean => rule in metricsOf;

function ratioOf(series: Telemetry['series'], metrics: readonly string[]): Points {
  const [over, under] = metrics.map(
    (metric) => series.find((one) => one.metric === metric)?.points ?? [],
  );
  if (!over || metrics.length === 1) return over ?? [];
  const totals = new Map(under);
  return over.map(([atMs, value]) => {
    const total = totals.get(atMs) ?? null;
    return [atMs, value === null || total === null ? null : value / total];
  });
}

type Of = {
  cluster: string;
  node: string;
  rule: string;
  at: string;
  band: Band | undefined;
  /** What the node was expected to fall to. */
  predicted: number | null;
};

export function Curve({ cluster, node, rule, at, band, predicted }: Of) {
  const [name = '', ...metrics] = metricsOf[rule] ?? [];
  const atMs = Date.parse(at);
  const fromMs = atMs - aroundMs;
  const toMs = atMs + aroundMs;
  const { data } = useQuery<Telemetry>(
    `telemetry?${query({ cluster, node, metrics: metrics.join(), from: fromMs, to: toMs })}`,
    { everyMs: Date.now() < toMs ? 10_000 : 0 },
  );
  const lines = useMemo((): Line[] => {
    const points = data ? ratioOf(data.series, metrics) : [];
    const told = points.findLast(([, value]) => value !== null);
    const first = points.find(([, value]) => value !== null)?.[0];
    if (first === undefined || told === undefined) return [];
    // Time that has not come yet is left out, but for a little room behind the decision.
    const last = Math.max(told[0], atMs + roomMs);
    const level = (value: number, from: number, to: number) =>
      [
        [from, value],
        [to, value],
      ] as const;
    return [
      {
        name: `${node}, measured`,
        points: points.filter(([pointMs]) => pointMs >= first && pointMs <= last),
      },
      ...(band
        ? [{ name: 'threshold', dashed: 'bad', points: level(band.above, first, last) }]
        : []),
      ...(band
        ? [{ name: 'cool again', dashed: 'good', points: level(band.clear, first, last) }]
        : []),
      ...(predicted === null
        ? []
        : [{ name: 'predicted', dashed: 'series-2', points: level(predicted, atMs, last) }]),
    ];
  }, [data, node, band, predicted, atMs, rule]);
  if (lines.length === 0) return null;
  return (
    <Chart
      title={`${name} of ${node}; the line across is the decision`}
      lines={lines}
      format={percent}
      max={1}
      markAtMs={atMs}
      onRange={() => undefined}
    />
  );
}
