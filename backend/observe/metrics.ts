/**
 * The server's own figures: in Prometheus' format at `/metrics`, and as points for a metrics store
 * on another server, under the same names. This folder alone imports prom-client. Counters that
 * live elsewhere are read when somebody asks, so observing costs nothing in between.
 */
import { collectDefaultMetrics, Counter, Histogram, Registry } from 'prom-client';
import { CommandKind, commandStates, isTerminal } from '../../broker/contract/command.ts';
import type { Fleet } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import { StoreUnavailable } from '../store/sql/errors.ts';
import { addDetail, type Detail, nodeStateReadings } from './detail.ts';
import { addCounter, addGauge, figures, labelled, type Reading } from './figures.ts';

type Values = Record<string, number>;
export type ObservationSources = {
  ingest: () => Values;
  broker: () => Values;
  store: () => Values;
  /** Absent where no node hangs on a plug. */
  plugs?: () => Values;
  fleet: Fleet;
  /** Monotonic ms. */
  nowMs: () => number;
  /** Open commands by state. */
  commands: () => Promise<Values>;
  /** What the last verification of each audit chain found. */
  audit: () => Iterable<{ chain: string; ok: boolean; entries: number }>;
  /** How loads came beside what was foretold, by cluster; absent where nothing is decided. */
  foretold?: () => Iterable<readonly [cluster: string, figures: Values]>;
  /** What decisions promised beside what came, by cluster and fact; absent likewise. */
  effects?: () => Iterable<readonly [cluster: string, byFact: ReadonlyMap<string, Values>]>;
  /** Wall ms; null without TLS. */
  certificateEndsAtMs: () => number | null;
  detail: Detail;
};

export type Point = { name: string; labels: Readonly<Record<string, string>>; value: number };

export type Observation = {
  request(seen: { route: string; method: string; status: number; durationMs: number }): void;
  commandTransition(kind: string, state: string): void;
  decision(cluster: string, outcome: string): void;
  oscillation(cluster: string): void;
  refusal(cluster: string, rule: string): void;
  /** Time that one cluster's decide round took. */
  decided(durationMs: number): void;
  refusedLogin(): void;
  /** Time from a sample's intended instant to its place in the state. */
  folded(latencyMs: number): void;
  render(): Promise<{ contentType: string; text: string }>;
  /** Everything but the values of nodes and guests, which the store has anyway. */
  points(): Promise<Point[]>;
};

function* stateReadings({ fleet, nowMs }: ObservationSources): Generator<Reading> {
  for (const [cluster, nodes] of fleet.nodesByCluster) {
    const counts: Values = {};
    for (const record of nodes.values()) {
      const state = nodeState(record, nowMs());
      counts[state] = (counts[state] ?? 0) + 1;
    }
    for (const [state, count] of Object.entries(counts)) yield [{ cluster, state }, count];
  }
}

function guestReadings({ fleet }: ObservationSources): Reading[] {
  const counts = new Map([...fleet.clusters.keys()].map((cluster) => [cluster, 0]));
  for (const { cluster } of fleet.guests.values()) {
    counts.set(cluster, (counts.get(cluster) ?? 0) + 1);
  }
  return [...counts].map(([cluster, count]): Reading => [{ cluster }, count]);
}

/** While the SQL store is away its own figure is missing; all others are wanted just then. */
async function commandReadings({ commands }: ObservationSources): Promise<Reading[]> {
  try {
    return labelled('state', await commands());
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error;
    return [];
  }
}

function addSources(registry: Registry, sources: ObservationSources): void {
  const { ingest, broker, store, fleet, audit, certificateEndsAtMs } = sources;
  addCounter(registry, figures.ingest, () => labelled('figure', ingest()));
  addGauge(registry, figures.broker, () => labelled('figure', broker()));
  addGauge(registry, figures.store, () => labelled('figure', store()));
  addGauge(registry, figures.plugs, () => labelled('figure', sources.plugs?.() ?? {}));
  addGauge(registry, figures.nodes, () => stateReadings(sources));
  addGauge(registry, figures.guests, () => guestReadings(sources));
  addGauge(registry, figures.hold, () =>
    [...fleet.clusters.values()].map(({ id, hold }): Reading => [{ cluster: id }, Number(hold)]),
  );
  addGauge(registry, figures.commands, () => commandReadings(sources));
  addGauge(registry, figures.auditOk, () =>
    [...audit()].map(({ chain, ok }): Reading => [{ chain }, Number(ok)]),
  );
  addGauge(registry, figures.auditEntries, () =>
    [...audit()].map(({ chain, entries }): Reading => [{ chain }, entries]),
  );
  addCounter(registry, figures.forecast, () =>
    [...(sources.foretold?.() ?? [])].flatMap(([cluster, values]) =>
      labelled('figure', values).map(([labels, value]): Reading => [{ ...labels, cluster }, value]),
    ),
  );
  addCounter(registry, figures.effect, () =>
    [...(sources.effects?.() ?? [])].flatMap(([cluster, byFact]) =>
      [...byFact].flatMap(([fact, values]) =>
        labelled('figure', values).map(([own, value]): Reading => [
          { ...own, cluster, fact },
          value,
        ]),
      ),
    ),
  );
  addGauge(registry, figures.certificate, () => {
    const endsAtMs = certificateEndsAtMs();
    return endsAtMs === null ? [] : [[{}, endsAtMs / 1_000]];
  });
}

