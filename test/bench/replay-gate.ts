/**
 * The guards and the limiter of production as the gate of a replay: the same `evaluate` and
 * `takeTokens`, asked with what the physical world knows. What a trace says nothing of (locks,
 * Ceph, HA, windows, wake proofs) is told as it is in a house where all is well.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { GuardFacts, Load, Move, NodeFact, OtherCommand } from '../../backend/act/guard.ts';
import { type Limits, limitsOf } from '../../backend/act/guard-limits.ts';
import { guards } from '../../backend/act/guards.ts';
import { takeTokens } from '../../backend/act/limiter.ts';
import type { Step } from '../../backend/act/step.ts';
import type { Intent } from '../../backend/decide/plan.ts';
import type { Limiter } from '../../backend/store/sql/schema.ts';
import { hostPower } from '../../simulator/replay/physical-power.ts';
import type { Copy, PhysicalWorld } from '../../simulator/replay/physical-world.ts';
import { placeOf, type ReplayCluster } from '../../simulator/replay/physical-engine.ts';
import * as honest from '../backend/act/guard-samples.ts';

export type GateOptions = {
  limits: Partial<Limits>;
  /** Ids of guards that are left out. */
  without: ReadonlySet<string>;
  hasLimiter: boolean;
};

/** What the guards may know of a world, by place of its hosts; memory in megabytes. */
export type GateWorld = Pick<PhysicalWorld, 'seconds' | 'utilisation' | 'ramUsed'> & {
  hosts: { count: number };
  power: ArrayLike<number>;
  onSince: ArrayLike<number>;
  guestsOf: readonly { length: number }[];
  copies: readonly Pick<Copy, 'guest' | 'from' | 'to'>[];
};

const second = 1_000;
const minuteSeconds = 60;
const daySeconds = 86_400;
/** Fewer minutes say nothing, as in production. */
const minutesMin = 5;
const megabyte = 2 ** 20;
const longMs = 30 * daySeconds * second;

/** SAFETY W4. */
const idleForMs = 40 * minuteSeconds * second;

type Minute = { minute: number; cpuRatio: number; memoryUsedBytes: number };

/** The busiest of each of a host's last minutes; one that it slept through is not among them. */
class Past {
  private readonly minutes: Minute[][] = [];
  private minute = -1;

  look(world: GateWorld, windowMs: number): void {
    const minute = Math.floor(world.seconds / minuteSeconds);
    const isNew = minute !== this.minute;
    this.minute = minute;
    for (let host = 0; host < world.hosts.count; host += 1) {
      const known = (this.minutes[host] ??= []);
      if (world.power[host] !== hostPower.on) continue;
      const now = {
        minute,
        cpuRatio: world.utilisation(host),
        memoryUsedBytes: world.ramUsed(host) * megabyte,
      };
      const last = known.at(-1);
      if (isNew || !last) known.push(now);
      else {
        last.cpuRatio = Math.max(last.cpuRatio, now.cpuRatio);
        last.memoryUsedBytes = Math.max(last.memoryUsedBytes, now.memoryUsedBytes);
      }
      const keptMs = Math.max(windowMs, idleForMs);
      if (known.length > keptMs / (minuteSeconds * second)) known.shift();
    }
  }

  /** As production asks its metrics store. */
  p95(host: number, windowMs: number): Load {
    const after = this.minute - windowMs / (minuteSeconds * second);
    const known = (this.minutes[host] ?? []).filter(({ minute }) => minute >= after);
    const of = (name: 'cpuRatio' | 'memoryUsedBytes'): number | null => {
      if (known.length < minutesMin) return null;
      const sorted = known.map((one) => one[name]).toSorted((a, b) => a - b);
      return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.95))] ?? null;
    };
    return { cpuRatio: of('cpuRatio'), memoryUsedBytes: of('memoryUsedBytes') };
  }
}

/** The rows of the limiter, in memory; it asks for nothing else. */
function limiterRows() {
  const slots = new Map<string, Limiter>();
  return {
    limiterSlots: (cluster: string, names: readonly string[]) =>
      Promise.resolve(names.flatMap((name) => slots.get(`${cluster} ${name}`) ?? [])),
    takeSlot({ cluster, bucket }: { cluster: string; bucket: string }, nowMs: number) {
      slots.set(`${cluster} ${bucket}`, {
        cluster,
        bucket,
        updated_at_ms: nowMs,
        ver: 1,
      } as Limiter);
      return Promise.resolve(true);
    },
    forgetSlots: () => Promise.resolve(),
  };
}

const row = { simulated: 0, time_scale: 1, limits: '{}', settings: '{}' } as const;

/** What a gate remembers of what it let pass. */
class Memory {
  readonly past = new Past();
  readonly moves = new Map<number, { from: string; to: string; at: number }[]>();
  readonly sleeps = new Map<number, number[]>();
  readonly changedAt: Float64Array;
  private readonly seen: number[];

