import { expect, it } from 'vitest';
import { createObservation, type ObservationSources } from '../../../backend/observe/metrics.ts';
import { StoreUnavailable } from '../../../backend/store/sql/errors.ts';
import { emptyFleet, type Fleet, type NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';

const record = (node: string, ageMs: number): NodeRecord => ({
  ...unseenNode('home', node),
  online: true,
  incarnation: 1,
  seq: 1,
  sampleAtMs: 1_000_000 - ageMs,
  sampledAtWallMs: 0,
  values: nodeValues({ cpuRatio: 0.25, powerWatts: null }),
  guests: [guestSample('100', { cpuRatio: 0.5 })],
});

function fleetOf(records: readonly NodeRecord[]): Fleet {
  const fleet = emptyFleet();
  for (const one of records) {
    fleet.nodes.set(`${one.cluster}/${one.node}`, one);
    const nodes = fleet.nodesByCluster.get(one.cluster) ?? new Map<string, NodeRecord>();
    fleet.nodesByCluster.set(one.cluster, nodes.set(one.node, one));
    for (const guest of one.guests ?? []) {
      const known = { ...guest, cluster: one.cluster, node: one.node, sampleAtMs: 0 };
      fleet.guests.set(`${one.cluster}/${guest.id}`, known);
    }
  }
  return fleet;
}

const observe = (more: Partial<ObservationSources> = {}) =>
  createObservation({
    ingest: () => ({}),
    broker: () => ({}),
    store: () => ({}),
    fleet: emptyFleet(),
    nowMs: () => 1_000_000,
    commands: async () => ({}),
    audit: () => [],
    certificateEndsAtMs: () => null,
    detail: 'none',
    ...more,
  });

it('reads the figures of the other parts at each scrape, and drops what they no longer have', async () => {
  const broker: Record<string, number> = { clients: 3, waiting: 1 };
  const ingest: Record<string, number> = { telemetry: 5 };
  const observation = observe({
    ingest: () => ingest,
    broker: () => broker,
    store: () => ({ spoolBytes: 7 }),
    fleet: fleetOf([record('n1', 0), record('n2', 1_000), record('n3', 60_000)]),
    commands: async () => ({ RUNNING: 2, INDETERMINATE: 0 }),
    audit: () => [{ chain: 'home', ok: false, entries: 12 }],
    certificateEndsAtMs: () => 1_800_000_000_000,
    foretold: () => [['home', { predicted: 12.5, measured: 11 }]],
    effects: () => [['home', new Map([['targetCpuRatio', { predicted: 0.8, measured: 0.7 }]])]],
  });
  const first = await observation.render();
  expect(first.contentType).toContain('text/plain');
  const lines = first.text.split('\n');
  expect(lines).toEqual(
    expect.arrayContaining([
      'kr_ingest_total{figure="telemetry"} 5',
      'kr_broker{figure="waiting"} 1',
      'kr_store{figure="spoolBytes"} 7',
      'kr_nodes{cluster="home",state="awake"} 2',
      'kr_nodes{cluster="home",state="stale"} 1',
      'kr_guests{cluster="home"} 1',
      'kr_commands{state="RUNNING"} 2',
      'kr_commands{state="INDETERMINATE"} 0',
      'kr_audit_chain_ok{chain="home"} 0',
      'kr_decide_forecast_total{figure="predicted",cluster="home"} 12.5',
      'kr_decide_forecast_total{figure="measured",cluster="home"} 11',
      'kr_decide_effect_total{figure="measured",cluster="home",fact="targetCpuRatio"} 0.7',
      'kr_certificate_not_after_seconds 1800000000',
    ]),
  );
  ingest['telemetry'] = 9;
  delete broker['waiting'];
  const second = await observation.render();
  expect(second.text).toContain('kr_ingest_total{figure="telemetry"} 9');
  expect(second.text).not.toContain('waiting');
});

it('counts requests by route, transitions by kind and state, decisions by outcome', async () => {
  const observation = observe();
  const seen = { route: '/api/v1/nodes', method: 'GET', status: 200, durationMs: 30 };
  observation.request(seen);
  observation.request({ ...seen, durationMs: 3 });
  observation.commandTransition('guest.start', 'FAILED');
  observation.decision('home', 'acted');
  observation.decided(3);
  observation.refusedLogin();
  observation.folded(-40);
  const { text } = await observation.render();
  const labels = 'route="/api/v1/nodes",method="GET",status="200"';
  expect(text).toContain(`kr_http_request_duration_seconds_count{${labels}} 2`);
  expect(text).toContain(`kr_http_request_duration_seconds_bucket{le="0.005",${labels}} 1`);
  expect(text).toContain('kr_command_transitions_total{kind="guest.start",state="FAILED"} 1');
  expect(text).toContain('kr_decisions_total{cluster="home",outcome="acted"} 1');
  expect(text).toContain('kr_decide_round_duration_seconds_bucket{le="0.005"} 1');
  expect(text).toContain('kr_command_transitions_total{kind="node.wake",state="FAILED"} 0');
  expect(text).toContain('kr_http_refused_logins_total 1');
  expect(text).toContain('kr_ingest_publish_to_state_seconds_sum 0');
});

it('shows nodes and guests one by one only where that was asked for, and only who is heard', async () => {
  const fleet = fleetOf([record('n1', 0), record('n2', 600_000)]);
  const [none, node, guest] = [
    (await observe({ fleet }).render()).text,
    (await observe({ fleet, detail: 'node' }).render()).text,
    (await observe({ fleet, detail: 'guest' }).render()).text,
  ];
  expect(none).not.toMatch(/^(node|guest)_|kr_node_state\{/m);
  expect(node).toContain('node_cpuRatio{cluster="home",node="n1"} 0.25');
  expect(node).toContain('kr_node_state{cluster="home",node="n1"} 6');
  expect(node).toContain('kr_node_state{cluster="home",node="n2"} 4');
  expect(node).not.toMatch(/^node_\w+\{cluster="home",node="n2"/m);
  expect(node).not.toContain('guest_cpuRatio{');
  expect(node, 'a missing value is no series').not.toContain('node_powerWatts{');
  expect(guest).toContain('guest_cpuRatio{cluster="home",guest="100",node="n1"} 0.5');
});

it('has the same figures as points, with the state of every node and without its values', async () => {
  const observation = observe({ fleet: fleetOf([record('n1', 0)]), detail: 'guest' });
  observation.folded(20);
  const points = await observation.points();
  expect(points).toContainEqual({
    name: 'kr_node_state',
    labels: { cluster: 'home', node: 'n1' },
    value: 6,
  });
  expect(points).toContainEqual({
    name: 'kr_ingest_publish_to_state_seconds_bucket',
    labels: { le: '0.025' },
    value: 1,
  });
  expect(points.filter(({ name }) => /^(node|guest)_/.test(name))).toEqual([]);
});

it('shows everything else while the SQL store is away, and hides no mistake of ours', async () => {
  const failing = (cause: Error) =>
    observe({ ingest: () => ({ stored: 7 }), commands: () => Promise.reject(cause) });
  const { text } = await failing(new StoreUnavailable('silent')).render();
  expect(text).toContain('kr_ingest_total{figure="stored"} 7');
  expect(text).not.toMatch(/^kr_commands/m);
  await expect(failing(new Error('ours')).render()).rejects.toThrow('ours');
});