const seconds = [0.001, 0.005, 0.025, 0.1, 0.25, 1, 5];

function addOwn(registry: Registry, fleet: Fleet) {
  const registers = [registry];
  return {
    requests: new Histogram({
      name: 'kr_http_request_duration_seconds',
      help: 'HTTP requests by route, method and status',
      labelNames: ['route', 'method', 'status'],
      buckets: [0.005, 0.025, 0.1, 0.25, 1, 5],
      registers,
    }),
    transitions: new Counter({
      name: 'kr_command_transitions_total',
      help: 'Commands that entered a state',
      labelNames: ['kind', 'state'],
      registers,
    }),
    oscillations: new Counter({
      name: 'kr_decide_oscillations_total',
      help: 'Times that the engine saw guests go to and fro and stopped itself',
      labelNames: ['cluster'],
      registers,
      // A counter that begins with its first event hides it from every rate.
      collect() {
        for (const cluster of fleet.nodesByCluster.keys()) this.inc({ cluster }, 0);
      },
    }),
    refusals: new Counter({
      name: 'kr_decide_refusals_total',
      help: 'Nodes and guests that a rule newly left alone',
      labelNames: ['cluster', 'rule'],
      registers,
    }),
    decisions: new Counter({
      name: 'kr_decisions_total',
      help: 'Decisions that were kept, by outcome',
      labelNames: ['cluster', 'outcome'],
      registers,
    }),
    rounds: new Histogram({
      name: 'kr_decide_round_duration_seconds',
      help: 'One decide round of one cluster',
      buckets: seconds,
      registers,
    }),
    refusedLogins: new Counter({
      name: 'kr_http_refused_logins_total',
      help: 'Sign-ins refused for a wrong name, password or delay',
      registers,
    }),
    publishToState: new Histogram({
      name: 'kr_ingest_publish_to_state_seconds',
      help: 'From the intended sampling time to being part of the state, by two clocks',
      buckets: [0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2, 5, 15, 60],
      registers,
    }),
  };
}

/** A counter that begins with its first event hides it from every rate: those of ends begin at 0. */
function beginAtZero(transitions: Counter<'kind' | 'state'>): void {
  const ends = commandStates.filter((state) => isTerminal(state) || state === 'INDETERMINATE');
  for (const kind of CommandKind.options) {
    for (const state of ends) transitions.inc({ kind, state }, 0);
  }
}

async function pointsOf(registries: readonly Registry[]): Promise<Point[]> {
  const all = await Promise.all(registries.map((registry) => registry.getMetricsAsJSON()));
  return all.flat().flatMap(({ name, values }) =>
    values.map((entry) => ({
      // A histogram names its parts itself.
      name: (entry as { metricName?: string }).metricName ?? name,
      labels: Object.fromEntries(
        Object.entries(entry.labels).map(([label, value]) => [label, String(value)]),
      ),
      value: entry.value,
    })),
  );
}

export function createObservation(sources: ObservationSources): Observation {
  const { fleet, nowMs, detail } = sources;
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'kr_' });
  const own = addOwn(registry, fleet);
  beginAtZero(own.transitions);
  addSources(registry, sources);
  // One series per node: always among the points, at /metrics only where detail is wanted.
  const states = new Registry();
  addGauge(states, figures.nodeState, () => nodeStateReadings(fleet, nowMs()));
  const values = new Registry();
  addDetail(values, detail, { fleet, nowMs });
  const shown = detail === 'none' ? registry : Registry.merge([registry, states, values]);
  return {
    request: ({ route, method, status, durationMs }) =>
      own.requests.observe({ route, method, status }, durationMs / 1_000),
    commandTransition: (kind, state) => own.transitions.inc({ kind, state }),
    oscillation: (cluster) => own.oscillations.inc({ cluster }),
    refusal: (cluster, rule) => own.refusals.inc({ cluster, rule }),
    decision: (cluster, outcome) => own.decisions.inc({ cluster, outcome }),
    decided: (durationMs) => own.rounds.observe(durationMs / 1_000),
    refusedLogin: () => own.refusedLogins.inc(),
    // A daemon's clock may run ahead; a negative latency would spoil the sum.
    folded: (latencyMs) => own.publishToState.observe(Math.max(0, latencyMs) / 1_000),
    render: async () => ({ contentType: shown.contentType, text: await shown.metrics() }),
    points: () => pointsOf([registry, states]),
  };
}
