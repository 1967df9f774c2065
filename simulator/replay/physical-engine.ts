/**
 * The engine in a physical world: one cluster after another says what its daemons would say, the
 * same `observe`, `decide` and `record` run as in production, and every intent passes the gate it
 * is given before the world does it. A gate may refuse, never change or add one.
 */
import { decide } from '../../backend/decide/decide.ts';
import { emptyHistory, type History, observe, record } from '../../backend/decide/history.ts';
import type { Intent } from '../../backend/decide/plan.ts';
import type { Policy } from '../../backend/decide/policy.ts';
import { noteRefusal } from '../../backend/decide/refusals.ts';
import type { ClusterRecord, NodeRecord } from '../../backend/state/fleet.ts';
import { unseenNode } from '../../backend/state/reduce.ts';
import { hostPower } from './physical-power.ts';
import type { PhysicalWorld } from './physical-world.ts';
import { clusterAt, guestAt, nodeAt } from './records.ts';
import { sampleAt } from './trace.ts';

/** One cluster of a replay: its hosts stand side by side in the world. */
export type ReplayCluster = {
  record: ClusterRecord;
  first: number;
  nodes: NodeRecord[];
  history: History;
};

export type Gate = {
  /** Once a round, before any intent of it. */
  look(world: PhysicalWorld): void;
  /** By which code an intent may not be carried out now, or null. What it passes counts as begun. */
  refusalOf(intent: Intent, cluster: ReplayCluster, world: PhysicalWorld): Promise<string | null>;
};

/** How well the engine foretold: moves whose target came within ten points, and node steps. */
export type Foretold = { moves: number; close: number; steps: number; covered: number };

export type PhysicalPolicy = {
  name: string;
  round(world: PhysicalWorld): Promise<void>;
  foretold?(): Foretold;
};

export type EngineOptions = {
  policy: Policy;
  gate: Gate;
  clusterSize: number;
  /** Hosts of a cluster vote, so that a majority of them must stay awake. */
  hasQuorum: boolean;
};

const megabyte = 2 ** 20;
const nameOf = (host: number): string => `h${String(host).padStart(4, '0')}`;
/** The place behind a name of a host or guest: `h0012` and `g12` are both 12. */
export const placeOf = (name: string): number => Number(name.slice(1));

function clustersOf(world: PhysicalWorld, { clusterSize, hasQuorum }: EngineOptions) {
  const { modelOf } = world.hosts;
  const reference = modelOf.toSorted((a, b) => b.coreMips - a.coreMips)[0]!;
  const clusters: ReplayCluster[] = [];
  for (let first = 0; first < modelOf.length; first += clusterSize) {
    const id = `c${first / clusterSize}`;
    const models = modelOf.slice(first, first + clusterSize);
    const names = models.map((_, place) => nameOf(first + place));
    const nodes = models.map((model, place): NodeRecord => {
      const described = nodeAt(model, reference, {
        members: hasQuorum ? names : null,
        memoryBytes: model.ramMb * megabyte,
      });
      return { ...unseenNode(id, names[place]!), intervalMs: 10_000, ...described };
    });
    clusters.push({ record: clusterAt(id), first, nodes, history: emptyHistory() });
  }
  return clusters;
}

/** Hosts that were on at the start have been for long. */
const longMs = 30 * 86_400_000;
const activeKindOf = { 0: null, 1: null, 2: 'node.wake', 3: 'node.shutdown' } as const;

/** What the daemons of a cluster's hosts would have said by now. */
function tell(world: PhysicalWorld, { first, nodes }: ReplayCluster, names: readonly string[]) {
  const { trace, hosts } = world;
  const sample = Math.floor(world.seconds / trace.stepSeconds);
  const isOn = (place: number) => world.power[first + place] === hostPower.on;
  const online = nodes.filter((_, place) => isOn(place)).map(({ node }) => node);
  nodes.forEach((node, place) => {
    const host = first + place;
    const { coreMips, mips } = hosts.modelOf[host]!;
    let asked = 0;
    node.guests = world.guestsOf[host]!.map((guest) => {
      const wanted = sampleAt(trace, guest, sample) * trace.mips[guest]!;
      asked += wanted;
      return guestAt(names[guest]!, {
        cpuCount: trace.cores[guest]!,
        cpuRatio: wanted / (coreMips * trace.cores[guest]!),
        memoryBytes: trace.ramMb[guest]! * megabyte,
        memoryUsedBytes: world.ramNeeded[guest]! * megabyte,
      });
    });
    const isAwake = isOn(place);
    node.desired = isAwake || world.power[host] === hostPower.booting ? 'awake' : 'asleep';
    node.online = isAwake;
    node.activeKind = activeKindOf[world.power[host] as 0 | 1 | 2 | 3];
    node.sampleAtMs = isAwake ? world.seconds * 1000 : null;
    node.sampledAtWallMs = node.sampleAtMs;
    node.membersOnline = node.facts?.quorum ? online : null;
    node.values = {
      ...node.values!,
      uptimeMs: isAwake ? Math.min(longMs, (world.seconds - world.onSince[host]!) * 1000) : null,
      cpuRatio: asked / mips,
      memoryUsedBytes: world.ramUsed(host) * megabyte,
    };
  });
}

