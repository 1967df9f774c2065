/**
 * Time series by uPlot: drag to zoom, double-click to see all again, one cursor over all charts
 * of a page. Gaps stay gaps. It is drawn anew when the theme changes, since canvas knows no CSS.
 */
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { bytes, dash, mark, moment, rate } from '../format.ts';
import { colour, theme } from '../theme.ts';

export type Line = {
  name: string;
  points: readonly (readonly [number, number | null])[];
  /** A line to compare with: dashed, in this colour of the style sheet. */
  dashed?: string;
};

const heightPx = 180;
const lineColours = ['series-1', 'series-2', 'series-3', 'series-4'];
const cursorGroup = uPlot.sync('page');

type Props = {
  title: string;
  lines: readonly Line[];
  format: (value: number) => string;
  /** Top of the scale, where it is known: 1 of a ratio. */
  max?: number;
  /** A moment that a line across marks. */
  markAtMs?: number;
  onRange: (fromMs: number, toMs: number) => void;
};

/** Such as 2, 4 and 8 GiB; steps of ten would be marked 1.9 and 3.7. */
const binarySteps = Array.from({ length: 60 }, (_, power) => 2 ** power);
const isOfBytes = ({ format }: Pick<Props, 'format'>): boolean =>
  format === bytes || format === rate;

/** uPlot wants one axis of time for all series: the union of theirs, with holes kept. */
function aligned(lines: readonly Line[]): uPlot.AlignedData {
  const tables = lines.map(({ points }): uPlot.AlignedData => [
    points.map(([atMs]) => atMs / 1_000),
    points.map(([, value]) => value),
  ]);
  return tables.length === 0 ? [[]] : uPlot.join(tables);
}

function drawMark(chart: uPlot, atMs: number): void {
  const x = chart.valToPos(atMs / 1_000, 'x', true);
  const { left, top, width, height } = chart.bbox;
  if (x < left || x > left + width) return;
  const { ctx } = chart;
  ctx.save();
  ctx.strokeStyle = colour('ink');
  ctx.setLineDash([2, 4]);
  ctx.beginPath();
  ctx.moveTo(x, top);
  ctx.lineTo(x, top + height);
  ctx.stroke();
  ctx.restore();
}

function optionsOf(props: Props, width: number): uPlot.Options {
  const { lines, format, max, markAtMs, onRange } = props;
  const axis = {
    stroke: colour('faint'),
    grid: { stroke: colour('line'), width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: heightPx,
    // Half of the widest mark, which may stand at the very end.
    padding: [null, 38, null, null],
    cursor: { sync: { key: cursorGroup.key }, drag: { x: true, y: false, setScale: false } },
    scales: { y: { range: (_chart, _low, high) => [0, max ?? Math.max(high ?? 0, 1e-9) * 1.1] } },
    axes: [
      {
        ...axis,
        space: 92,
        gap: 12,
        values: (...[_chart, ticks, _axis, _space, apart]) =>
          ticks.map((at) => mark(at * 1_000, apart * 1_000)),
      },
      {
        ...axis,
        size: 76,
        ...(isOfBytes(props) && { incrs: binarySteps }),
        values: (_chart, ticks) => ticks.map((tick) => format(tick).replace(/^0\.0 /, '0 ')),
      },
    ],
    series: [
      {
        label: 'Time',
        value: (_chart: uPlot, at: number | null) =>
          at === null ? dash : moment(new Date(at * 1_000).toISOString()),
      },
      ...lines.map(({ name, dashed }, index) => {
        const stroke = colour(dashed ?? lineColours[index % lineColours.length] ?? 'accent');
        return {
          label: name,
          stroke,
          fill: index === 0 ? `${stroke}22` : '',
          width: 1.5,
          ...(dashed === undefined ? {} : { dash: [6, 5] }),
          points: { show: false },
          value: (_chart: uPlot, value: number | null) => (value === null ? dash : format(value)),
        };
      }),
    ],
    hooks: {
      draw: markAtMs === undefined ? [] : [(chart) => drawMark(chart, markAtMs)],
      setSelect: [
        (chart) => {
          const { left, width: selected } = chart.select;
          if (selected < 4) return;
          const at = (px: number) => chart.posToVal(px, 'x') * 1_000;
          onRange(at(left), at(left + selected));
        },
      ],
    },
  };
}

export function Chart(props: Props) {
  const place = useRef<HTMLDivElement>(null);
  const drawn = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const names = props.lines.map(({ name }) => name).join();

  useEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const current = latest.current;
    const stable: Props = {
      ...current,
      onRange: (fromMs, toMs) => latest.current.onRange(fromMs, toMs),
    };
    const width = Math.max(120, element.clientWidth);
    const chart = new uPlot(optionsOf(stable, width), aligned(current.lines), element);
    drawn.current = chart;
    const observer = new ResizeObserver(() =>
      chart.setSize({ width: Math.max(120, element.clientWidth), height: heightPx }),
    );
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
      drawn.current = null;
    };
  }, [names, theme.value]);

  useEffect(() => drawn.current?.setData(aligned(props.lines)), [props.lines]);

  return (
    <figure class="chart card">
      <figcaption>{props.title}</figcaption>
      <div ref={place} />
    </figure>
  );
}
