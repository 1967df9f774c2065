/**
 * The charts of one node or guest over one range of time, asked in one request: buttons for the
 * usual ranges, drag in any chart to zoom in all, and a moving end while nobody zoomed.
 */
import { useEffect, useState } from 'preact/hooks';
import { query } from '../api.ts';
import { bytes, moment, rate } from '../format.ts';
import { useQuery } from '../query.ts';
import { Chart } from './chart.tsx';
import { Answer } from './feedback.tsx';

export type ChartSpec = {
  title: string;
  metrics: readonly (readonly [metric: string, name: string])[];
  format: (value: number) => string;
  max?: number;
};

/** What nodes and guests are both measured by, under the same names. */
export const memoryChart: ChartSpec = {
  title: 'Memory',
  metrics: [
    ['memoryUsedBytes', 'used'],
    ['swapUsedBytes', 'swap'],
  ],
  format: bytes,
};
export const trafficCharts: readonly ChartSpec[] = [
  {
    title: 'Network',
    metrics: [
      ['networkInBytesPerSecond', 'in'],
      ['networkOutBytesPerSecond', 'out'],
    ],
    format: rate,
  },
  {
    title: 'Disks',
    metrics: [
      ['diskReadBytesPerSecond', 'read'],
      ['diskWriteBytesPerSecond', 'written'],
    ],
    format: rate,
  },
];

type Series = { metric: string; node: string; points: [number, number | null][] };
type Telemetry = { series: Series[]; resolutionMs: number };
type Range = { fromMs: number; toMs: number };

const hourMs = 3_600_000;
const spans: [string, number][] = [
  ['15 min', hourMs / 4],
  ['1 h', hourMs],
  ['6 h', 6 * hourMs],
  ['24 h', 24 * hourMs],
  ['7 d', 7 * 24 * hourMs],
];
const refreshMs = 10_000;

/** A range that ends now moves on; a zoomed one stands still. */
function useRange() {
  const [spanMs, setSpan] = useState(hourMs);
  const [zoom, setZoom] = useState<Range | null>(null);
  const [nowMs, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (zoom) return undefined;
    const timer = setInterval(() => document.hidden || setNow(Date.now()), refreshMs);
    return () => clearInterval(timer);
  }, [zoom]);
  const range = zoom ?? { fromMs: nowMs - spanMs, toMs: nowMs };
  const choose = (ms: number): void => {
    setZoom(null);
    setNow(Date.now());
    setSpan(ms);
  };
  return { range, spanMs, zoom, setZoom, choose };
}

export function Charts({
  of,
  specs,
}: {
  of: { cluster: string; node?: string; guest?: string };
  specs: readonly ChartSpec[];
}) {
  const { range, spanMs, zoom, setZoom, choose } = useRange();
  const names = specs.flatMap(({ metrics }) => metrics.map(([metric]) => metric));
  const [last, setLast] = useState<Telemetry>();
  const telemetry = useQuery<Telemetry>(
    `telemetry?${query({
      ...of,
      metrics: names.join(),
      from: Math.round(range.fromMs),
      to: Math.round(range.toMs),
    })}`,
  );
  // The next range is drawn when it is here; until then the picture stays.
  useEffect(() => telemetry.data && setLast(telemetry.data), [telemetry.data]);
  const shown = telemetry.data ?? last;

  return (
    <section aria-label="Charts">
      <div class="heading">
        <h2>Measured</h2>
        <div class="choices" role="group" aria-label="Range">
          {spans.map(([name, ms]) => (
            <button
              key={name}
              type="button"
              class="quiet small"
              aria-pressed={!zoom && ms === spanMs}
              onClick={() => choose(ms)}
            >
              {name}
            </button>
          ))}
          {zoom && (
            <button type="button" class="small" onClick={() => setZoom(null)}>
              {moment(new Date(zoom.fromMs).toISOString())} to{' '}
              {moment(new Date(zoom.toMs).toISOString())} ✕
            </button>
          )}
        </div>
      </div>
      <Answer of={{ ...telemetry, data: shown }} what="charts">
        {({ series }) => (
          <div class="charts">
            {specs.map(({ title, metrics, format, max }) => {
              const lines = metrics.flatMap(([metric, name]) => {
                const found = series.find((one) => one.metric === metric);
                return found?.points.some(([, value]) => value !== null)
                  ? [{ name, points: found.points }]
                  : [];
              });
              if (lines.length === 0) return null;
              return (
                <Chart
                  key={title}
                  title={title}
                  lines={lines}
                  format={format}
                  {...(max === undefined ? {} : { max })}
                  onRange={(fromMs, toMs) => setZoom({ fromMs, toMs })}
                />
              );
            })}
          </div>
        )}
      </Answer>
      {shown && shown.series.every(({ points }) => points.every(([, value]) => value === null)) && (
        <p class="state-note">Nothing was stored in this range.</p>
      )}
      <p class="faint">Drag in a chart to look closer.</p>
    </section>
  );
}
