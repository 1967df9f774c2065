/**
 * What a panel asks, said once and written twice: in PromQL for Prometheus and VictoriaMetrics, in
 * Flux for InfluxDB 2. The names come from the catalogue of measured values and from the server's
 * own figures, so that a renamed one does not compile or fails its test. Pure.
 */
import type { guestMetrics, nodeMetrics } from '../../broker/contract/metrics.ts';
import { seriesName } from '../../backend/observe/detail.ts';

export const stores = ['influxdb', 'prometheus'] as const;
export type Store = (typeof stores)[number];

type NodeMetric = (typeof nodeMetrics)[number]['name'];
type GuestMetric = (typeof guestMetrics)[number]['name'];
type Measured = { entity: 'node'; metric: NodeMetric } | { entity: 'guest'; metric: GuestMetric };
type Fold = { fn: 'sum' | 'mean' | 'max' | 'count'; by: readonly string[] };

/** Of every node or guest that the variables name, one point per step. */
export type Values = Measured & {
  how?: 'mean' | 'max';
  fold?: Fold;
  /** The newest values alone, the highest first. */
  top?: number;
  legend: string;
};

/** One of the server's own figures, as a rate per second where it only grows. */
export type OwnFigure = {
  figure: string;
  where?: Readonly<Record<string, string>>;
  rate?: boolean;
  quantile?: number;
  by?: readonly string[];
  legend: string;
};

/** What neither of the two can say. */
export type Written = { promql: string; flux: string; legend: string; isInstant?: boolean };
export type Query = Values | OwnFigure | Written;

const fluxFn = { sum: 'sum', mean: 'mean', max: 'max', count: 'count' } as const;
const promFn = { sum: 'sum', mean: 'avg', max: 'max', count: 'count' } as const;

const labelsOf = (entity: 'node' | 'guest'): readonly string[] =>
  entity === 'node' ? ['cluster', 'node'] : ['cluster', 'node', 'guest'];

/** `node_cpuRatio{cluster=~"$cluster",node=~"$node"}` */
export const selector = ({ entity, metric }: Measured): string =>
  `${seriesName(entity, metric)}{${labelsOf(entity)
    .map((label) => `${label}=~"$${label}"`)
    .join(',')}}`;

function promValues({ how = 'mean', fold, top, ...measured }: Values): string {
  const over = how === 'mean' ? 'avg_over_time' : 'max_over_time';
  const each = `${over}(${selector(measured)}[$resolution])`;
  const folded = fold ? `${promFn[fold.fn]} by (${fold.by.join(', ')}) (${each})` : each;
  return top === undefined ? folded : `topk(${top}, ${folded})`;
}

/** Where raw samples, minutes or hours are kept; the stores' own suffixes. */
const bucket = 'v.defaultBucket + (if "${resolution}" == "raw" then "" else "_${resolution}")';
export const range = '|> range(start: v.timeRangeStart, stop: v.timeRangeStop)';
const window = (fn: string): string =>
  `|> aggregateWindow(every: v.windowPeriod, fn: ${fn}, createEmpty: false)`;

export const scope = (entity: 'node' | 'guest'): string =>
  labelsOf(entity)
    .map((label) => `r.${label} =~ /^\${${label}:regex}$/`)
    .join(' and ');

const list = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(', ');

/** Over all series of a step; the time is a column of the group and so survives. */
const fluxFold = ({ fn, by }: Fold): string[] => [
  `|> group(columns: [${list([...by, '_time'])}])`,
  `|> ${fluxFn[fn]}()`,
  `|> group(columns: [${list(by)}])`,
  '|> sort(columns: ["_time"])',
];

function fluxValues({ entity, metric, how = 'mean', fold, top }: Values): string {
  const field =
    how === 'mean'
      ? `"${metric}"`
      : `(if "\${resolution}" == "raw" then "${metric}" else "${metric}_max")`;
  return [
    `from(bucket: ${bucket})`,
    range,
    `|> filter(fn: (r) => r._measurement == "${entity}" and r._field == ${field})`,
    `|> filter(fn: (r) => ${scope(entity)})`,
    window(how),
    ...(fold ? fluxFold(fold) : []),
    ...(top === undefined ? [] : ['|> last()', '|> group()', `|> top(n: ${top})`]),
  ].join('\n  ');
}

export const figureField = (name: string): string => name.replace(/^kr_/, '');

function promFigure({ figure, where = {}, rate, quantile, by = [] }: OwnFigure): string {
  const labels = Object.entries(where).map(([label, value]) => `${label}=~"${value}"`);
  const name = quantile === undefined ? figure : `${figure}_bucket`;
  const series = labels.length === 0 ? name : `${name}{${labels.join(',')}}`;
  const each =
    rate === true || quantile !== undefined ? `rate(${series}[$__rate_interval])` : series;
  if (quantile === undefined) return by.length === 0 ? each : `sum by (${by.join(', ')}) (${each})`;
  return `histogram_quantile(${quantile}, sum by (${['le', ...by].join(', ')}) (${each}))`;
}

function fluxFigure({ figure, where = {}, rate, quantile, by = [] }: OwnFigure): string {
  const field = figureField(quantile === undefined ? figure : `${figure}_bucket`);
  const labels = Object.entries(where).map(([label, value]) => ` and r.${label} =~ /^(${value})$/`);
  const isRate = rate === true || quantile !== undefined;
  return [
    `from(bucket: ${bucket})`,
    range,
    `|> filter(fn: (r) => r._measurement == "kr" and r._field == "${field}"${labels.join('')})`,
    ...(isRate ? ['|> derivative(unit: 1s, nonNegative: true)'] : []),
    window('mean'),
    ...(quantile === undefined
      ? by.length === 0
        ? []
        : fluxFold({ fn: 'sum', by })
      : [
          '|> map(fn: (r) => ({r with le: float(v: r.le)}))',
          `|> group(columns: [${list([...by, '_time'])}])`,
          `|> histogramQuantile(quantile: ${quantile.toFixed(2)})`,
          `|> group(columns: [${list(by)}])`,
          '|> sort(columns: ["_time"])',
        ]),
  ].join('\n  ');
}

export function textOf(query: Query, store: Store): string {
  if ('promql' in query) return store === 'prometheus' ? query.promql : query.flux;
  if ('figure' in query) return store === 'prometheus' ? promFigure(query) : fluxFigure(query);
  return store === 'prometheus' ? promValues(query) : fluxValues(query);
}

/** A table or a bar per series wants one value, not a line. */
export const isInstant = (query: Query): boolean =>
  ('top' in query && query.top !== undefined) || ('promql' in query && query.isInstant === true);