  constructor(world: GateWorld) {
    this.seen = Array.from(world.power);
    this.changedAt = new Float64Array(world.hosts.count).fill(-Infinity);
  }

  look(world: GateWorld, windowMs: number): void {
    this.past.look(world, windowMs);
    this.seen.forEach((before, host) => {
      const power = world.power[host]!;
      if (power !== before) this.changedAt[host] = world.seconds;
      this.seen[host] = power;
    });
  }

  movesOf(guest: number, seconds: number): Move[] {
    const known = this.moves.get(guest) ?? [];
    return known
      .filter(({ at }) => seconds - at < daySeconds)
      .map(({ from, to, at }) => ({ from, to, agoMs: (seconds - at) * second }))
      .toReversed();
  }

  note({ action, target, executor }: Intent, seconds: number): void {
    if (action.kind === 'guest.migrate') {
      const guest = placeOf(target.id);
      const known = this.moves.get(guest) ?? [];
      known.push({ from: executor, to: action.args.targetNode, at: seconds });
      this.moves.set(guest, known);
    } else if (action.kind === 'node.shutdown') {
      const host = placeOf(target.id);
      const recent = (this.sleeps.get(host) ?? []).filter((at) => seconds - at < daySeconds);
      this.sleeps.set(host, [...recent, seconds]);
    }
  }
}

type Scene = { intent: Intent; cluster: ReplayCluster; world: GateWorld };

function underWayIn({ cluster, world }: Omit<Scene, 'intent'>): OtherCommand[] {
  const isHere = (host: number) =>
    host >= cluster.first && host < cluster.first + cluster.nodes.length;
  const nameOf = (host: number) => cluster.nodes[host - cluster.first]!.node;
  const copies = world.copies
    .filter(({ from }) => isHere(from))
    .map(({ guest, from, to }): OtherCommand => ({
      id: `copy-${guest}`,
      kind: 'guest.migrate',
      state: 'RUNNING',
      target: `g${guest}`,
      executor: nameOf(from),
      destination: nameOf(to),
    }));
  const going = cluster.nodes.flatMap(({ node }): OtherCommand[] =>
    world.power[placeOf(node)] === hostPower.stopping
      ? [
          {
            id: `sleep-${node}`,
            kind: 'node.shutdown',
            state: 'RUNNING',
            target: node,
            executor: node,
            destination: null,
          },
        ]
      : [],
  );
  return [...copies, ...going];
}

function nodeOf({ cluster, world }: Omit<Scene, 'intent'>, name: string): NodeFact {
  const host = placeOf(name);
  const known = cluster.nodes[host - cluster.first]!;
  const isOn = world.power[host] === hostPower.on;
  return honest.node(name, {
    online: isOn,
    sampleAgeMs: isOn ? 0 : longMs,
    runningGuests: world.guestsOf[host]!.length,
    facts: honest.nodeFacts({ quorum: known.facts?.quorum ?? null }),
    membersOnline: known.membersOnline,
    uptimeMs: Math.min(longMs, (world.seconds - world.onSince[host]!) * second),
    memoryUsedBytes: known.values?.memoryUsedBytes ?? null,
    memoryTotalBytes: known.values?.memoryTotalBytes ?? null,
    cpuRatio: world.utilisation(host),
    cpuCount: known.values?.cpuCount ?? null,
    desired: known.desired,
  });
}

/** Everything the guards may look at for one intent. */
function factsOf(scene: Scene, memory: Memory, limits: Limits): GuardFacts {
  const { intent, cluster, world } = scene;
  const { kind } = intent.action;
  const others = underWayIn(scene);
  const place = intent.target.kind === 'node' ? placeOf(intent.target.id) : -1;
  const awake = cluster.nodes.filter(({ online }) => online);
  const base: Partial<GuardFacts> = {
    nowMs: world.seconds * second,
    limits,
    target: intent.target,
    executor: nodeOf(scene, intent.executor),
    underWay: others,
    awake: { expected: awake.length, stale: 0, unheard: 0 },
  };
  if (intent.action.kind === 'guest.migrate') {
    const { targetNode } = intent.action.args;
    const guest = placeOf(intent.target.id);
    const sample = cluster.nodes
      .find(({ node }) => node === intent.executor)
      ?.guests?.find(({ id }) => id === intent.target.id);
    return honest.facts(kind, {
      ...base,
      guestNode: intent.executor,
      guest: honest.guest({
        ...(sample && {
          sample: { ...sample, cluster: cluster.record.id, node: intent.executor, sampleAtMs: 0 },
        }),
        moves: memory.movesOf(guest, world.seconds),
      }),
      migrations: {
        outgoing: others.filter(
          ({ executor, kind: what }) => what === 'guest.migrate' && executor === intent.executor,
        ).length,
        incoming: others.filter(({ destination }) => destination === targetNode).length,
      },
      destination: {
        id: targetNode,
        node: nodeOf(scene, targetNode),
        load: memory.past.p95(placeOf(targetNode), limits.loadWindowMs),
      },
    });
  }
  if (kind === 'node.wake') {
    return honest.facts(kind, { ...base, targetNode: nodeOf(scene, intent.target.id) });
  }
  return honest.facts(kind, { ...base, ...powerFactsOf(scene, memory, place) });
}

