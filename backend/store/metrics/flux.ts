/**
 * Every Flux text we send, and nothing else that knows Flux. Filters come right after the range,
 * where the server pushes them down to storage. Names from outside are escaped by the client's
 * template; metrics are checked against the catalogue before they come here. Pure.
 *
 * Buckets: raw samples in `<bucket>`, roll-ups in `<bucket>_1m` and `<bucket>_1h`, where a metric's
 * own name is its mean and `<metric>_max` its maximum, and a figure of the server's own that only
 * grows is its last value; events in `<bucket>_1h`.
 */
import type { Entity } from '../../../broker/contract/metrics.ts';
import type { Aggregate, EventQuery, RangeQuery, TopQuery, TotalQuery } from '../ports.ts';
import {
  flux,
  fluxDateTime,
  fluxDuration,
  fluxExpression,
  type ParameterizedQuery,
} from './influx-client.ts';
import type { Part, Resolution, Source } from './sources.ts';

type Scope = { cluster?: string; entity: Entity; node?: string; guest?: string };

export const bucketOf = (bucket: string, source: Source): string =>
  source === 'raw' ? bucket : `${bucket}_${source}`;

const at = (timeMs: number) => fluxDateTime(new Date(timeMs).toISOString());

const scoped = ({ cluster, entity, node, guest }: Scope) =>
  fluxExpression(
    [
      cluster === undefined
        ? flux`|> filter(fn: (r) => r._measurement == ${entity})`
        : flux`|> filter(fn: (r) => r._measurement == ${entity} and r.cluster == ${cluster})`,
      ...(node === undefined ? [] : [flux`|> filter(fn: (r) => r.node == ${node})`]),
      ...(guest === undefined ? [] : [flux`|> filter(fn: (r) => r.guest == ${guest})`]),
    ].join('\n  '),
  );

export const maxSuffix = '_max';

const fieldFilter = (metrics: readonly string[], suffix: string) =>
  fluxExpression(metrics.map((name) => String(flux`r._field == ${name + suffix}`)).join(' or '));

/** Our aggregates are named as Flux names its functions, but for the quantile. */
const functionOf = (aggregate: Aggregate) =>
  fluxExpression(
    aggregate === 'p95'
      ? '(column, tables=<-) => tables |> quantile(q: 0.95, column: column, method: "exact_mean")'
      : aggregate,
  );

type Windowed = Part & Scope & Pick<RangeQuery, 'metrics' | 'aggregate' | 'stepMs'>;

/** Values per series and step; pushed down to storage but for the quantile. */
const windows = (bucket: string, part: Windowed) =>
  flux`from(bucket: ${bucketOf(bucket, part.source)})
  |> range(start: ${at(part.fromMs)}, stop: ${at(part.toMs)})
  ${scoped(part)}
  |> filter(fn: (r) => ${fieldFilter(part.metrics, part.source !== 'raw' && part.aggregate === 'max' ? maxSuffix : '')})
  |> aggregateWindow(every: ${fluxDuration(`${part.stepMs}ms`)}, fn: ${functionOf(part.aggregate)}, createEmpty: false, timeSrc: "_start")`;

/** Columns: node, guest, _field, _time (start of the step, or of the range), _value. */
export const rangeFlux = (bucket: string, query: RangeQuery, part: Part): ParameterizedQuery =>
  flux`${windows(bucket, { ...query, ...part })}
  |> keep(columns: ["node", "guest", "_field", "_time", "_value"])`;

/** Columns: _field, _time, _value: each series' mean or maximum first, then over all series. */
export const totalFlux = (bucket: string, query: TotalQuery, part: Part): ParameterizedQuery => {
  const ofSeries = query.aggregate === 'p95' ? 'mean' : query.aggregate;
  const across =
    query.aggregate === 'p95' ? 'quantile(q: 0.95, method: "exact_mean")' : `${query.aggregate}()`;
  return flux`${windows(bucket, { ...query, ...part, aggregate: ofSeries })}
  |> group(columns: ["_field", "_time"])
  |> ${fluxExpression(across)}
  |> keep(columns: ["_field", "_time", "_value"])`;
};

/** Columns: cluster, node, guest, _value; the highest first. */
export const topFlux = (bucket: string, query: TopQuery, part: Part): ParameterizedQuery => {
  const call = {
    mean: 'mean()',
    min: 'min()',
    max: 'max()',
    last: 'last()',
    p95: 'quantile(q: 0.95, method: "exact_mean")',
  }[query.aggregate];
  const suffix = part.source !== 'raw' && query.aggregate === 'max' ? maxSuffix : '';
  return flux`from(bucket: ${bucketOf(bucket, part.source)})
  |> range(start: ${at(part.fromMs)}, stop: ${at(part.toMs)})
  ${scoped(query)}
  |> filter(fn: (r) => ${fieldFilter([query.metric], suffix)})
  |> ${fluxExpression(call)}
  |> keep(columns: ["cluster", "node", "guest", "_value"])
  |> group()
  |> sort(columns: ["_value"], desc: true)
  |> limit(n: ${query.limit})`;
};

/** The newest value of each field; those older than the newest of all were missing since. */
export const latestFlux = (bucket: string, scope: Scope, sinceMs: number): ParameterizedQuery =>
  flux`from(bucket: ${bucket})
  |> range(start: ${at(sinceMs)})
  ${scoped(scope)}
  |> last()
  |> keep(columns: ["node", "_field", "_time", "_value"])`;

