/**
 * How long a decision takes as fleets grow: observe and decide over made-up clusters whose loads
 * wander, in which some nodes are hot and some empty. Times are of one round of all clusters.
 *
 *   node test/bench/decide.ts --rounds 60
 */
import { parseArgs } from 'node:util';
import { decide } from '../../backend/decide/decide.ts';
import { emptyHistory, observe, record } from '../../backend/decide/history.ts';
import { Policy } from '../../backend/decide/policy.ts';
import { type ClusterRecord, emptyFleet, type NodeRecord } from '../../backend/state/fleet.ts';
import { reduce } from '../../backend/state/reduce.ts';
import { NodeFacts } from '../../broker/contract/facts.ts';
import { noiseAt, seedOf } from '../../simulator/prng.ts';
import { guestSample, message, nodeValues, telemetryBody } from '../support/messages.ts';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '60' } } });
const rounds = Number(values.rounds);
const guestsPerNode = 20;
const roundMs = 10_000;
const policy = Policy.parse({ save: { mode: 'on' } });

type House = { cluster: ClusterRecord; nodes: NodeRecord[] };

/** Records as the fold of telemetry makes them, because how an object was made decides its speed. */
function houseOf(id: string, nodeCount: number): House {
  const cluster = { id, simulated: true, timeScale: 1, hold: false, autonomy: {} };
  const fleet = emptyFleet();
  for (let place = 0; place < nodeCount; place += 1) {
    const guests = Array.from({ length: guestsPerNode }, (_, at) =>
      guestSample(`${place}-${at}`, { cpuCount: 2 }),
    );
    const node = nodeValues({ cpuCount: 16, memoryTotalBytes: 256 * 2 ** 30 });
    const sample = telemetryBody({ node, guests });
    const envelope = message('telemetry', sample, { cluster: id, node: `n${place}` });
    reduce(fleet, { kind: 'telemetry', atMs: 0, message: envelope });
  }
  const nodes = [...fleet.nodes.values()];
  nodes.forEach((node, place) => {
    node.facts = NodeFacts.parse({ singleThreadFactor: 1 + (place % 3) / 10, wattsLoaded: 120 });
  });
  return { cluster: { ...cluster, policyHash: null, policyYaml: null }, nodes };
}

function wander({ nodes }: House, round: number): void {
  nodes.forEach((node, place) => {
    let used = 0;
    node.guests?.forEach((guest, at) => {
      const busy = noiseAt(seedOf(place, at), round / 30);
      guest.cpuRatio = place % 10 === 0 ? 0.5 + busy / 2 : busy / 2;
      used += guest.cpuRatio * (guest.cpuCount ?? 0);
    });
    node.sampleAtMs = round * roundMs;
    if (node.values) node.values.cpuRatio = Math.min(1, used / 16);
  });
}

const at = (sorted: readonly number[], share: number): number =>
  Math.round((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0) * 10) /
  10;

function measure(clusterCount: number, nodesPerCluster: number) {
  const houses = Array.from({ length: clusterCount }, (_, index) =>
    houseOf(`c${index}`, nodesPerCluster),
  );
  const history = emptyHistory();
  const tookMs: number[] = [];
  const cpuMs: number[] = [];
  let intents = 0;
  for (let round = 1; round <= rounds; round += 1) {
    const nowMs = round * roundMs;
    for (const house of houses) wander(house, round);
    const beganMs = performance.now();
    const cpuBefore = process.threadCpuUsage();
    for (const { cluster, nodes } of houses) {
      observe(history, { cluster, nodes }, policy, nowMs);
      const plan = decide({ cluster, nodes }, policy, history, nowMs);
      record(history, plan, nowMs);
      intents += plan.intents.length;
    }
    tookMs.push(performance.now() - beganMs);
    const { user, system } = process.threadCpuUsage(cpuBefore);
    cpuMs.push((user + system) / 1000);
  }
  const sorted = tookMs.toSorted((a, b) => a - b);
  const sortedCpu = cpuMs.toSorted((a, b) => a - b);
  const figures = {
    clusters: clusterCount,
    nodes: clusterCount * nodesPerCluster,
    guests: clusterCount * nodesPerCluster * guestsPerNode,
    medianMs: at(sorted, 0.5),
    p99Ms: at(sorted, 0.99),
    maxMs: at(sorted, 1),
    // What the thread itself used: the same on a busy machine.
    cpuMedianMs: at(sortedCpu, 0.5),
    cpuP99Ms: at(sortedCpu, 0.99),
    intents,
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  return figures;
}

const results = [
  measure(128, 16),
  measure(1, 2048),
  measure(1, 256),
  measure(1, 1024),
  measure(1, 4096),
  measure(1, 8192),
];
process.stdout.write(`${JSON.stringify({ rounds, results })}\n`);
