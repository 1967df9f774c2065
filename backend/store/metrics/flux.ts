/**
 * Every Flux query we ask, and nothing else that knows Flux. Filters come right after the range,
 * where the server pushes them down to storage. Names from outside are escaped by the client's
 * template; metrics are checked against the catalogue before they come here. Pure.
 */
import type { Entity } from '../../../broker/contract/metrics.ts';
import type { RangeQuery } from '../ports.ts';
import {
  flux,
  fluxDateTime,
  fluxDuration,
  fluxExpression,
  type ParameterizedQuery,
} from './influx-client.ts';

type Scope = { cluster: string; entity: Entity; node?: string; guest?: string };

const at = (timeMs: number) => fluxDateTime(new Date(timeMs).toISOString());

const scoped = ({ cluster, entity, node, guest }: Scope) =>
  fluxExpression(
    [
      flux`|> filter(fn: (r) => r._measurement == ${entity} and r.cluster == ${cluster})`,
      ...(node === undefined ? [] : [flux`|> filter(fn: (r) => r.node == ${node})`]),
      ...(guest === undefined ? [] : [flux`|> filter(fn: (r) => r.guest == ${guest})`]),
    ].join('\n  '),
  );

const fieldFilter = (metrics: readonly string[]) =>
  fluxExpression(metrics.map((name) => String(flux`r._field == ${name}`)).join(' or '));

/**
 * Columns: node, guest, _field, _time (start of the step, or of the range), _value. Our aggregates
 * are named as Flux names its functions.
 */
export const rangeFlux = (bucket: string, query: RangeQuery): ParameterizedQuery =>
  flux`from(bucket: ${bucket})
  |> range(start: ${at(query.fromMs)}, stop: ${at(query.toMs)})
  ${scoped(query)}
  |> filter(fn: (r) => ${fieldFilter(query.metrics)})
  |> aggregateWindow(every: ${fluxDuration(`${query.stepMs}ms`)}, fn: ${fluxExpression(query.aggregate)}, createEmpty: false, timeSrc: "_start")
  |> keep(columns: ["node", "guest", "_field", "_time", "_value"])`;

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