function powerFactsOf(scene: Scene, memory: Memory, place: number): Partial<GuardFacts> {
  const { intent, cluster, world } = scene;
  const neighbours = cluster.nodes
    .filter(({ node }) => node !== intent.target.id)
    .map(({ node }) => nodeOf(scene, node));
  const going = underWayIn(scene).filter(({ kind }) => kind === 'node.shutdown');
  const changedAt = Math.max(...cluster.nodes.map(({ node }) => memory.changedAt[placeOf(node)]!));
  const quietMs = Math.min(longMs, (world.seconds - changedAt) * second);
  const awake = neighbours.filter(({ online }) => online);
  const sleeps = (memory.sleeps.get(place) ?? []).filter((at) => world.seconds - at < daySeconds);
  const stands = (node: NodeFact): NodeFact => ({ ...node, votesStableForMs: quietMs });
  return {
    targetNode: stands(nodeOf(scene, intent.target.id)),
    powerOffs: going,
    powerOffsMax: awake.length + 1 < 20 ? 1 : Math.floor((awake.length + 1) * 0.1),
    power: honest.power({
      neighbours: neighbours.map(stands),
      inDoubt: going.map(({ target }) => target),
      lastChangeAgoMs: quietMs >= daySeconds * second ? null : quietMs,
      cyclesToday: sleeps.length,
      wakeTable: { isWoken: true, holders: awake.map(({ id }) => id) },
      load: memory.past.p95(place, idleForMs),
      guestBytes: cluster.nodes.reduce(
        (sum, { guests }) =>
          (guests ?? []).reduce((all, { memoryTotalBytes }) => all + (memoryTotalBytes ?? 0), sum),
        0,
      ),
    }),
  };
}

/** The first denial of all guards but those left out. */
function denialOf(kind: CommandKind, facts: GuardFacts, without: ReadonlySet<string>) {
  for (const guard of guards) {
    if (without.has(guard.id) || !guard.appliesTo(kind)) continue;
    const { denial } = guard.verdict(facts);
    if (denial) return denial;
  }
  return null;
}

export type GuardedGate = {
  refusals: Map<string, number>;
  limits: Limits;
  look(world: GateWorld): void;
  refusalOf(intent: Intent, cluster: ReplayCluster, world: GateWorld): Promise<string | null>;
};

export function guardedGate(options: GateOptions): GuardedGate {
  const limits: Limits = { ...limitsOf(row), ...options.limits };
  const refusals = new Map<string, number>();
  // One limiter for all clusters, since some of its limits are for all of them.
  const rows = limiterRows();
  let memory: Memory | null = null;
  const refused = (rule: string, code: string): string => {
    const name = `${rule} ${code}`;
    refusals.set(name, (refusals.get(name) ?? 0) + 1);
    return code;
  };

  async function limited(scene: Scene): Promise<string | null> {
    const { intent, cluster, world } = scene;
    const { id } = cluster.record;
    const others = underWayIn(scene).filter((one) => one.kind === 'node.shutdown');
    const nodes = new Map(cluster.nodes.map((node) => [node.node, node]));
    const step = {
      rows: {
        ...rows,
        countNodes: () => Promise.resolve(nodes.size),
        commandsOf: () => Promise.resolve(others),
      },
      cluster: { ...row, id },
      nowMs: world.seconds * second,
      context: { fleet: () => ({ nodesByCluster: new Map([[id, nodes]]) }) },
    } as unknown as Step;
    const taker = {
      id: 'new',
      kind: intent.action.kind,
      target_id: intent.target.id,
      origin: 'engine',
    } as const;
    return (await takeTokens(step, taker))?.code ?? null;
  }

  return {
    refusals,
    limits,
    look(world) {
      memory ??= new Memory(world);
      memory.look(world, limits.loadWindowMs);
    },
    async refusalOf(intent, cluster, world) {
      const known = (memory ??= new Memory(world));
      const scene = { intent, cluster, world };
      const denial = denialOf(intent.action.kind, factsOf(scene, known, limits), options.without);
      if (denial) return refused(denial.rule, denial.code);
      const limit = options.hasLimiter ? await limited(scene) : null;
      if (limit !== null) return refused('limiter', limit);
      known.note(intent, world.seconds);
      return null;
    },
  };
}