function rememberMoves(
  world: PhysicalWorld,
  { record: { id }, first, nodes, history }: ReplayCluster,
) {
  const inside = world.copies.filter(({ from }) => from >= first && from < first + nodes.length);
  history.movesInFlight.set(
    id,
    inside.map(({ guest, from, to, beganAt }) => ({
      guest: `g${guest}`,
      fromNode: nameOf(from),
      toNode: nameOf(to),
      atMs: beganAt * 1000,
    })),
  );
}

const dayMs = 86_400_000;

/** What production asks SQL for: the moves of the last day. */
function rememberMove({ record: { id }, history }: ReplayCluster, intent: Intent, atMs: number) {
  if (intent.action.kind !== 'guest.migrate') return;
  const recent = (history.moves.get(id) ?? []).filter((move) => atMs - move.atMs < dayMs);
  const { targetNode: toNode } = intent.action.args;
  const move = { guest: intent.target.id, fromNode: intent.executor, toNode, atMs };
  history.moves.set(id, [...recent, move]);
}

/** Carries an intent out. @returns why the world could not, or null */
function perform(world: PhysicalWorld, { action, target }: Intent): string | null {
  if (action.kind === 'guest.migrate') {
    return world.move(placeOf(target.id), placeOf(action.args.targetNode));
  }
  if (action.kind === 'node.wake') return world.wake(placeOf(target.id));
  if (action.kind === 'node.shutdown') return world.sleep(placeOf(target.id));
  return `a trace knows no ${action.kind}`;
}

function rememberSleep(
  { record: { id }, history }: ReplayCluster,
  { target, action }: Intent,
  atMs: number,
) {
  if (action.kind !== 'node.shutdown') return;
  const recent = (history.powerOffs.get(id) ?? []).filter((one) => atMs - one.atMs < dayMs);
  history.powerOffs.set(id, [...recent, { node: target.id, atMs }]);
}

type Prediction = { guest: number; to: number; ratio: number };
const closeRatio = 0.1;

/** Predicted load of targets, held against what the copy found when it arrived. */
class Predictions {
  readonly counted = { moves: 0, close: 0 };
  private open: Prediction[] = [];

  note({ target, action, predicted }: Intent): void {
    const fact = predicted.find(({ name }) => name === 'targetCpuRatio');
    if (action.kind !== 'guest.migrate' || typeof fact?.value !== 'number') return;
    const to = placeOf(action.args.targetNode);
    this.open.push({ guest: placeOf(target.id), to, ratio: fact.value });
  }

  look(world: PhysicalWorld): void {
    const isUnderWay = ({ guest }: Prediction) => world.copies.some((copy) => copy.guest === guest);
    for (const { guest, to, ratio } of this.open.filter((one) => !isUnderWay(one))) {
      if (world.hostOf[guest] !== to) continue;
      this.counted.moves += 1;
      if (Math.abs(world.utilisation(to) - ratio) <= closeRatio) this.counted.close += 1;
    }
    this.open = this.open.filter(isUnderWay);
  }
}

function foretoldOf(clusters: readonly ReplayCluster[], moves: Predictions): Foretold {
  const all = clusters.flatMap(({ history }) => [...history.calibrations.ofCluster.values()]);
  return {
    ...moves.counted,
    steps: all.reduce((sum, { steps }) => sum + steps, 0),
    covered: all.reduce((sum, { covered }) => sum + covered, 0),
  };
}

export function physicalEngine(options: EngineOptions, name = 'kernreaktor'): PhysicalPolicy {
  let clusters: ReplayCluster[] | null = null;
  let names: string[] = [];
  const { policy, gate } = options;
  const predictions = new Predictions();
  return {
    name,
    foretold: () => foretoldOf(clusters ?? [], predictions),
    async round(world) {
      if (clusters === null) {
        clusters = clustersOf(world, options);
        names = world.trace.guestNames.map((_, guest) => `g${guest}`);
      }
      gate.look(world);
      predictions.look(world);
      const nowMs = world.seconds * 1000;
      for (const cluster of clusters) {
        const { record: known, nodes, history } = cluster;
        tell(world, cluster, names);
        rememberMoves(world, cluster);
        observe(history, { cluster: known, nodes }, policy, nowMs);
        const plan = decide({ cluster: known, nodes }, policy, history, nowMs);
        record(history, plan, nowMs);
        for (const intent of plan.intents) {
          const code = await gate.refusalOf(intent, cluster, world);
          const refusal = code ?? perform(world, intent);
          if (refusal !== null) noteRefusal(history, intent, { nowMs, code: code ?? undefined });
          if (refusal === null) rememberSleep(cluster, intent, nowMs);
          if (refusal !== null || intent.target.kind !== 'guest') continue;
          history.lastMovedAtMs.set(`${known.id}/${intent.target.id}`, nowMs);
          rememberMove(cluster, intent, nowMs);
          predictions.note(intent);
        }
      }
    },
  };
}

/** A gate that refuses nothing: the world's own limits are all there is. */
export const openGate: Gate = { look: () => undefined, refusalOf: () => Promise.resolve(null) };
