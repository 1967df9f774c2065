/**
 * A simulated cluster over some minutes of the past, written into a real VictoriaMetrics exactly as
 * the backend writes it: samples by the store's lines, the server's own figures by the publisher's.
 */
import { createObservation, type Observation } from '../../backend/observe/metrics.ts';
import { linesOfPoints } from '../../backend/observe/publisher.ts';
import { emptyFleet, type NodeRecord } from '../../backend/state/fleet.ts';
import { escape } from '../../backend/store/metrics/influx-client.ts';
import { linesOf } from '../../backend/store/metrics/lines.ts';
import { storedSample } from '../../backend/store/stored-sample.ts';
import { advance } from '../../simulator/world/advance.ts';
import { buildFleetWorld } from '../../simulator/world/build.ts';
import type { World } from '../../simulator/world/model.ts';
import { sampleNode } from '../../simulator/world/sample.ts';
import { unseenNode } from '../../backend/state/reduce.ts';

const stepMs = 15_000;
const dayMs = 86_400_000;

/** What may go wrong; a fault changes it once. */
export type Circumstances = {
  ingest: Record<string, number>;
  store: Record<string, number>;
  commands: Record<string, number>;
  audit: { chain: string; ok: boolean; entries: number }[];
  certificateEndsAtMs: number;
  /** From sampling to state. */
  lagMs: number;
  /** Nodes that nobody hears any more. */
  lost: Set<string>;
  /** Of the memory of each node; null: as the world says. */
  memoryUsedRatio: number | null;
  /** The server itself is gone. */
  isSilent: boolean;
};

export type Fault = (circumstances: Circumstances, observation: Observation) => void;

const wellAt = (nowMs: number): Circumstances => ({
  ingest: { received: 0, stored: 0, dropped: 0 },
  store: { spoolBytes: 0, refusedLines: 0 },
  commands: { RUNNING: 0, INDETERMINATE: 0 },
  audit: [{ chain: 'sim-001', ok: true, entries: 9 }],
  certificateEndsAtMs: nowMs + 90 * dayMs,
  lagMs: 40,
  lost: new Set(),
  memoryUsedRatio: null,
  isSilent: false,
});

/** Samples of all nodes that are heard, as lines, and what the server then knows of them. */
function sampleAll(
  world: World,
  nowMs: number,
  now: Circumstances,
  nodes: Map<string, NodeRecord>,
) {
  const lines: string[] = [];
  advance(world, nowMs);
  for (const each of world.nodes.values()) {
    const { cluster, node, memoryBytes } = each.spec;
    const { node: seen, guests } = sampleNode(world, each, nowMs);
    if (now.lost.has(node)) continue;
    const used =
      now.memoryUsedRatio === null ? {} : { memoryUsedBytes: now.memoryUsedRatio * memoryBytes };
    const values = { ...seen, ...used };
    const seq = (nodes.get(node)?.seq ?? 0) + 1;
    const sample = { cluster, node, incarnation: 1, seq, sampledAtMs: nowMs };
    lines.push(...linesOf(storedSample(sample, { values, guests: guests ?? [] })));
    nodes.set(node, {
      ...unseenNode(cluster, node),
      online: true,
      ...sample,
      values,
      guests,
      sampleAtMs: nowMs,
      sampledAtWallMs: nowMs,
      intervalMs: stepMs,
    });
  }
  return lines;
}

export type Story = { fromMs: number; toMs: number; fault?: { atMs: number; happens: Fault } };

/** Every line of the story, in order of time. */
export async function linesOfStory({ fromMs, toMs, fault }: Story): Promise<string[]> {
  const world = buildFleetWorld({
    seed: 7,
    startMs: fromMs,
    timeScale: 1,
    nodes: 3,
    nodesPerCluster: 3,
    guestsPerNode: 4,
    clusterPrefix: 'sim',
  });
  const fleet = emptyFleet();
  const nodes = new Map<string, NodeRecord>();
  const now = wellAt(fromMs);
  let nowMs = fromMs;
  const observation = createObservation({
    ingest: () => now.ingest,
    broker: () => ({ clients: 3, preAuthSockets: 0 }),
    store: () => now.store,
    fleet,
    nowMs: () => nowMs,
    commands: async () => now.commands,
    audit: () => now.audit,
    certificateEndsAtMs: () => now.certificateEndsAtMs,
    detail: 'none',
  });
  const lines: string[] = [];
  let hasHappened = false;
  for (; nowMs < toMs; nowMs += stepMs) {
    if (fault && !hasHappened && nowMs >= fault.atMs) {
      hasHappened = true;
      fault.happens(now, observation);
    }
    lines.push(...sampleAll(world, nowMs, now, nodes));
    for (const record of nodes.values())
      fleet.nodes.set(`${record.cluster}/${record.node}`, record);
    fleet.nodesByCluster.set('sim-001', nodes);
    now.ingest['received'] = (now.ingest['received'] ?? 0) + nodes.size;
    now.ingest['stored'] = now.ingest['received'];
    for (let node = 0; node < nodes.size; node += 1) observation.folded(now.lagMs);
    observation.decided(2);
    if (now.isSilent) continue;
    lines.push(...linesOfPoints(await observation.points(), (tag) => escape.tag(tag), nowMs));
  }
  return lines;
}
