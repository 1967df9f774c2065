/**
 * How long a decision takes as fleets grow: observe and decide over made-up clusters whose loads
 * wander, in which some nodes are hot; then over clusters in which nothing can be done: all nodes hot,
 * all too full to empty one, every second one empty. Times are of one round of all clusters.
 *
 *   node test/bench/decide.ts --rounds 200
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

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '200' } } });
const rounds = Number(values.rounds);
const guestsPerNode = 20;
const roundMs = 10_000;
const usual = Policy.parse({ save: { mode: 'on' } });
// Heat counts at once and saving is looked at in each round, so that a short run meets both.
const eager = Policy.parse({
  save: { mode: 'on', everyMs: 0 },
  relieve: { cpuRatio: { above: 0.85, clear: 0.75, forMs: 0 } },
});

const crowds = ['wandering', 'hot', 'full', 'half empty'] as const;
type Crowd = (typeof crowds)[number];

/** What a guest uses, `busy` and the hour aside. */
function cpuOf(crowd: Crowd, place: number, busy: number): number {
  if (crowd === 'hot') return 0.42 + busy / 10;
  if (crowd === 'full') return 0.29 + (busy * (place % 7)) / 50;
  return crowd === 'wandering' && place % 10 === 0 ? 0.5 + busy / 2 : busy / 2;
}

type House = { cluster: ClusterRecord; nodes: NodeRecord[]; crowd: Crowd };

/** Records as the fold of telemetry makes them, because how an object was made decides its speed. */
function houseOf(id: string, nodeCount: number, crowd: Crowd): House {
  const cluster = { id, simulated: true, timeScale: 1, hold: false, autonomy: {} };
  const fleet = emptyFleet();
  for (let place = 0; place < nodeCount; place += 1) {
    const isEmpty = crowd === 'half empty' && place % 2 === 0;
    const guests = Array.from({ length: isEmpty ? 0 : guestsPerNode }, (_, at) =>
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
  return { cluster: { ...cluster, policyHash: null, policyYaml: null }, nodes, crowd };
}

function wander({ nodes, crowd }: House, round: number): void {
  nodes.forEach((node, place) => {
    let used = 0;
    node.guests?.forEach((guest, at) => {
      const busy = noiseAt(seedOf(place, at), round / 30);
      guest.cpuRatio = cpuOf(crowd, place, busy);
      used += guest.cpuRatio * (guest.cpuCount ?? 0);
    });
    node.sampleAtMs = round * roundMs;
    if (node.values) node.values.cpuRatio = Math.min(1, used / 16);
  });
}

const at = (sorted: readonly number[], share: number): number =>
  Math.round((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0) * 10) /
  10;

function measure(clusterCount: number, nodesPerCluster: number, crowd: Crowd = 'wandering') {
  const policy = crowd === 'wandering' ? usual : eager;
  const houses = Array.from({ length: clusterCount }, (_, index) =>
    houseOf(`c${index}`, nodesPerCluster, crowd),
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
    crowd,
    clusters: clusterCount,
    nodes: clusterCount * nodesPerCluster,
    guests: clusterCount * nodesPerCluster * guestsPerNode,
    medianMs: at(sorted, 0.5),
    p99Ms: at(sorted, 0.99),
    maxMs: at(sorted, 1),
    firstMs: Math.round(tookMs[0] ?? 0),
    // What the thread itself used: the same on a busy machine.
    cpuMedianMs: at(sortedCpu, 0.5),
    cpuP99Ms: at(sortedCpu, 0.99),
    cpuMaxMs: at(sortedCpu, 1),
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
  ...crowds.slice(1).flatMap((crowd) => [measure(1, 512, crowd), measure(1, 2048, crowd)]),
];
process.stdout.write(`${JSON.stringify({ rounds, results })}\n`);
