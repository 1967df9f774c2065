/**
 * Every measured value of every node, and of every guest, for a Prometheus that scrapes: off by
 * default. A node costs 33 series, a guest 14: 2048 nodes x 20 guests are 67,584 and 573,440.
 * The names are those that InfluxDB's line protocol becomes in VictoriaMetrics, so that one query
 * serves both. A missing value is no series, never 0.
 */
import { Gauge, type Registry } from 'prom-client';
import { type Entity, metricsOf } from '../../broker/contract/metrics.ts';
import { type Fleet, nodeStates } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import type { Reading } from './figures.ts';

export const details = ['none', 'node', 'guest'] as const;
export type Detail = (typeof details)[number];

/** `node_cpuRatio`: measurement and field of the store, joined as VictoriaMetrics joins them. */
export const seriesName = (entity: Entity, metric: string): string => `${entity}_${metric}`;

export function* nodeStateReadings(fleet: Fleet, nowMs: number): Generator<Reading> {
  for (const record of fleet.nodes.values()) {
    const { cluster, node } = record;
    yield [{ cluster, node }, nodeStates.indexOf(nodeState(record, nowMs))];
  }
}

type Row = { labels: Record<string, string>; values: Readonly<Record<string, unknown>> };

/** What is stale would look alive for ever: a scraper sees nothing of a node that is not heard. */
function* rowsOf(entity: Entity, fleet: Fleet, nowMs: number): Generator<Row> {
  for (const record of fleet.nodes.values()) {
    const { cluster, node, values, guests } = record;
    const state = nodeState(record, nowMs);
    if (state === 'lost' || state === 'stale' || state === 'asleep') continue;
    if (entity === 'node') {
      if (values !== null) yield { labels: { cluster, node }, values };
      continue;
    }
    for (const guest of guests ?? []) {
      yield { labels: { cluster, guest: guest.id, node }, values: guest };
    }
  }
}

function addEntity(registry: Registry, entity: Entity, rows: () => Iterable<Row>): void {
  const labelNames = entity === 'node' ? ['cluster', 'node'] : ['cluster', 'guest', 'node'];
  for (const { name, help, unit } of metricsOf(entity)) {
    const gauge = new Gauge({
      name: seriesName(entity, name),
      help: `${help} (${unit})`,
      labelNames,
      registers: [],
      collect() {
        this.reset();
        for (const { labels, values } of rows()) {
          const value = values[name];
          if (typeof value === 'number') this.set(labels, value);
        }
      },
    });
    registry.registerMetric(gauge);
  }
}

/** `nowMs` is monotonic. */
export function addDetail(
  registry: Registry,
  detail: Detail,
  { fleet, nowMs }: { fleet: Fleet; nowMs: () => number },
): void {
  if (detail === 'none') return;
  addEntity(registry, 'node', () => rowsOf('node', fleet, nowMs()));
  if (detail === 'guest') addEntity(registry, 'guest', () => rowsOf('guest', fleet, nowMs()));
}
