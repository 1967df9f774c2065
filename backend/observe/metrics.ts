/**
 * The server's own figures in Prometheus' format; alone imports prom-client. Counters that live
 * elsewhere are read when somebody scrapes, so observing costs nothing in between.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Figures of the other parts by name, read at each scrape. */
export type Figures = () => Record<string, number>;

export type ObservationSources = {
  ingest: Figures;
  broker: Figures;
  /** Nodes by state. */
  nodes: Figures;
  guests: () => number;
};

export type Observation = {
  request(seen: { route: string; method: string; status: number; durationMs: number }): void;
  commandTransition(kind: string, state: string): void;
  refusedLogin(): void;
  /** Time from a sample's intended instant to its place in the state. */
  folded(latencyMs: number): void;
  render(): Promise<{ contentType: string; text: string }>;
};

type GaugeOptions = { registry: Registry; name: string; help: string; label: string };

/** `reset` drops the labels that a source no longer has. */
function gaugeOf({ registry, name, help, label }: GaugeOptions, read: Figures): void {
  const gauge = new Gauge({
    name,
    help,
    labelNames: [label],
    registers: [],
    collect() {
      this.reset();
      for (const [key, value] of Object.entries(read())) this.set({ [label]: key }, value);
    },
  });
  registry.registerMetric(gauge);
}

function countersOf({ registry, name, help, label }: GaugeOptions, read: Figures): void {
  const counter = new Counter({
    name,
    help,
    labelNames: [label],
    registers: [],
    collect() {
      this.reset();
      for (const [key, value] of Object.entries(read())) this.inc({ [label]: key }, value);
    },
  });
  registry.registerMetric(counter);
}

export function createObservation(sources: ObservationSources): Observation {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'kr_' });
  const requests = new Histogram({
    name: 'kr_http_request_duration_seconds',
    help: 'HTTP requests by route, method and status',
    labelNames: ['route', 'method', 'status'],
    buckets: [0.005, 0.025, 0.1, 0.25, 1, 5],
    registers: [registry],
  });
  const transitions = new Counter({
    name: 'kr_command_transitions_total',
    help: 'Commands that entered a state',
    labelNames: ['kind', 'state'],
    registers: [registry],
  });
  const refusedLogins = new Counter({
    name: 'kr_http_refused_logins_total',
    help: 'Sign-ins refused for a wrong name, password or delay',
    registers: [registry],
  });
  const publishToState = new Histogram({
    name: 'kr_ingest_publish_to_state_seconds',
    help: 'From the intended sampling time to being part of the state, by two clocks',
    buckets: [0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2, 5, 15, 60],
    registers: [registry],
  });
  const ingest = { name: 'kr_ingest_total', help: 'Messages by what became of them' };
  const broker = { name: 'kr_broker', help: 'Figures of the broker' };
  const nodes = { name: 'kr_nodes', help: 'Nodes by state' };
  countersOf({ registry, label: 'figure', ...ingest }, sources.ingest);
  gaugeOf({ registry, label: 'figure', ...broker }, sources.broker);
  gaugeOf({ registry, label: 'state', ...nodes }, sources.nodes);
  const guests = new Gauge({
    name: 'kr_guests',
    help: 'Guests last seen',
    registers: [],
    collect() {
      this.set(sources.guests());
    },
  });
  registry.registerMetric(guests);
  return {
    request: ({ route, method, status, durationMs }) =>
      requests.observe({ route, method, status }, durationMs / 1_000),
    commandTransition: (kind, state) => transitions.inc({ kind, state }),
    refusedLogin: () => refusedLogins.inc(),
    // A daemon's clock may run ahead; a negative latency would spoil the sum.
    folded: (latencyMs) => publishToState.observe(Math.max(0, latencyMs) / 1_000),
    render: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  };
}
