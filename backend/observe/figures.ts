/**
 * Figures that live elsewhere and are read when somebody asks: name, help, labels and where each
 * comes from. A label that its source no longer names is gone at the next reading. Everything
 * here is cheap to read; what is not is kept by whoever counts it.
 */
import { Counter, Gauge, type Registry } from 'prom-client';

export type Labels = Readonly<Record<string, string>>;
export type Reading = readonly [labels: Labels, value: number];
type Read = () => Iterable<Reading> | Promise<Iterable<Reading>>;

export type Figure = { name: string; help: string; labels: readonly string[] };

export const figures = {
  ingest: { name: 'kr_ingest_total', help: 'Messages by what became of them', labels: ['figure'] },
  broker: { name: 'kr_broker', help: 'Figures of the broker', labels: ['figure'] },
  store: { name: 'kr_store', help: 'Figures of the metrics store', labels: ['figure'] },
  plugs: {
    name: 'kr_power_plugs',
    help: 'Smart plugs: connected, readings, readingsRefused',
    labels: ['figure'],
  },
  nodes: { name: 'kr_nodes', help: 'Nodes by state', labels: ['cluster', 'state'] },
  guests: { name: 'kr_guests', help: 'Guests last seen', labels: ['cluster'] },
  hold: { name: 'kr_hold', help: '1 while HOLD is set', labels: ['cluster'] },
  commands: { name: 'kr_commands', help: 'Commands that are open, by state', labels: ['state'] },
  auditOk: {
    name: 'kr_audit_chain_ok',
    help: '1 when every entry followed the one before it, 0 from the first that did not',
    labels: ['chain'],
  },
  auditEntries: { name: 'kr_audit_entries', help: 'Entries last verified', labels: ['chain'] },
  certificate: {
    name: 'kr_certificate_not_after_seconds',
    help: 'When the certificate of TLS ends, seconds since 1970',
    labels: [],
  },
  forecast: {
    name: 'kr_decide_forecast_total',
    help:
      'Loads of nodes as predicted and as measured, in units summed over the steps judged, ' +
      'how many steps, and how many of them stayed below what was planned for',
    labels: ['cluster', 'figure'],
  },
  effect: {
    name: 'kr_decide_effect_total',
    help:
      'What decisions predicted and what was measured some minutes after them, summed by fact, ' +
      'how many were measured, and how many of them came within 0.1',
    labels: ['cluster', 'fact', 'figure'],
  },
  nodeState: {
    name: 'kr_node_state',
    help: 'State of each node as a number, in the order of the states of DESIGN 7',
    labels: ['cluster', 'node'],
  },
} as const satisfies Record<string, Figure>;

export function addGauge(registry: Registry, { name, help, labels }: Figure, read: Read): void {
  const gauge = new Gauge({
    name,
    help,
    labelNames: [...labels],
    registers: [],
    async collect() {
      const readings = await read();
      this.reset();
      for (const [own, value] of readings) this.set({ ...own }, value);
    },
  });
  registry.registerMetric(gauge);
}

export function addCounter(registry: Registry, { name, help, labels }: Figure, read: Read): void {
  const counter = new Counter({
    name,
    help,
    labelNames: [...labels],
    registers: [],
    async collect() {
      const readings = await read();
      this.reset();
      for (const [own, value] of readings) this.inc({ ...own }, value);
    },
  });
  registry.registerMetric(counter);
}

export const labelled = (label: string, values: Readonly<Record<string, number>>): Reading[] =>
  Object.entries(values).map(([key, value]) => [{ [label]: key }, value]);