/** Columns: cluster, node, incarnation, stored, first, last. */
export const spansFlux = (bucket: string, sinceMs: number): ParameterizedQuery =>
  flux`from(bucket: ${bucket})
  |> range(start: ${at(sinceMs)})
  |> filter(fn: (r) => r._measurement == "node" and (r._field == "incarnation" or r._field == "seq"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group(columns: ["cluster", "node", "incarnation"])
  |> reduce(
    identity: {stored: 0, first: 9007199254740991, last: 0},
    fn: (r, accumulator) => ({
      stored: accumulator.stored + 1,
      first: if r.seq < accumulator.first then r.seq else accumulator.first,
      last: if r.seq > accumulator.last then r.seq else accumulator.last,
    }),
  )`;

/** Columns: cluster, node, _field (incarnation or seq), _time, _value. */
export const watermarksFlux = (bucket: string, sinceMs: number): ParameterizedQuery =>
  flux`from(bucket: ${bucket})
  |> range(start: ${at(sinceMs)})
  |> filter(fn: (r) => r._measurement == "watermark")
  |> last()
  |> keep(columns: ["cluster", "node", "_field", "_time", "_value"])`;

/** Columns: cluster, kind, outcome, _time, and the fields of an event; the newest first. */
export const eventsFlux = (bucket: string, query: EventQuery): ParameterizedQuery => {
  const ofCluster =
    query.cluster === undefined
      ? fluxExpression('')
      : fluxExpression(String(flux`|> filter(fn: (r) => r.cluster == ${query.cluster})`));
  return flux`from(bucket: ${bucketOf(bucket, '1h')})
  |> range(start: ${at(query.fromMs)}, stop: ${at(query.toMs)})
  |> filter(fn: (r) => r._measurement == "event")
  ${ofCluster}
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> sort(columns: ["_time"], desc: true)
  |> limit(n: ${query.limit})`;
};

type Rollup = { bucket: string; resolution: Resolution };

const measured = 'r._measurement == "node" or r._measurement == "guest"';
/** Of the server's own figures, those that only grow, and states, whose mean would be no state. */
const lastOnly = 'r._field =~ /(_total|_bucket|_count|_sum|^node_state)$/';
const ownFigures = 'r._measurement == "kr"';

type Pipe = { of: string; where: string; fn: 'mean' | 'max' | 'last'; isRenamed?: boolean };

const pipesOf = (resolution: Resolution): Pipe[] => {
  const own = 'r._field != "incarnation" and r._field != "seq"';
  const isMax = `r._field =~ /${maxSuffix}$/`;
  const isNoMax = `r._field !~ /${maxSuffix}$/`;
  const levels = lastOnly.replace('=~', '!~');
  const grown: Pipe = { of: ownFigures, where: lastOnly, fn: 'last' };
  return resolution === '1m'
    ? [
        { of: measured, where: own, fn: 'mean' },
        { of: measured, where: own, fn: 'max', isRenamed: true },
        grown,
        { of: ownFigures, where: levels, fn: 'mean' },
        { of: ownFigures, where: levels, fn: 'max', isRenamed: true },
      ]
    : [
        { of: measured, where: isNoMax, fn: 'mean' },
        { of: measured, where: isMax, fn: 'max' },
        grown,
        { of: ownFigures, where: `${levels} and ${isNoMax}`, fn: 'mean' },
        { of: ownFigures, where: `${levels} and ${isMax}`, fn: 'max' },
      ];
};

const rollupBody = ({ bucket, resolution }: Rollup, range: ParameterizedQuery) => {
  const from = bucketOf(bucket, resolution === '1m' ? 'raw' : '1m');
  const to = bucketOf(bucket, resolution);
  const every = fluxExpression(resolution);
  const renamed = `|> map(fn: (r) => ({r with _field: r._field + "${maxSuffix}"}))\n  `;
  return pipesOf(resolution).map(({ of, where, fn, isRenamed = false }) =>
    String(flux`from(bucket: ${from})
  |> range(${fluxExpression(String(range))})
  |> filter(fn: (r) => ${fluxExpression(of)})
  |> filter(fn: (r) => ${fluxExpression(where)})
  |> aggregateWindow(every: ${every}, fn: ${fluxExpression(fn)}, createEmpty: false, timeSrc: "_start")
  ${fluxExpression(isRenamed ? renamed : '')}|> to(bucket: ${to})`),
  );
};

export const taskName = ({ bucket, resolution }: Rollup): string =>
  `kernreaktor ${bucket} to ${resolution}`;

/**
 * A task looks three windows back, so that what came late by less than that is in; what came
 * later, `rollupFlux` makes good. The offset lets the newest flush arrive.
 */
export function rollupTask(rollup: Rollup): string {
  const isMinute = rollup.resolution === '1m';
  const [offset, back] = isMinute ? ['30s', '-3m'] : ['5m', '-3h'];
  // The server reads the options from the text, where it knows literals only.
  const every = fluxExpression(rollup.resolution);
  const task = flux`option task = {name: ${taskName(rollup)}, every: ${every}, offset: ${fluxExpression(offset)}}`;
  const range = flux`start: ${fluxExpression(back)}, stop: now()`;
  return [String(task), ...rollupBody(rollup, range)].join('\n\n');
}

/** The roll-up of one window again, as queries that write. */
export const rollupFlux = (rollup: Rollup, fromMs: number, toMs: number): string[] =>
  rollupBody(rollup, flux`start: ${at(fromMs)}, stop: ${at(toMs)}`);
