/**
 * A house in virtual time: what its daemons would tell, round by round, and either nobody who acts,
 * while all is recorded as a backtest reads it, or the engine of production under the guards and
 * the limiter of production, acting on the very world. The load is the same in both.
 */
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory, type Move, observe, record } from '../../../backend/decide/history.ts';
import type { Intent } from '../../../backend/decide/plan.ts';
import type { Policy } from '../../../backend/decide/policy.ts';
import { noteRefusal } from '../../../backend/decide/refusals.ts';
import type { PowerOff } from '../../../backend/decide/rest.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { hostPower } from '../../../simulator/replay/physical-power.ts';
import type { ReplayCluster } from '../../../simulator/replay/physical-engine.ts';
import { advance, begin } from '../../../simulator/world/advance.ts';
import { factsOf, guestFactsOf } from '../../../simulator/world/facts.ts';
import type { World, WorldNode } from '../../../simulator/world/model.ts';
import { settleEnergy } from '../../../simulator/world/power.ts';
import { sampleNode } from '../../../simulator/world/sample.ts';
import { homeCluster } from '../../support/records.ts';
import type { GateWorld, GuardedGate } from '../replay-gate.ts';

const dayMs = 86_400_000;
const joulesPerKwh = 3_600_000;
const megabyte = 2 ** 20;

export const houseCluster = homeCluster();

const desiredOf = ({ power }: WorldNode): NodeRecord['desired'] =>
  power === 'off' || power === 'stopping' ? 'asleep' : 'awake';
const activeKindOf = { off: null, on: null, booting: 'node.wake', stopping: 'node.shutdown' };
const powerOf = hostPower;

/** A house that tells of itself; `tell` once a round. */
export class Live {
  readonly world: World;
  readonly nodes: WorldNode[];
  readonly records: NodeRecord[];
  private readonly standing: string[];

  constructor(world: World) {
    this.world = world;
    this.nodes = [...world.clusters.get('home')!.nodes];
    this.records = this.nodes.map(({ spec }) => unseenNode('home', spec.node));
    this.standing = this.nodes.map(() => '');
  }

  tell(nowMs: number, intervalMs: number): void {
    advance(this.world, nowMs);
    this.nodes.forEach((node, place) => {
      const known = this.records[place]!;
      known.desired = desiredOf(node);
      known.activeKind = activeKindOf[node.power];
      known.online = node.power === 'on';
      known.intervalMs = intervalMs;
      if (node.power !== 'on') {
        if (node.power === 'off') known.guests = [];
        return;
      }
      const sample = sampleNode(this.world, node, nowMs);
      known.values = sample.node;
      known.guests = sample.guests;
      known.membersOnline = sample.membersOnline;
      known.sampleAtMs = nowMs;
      known.sampledAtWallMs = nowMs;
      // What lasts is told anew when guests or members come, go or change.
      const members = this.world.clusters.get('home')!.online.join();
      const sizes = node.guests.map(({ spec, cpuLimit }) => `${spec.id} ${cpuLimit}`);
      const standing = `${sizes.join()} ${members}`;
      if (standing === this.standing[place]) return;
      this.standing[place] = standing;
      known.facts = factsOf(this.world, node);
      known.guestFactsJson = JSON.stringify(node.guests.map(guestFactsOf));
    });
  }

  /** Energy of the whole house since it was built. */
  kwh(): number {
    let joules = 0;
    for (const node of this.nodes) {
      settleEnergy(this.world, node, this.world.nowMs);
      joules += node.joules;
    }
    return joules / joulesPerKwh;
  }
}

const placesOf = (live: Live) => new Map(live.nodes.map(({ spec }, place) => [spec.node, place]));

/** The house as the gate looks at it. */
function gateWorldOf(live: Live, startMs: number): GateWorld {
  const { world, nodes } = live;
  const places = placesOf(live);
  return {
    get seconds() {
      return (world.nowMs - startMs) / 1000;
    },
    hosts: { count: nodes.length },
    get power() {
      return nodes.map(({ power }) => powerOf[power]);
    },
    get onSince() {
      return nodes.map(({ bootedAtMs }) => (bootedAtMs - startMs) / 1000);
    },
    get guestsOf() {
      return nodes.map(({ guests }) => guests);
    },
    get copies() {
      return world.pending.flatMap(({ kind, guest, node, target }) =>
        kind === 'guest.migrate' && guest && target
          ? [
              {
                guest: Number(guest.spec.id.slice(1)),
                from: places.get(node.spec.node)!,
                to: places.get(target.spec.node)!,
              },
            ]
          : [],
      );
    },
    utilisation: (host) => live.records[host]!.values?.cpuRatio ?? 0,
    ramUsed: (host) => (live.records[host]!.values?.memoryUsedBytes ?? 0) / megabyte,
  };
}

export type Lived = {
  kwh: number;
  moves: number;
  /** Moves that the world itself refused, for want of memory on the target. */
  failed: number;
  wakes: number;
  sleeps: number;
  /** Node-minutes in which a node's cpu lay above the policy's threshold. */
  minutesOver: number;
  refusals: ReadonlyMap<string, number>;
  rounds: number;
};

type Span = { startMs: number; days: number; roundMs: number };

const within = <T extends { atMs: number }>(list: readonly T[], nowMs: number): T[] =>
  list.filter(({ atMs }) => nowMs - atMs < dayMs);

/** Lets the policy act for some days. */
export async function live(
  world: World,
  { startMs, days, roundMs }: Span,
  { policy, gate }: { policy: Policy; gate: GuardedGate },
): Promise<Lived> {
  const house = new Live(world);
  const history = emptyHistory();
  const seen = gateWorldOf(house, startMs);
  const cluster: ReplayCluster = { record: houseCluster, first: 0, nodes: house.records, history };
  const counted = { moves: 0, failed: 0, wakes: 0, sleeps: 0, minutesOver: 0, rounds: 0 };
  let moves: Move[] = [];
  let powerOffs: PowerOff[] = [];

  /** @returns by which code it was refused, or an empty text where the world had moved on */
  const perform = async (intent: Intent, nowMs: number): Promise<string | null> => {
    const code = await gate.refusalOf(intent, cluster, seen);
    if (code !== null) return code;
    const { target, action, executor } = intent;
    const request = { cluster: 'home', node: executor, target, commandId: null, action };
    const { outcome } = begin(world, nowMs, request);
    const failed = outcome !== null && outcome !== 'ok';
    if (action.kind === 'guest.migrate') {
      counted[failed ? 'failed' : 'moves'] += 1;
      const { targetNode: toNode } = action.args;
      moves.push({ guest: target.id, fromNode: executor, toNode, atMs: nowMs, failed });
      history.lastMovedAtMs.set(`home/${target.id}`, nowMs);
    } else if (failed) return '';
    else if (action.kind === 'node.wake') counted.wakes += 1;
    else if (action.kind === 'node.shutdown') {
      counted.sleeps += 1;
      powerOffs.push({ node: target.id, atMs: nowMs });
    }
    return null;
  };

  // The guards have seen the hour before, as in a house that has been watched.
  for (let nowMs = world.startMs; nowMs <= startMs; nowMs += roundMs) {
    house.tell(nowMs, roundMs);
    gate.look(seen);
  }
  const beganKwh = house.kwh();
  for (let nowMs = startMs + roundMs; nowMs <= startMs + days * dayMs; nowMs += roundMs) {
    house.tell(nowMs, roundMs);
    gate.look(seen);
    moves = within(moves, nowMs);
    powerOffs = within(powerOffs, nowMs);
    history.moves.set('home', moves);
    history.powerOffs.set('home', powerOffs);
    const under = new Set(seen.copies.map(({ guest }) => `g${guest}`));
    const open = new Map(
      moves.filter(({ guest }) => under.has(guest)).map((one) => [one.guest, one]),
    );
    history.movesInFlight.set('home', [...open.values()]);
    const state = { cluster: houseCluster, nodes: house.records };
    observe(history, state, policy, nowMs);
    const plan = decide(state, policy, history, nowMs);
    record(history, plan, nowMs);
    for (const intent of plan.intents) {
      const code = await perform(intent, nowMs);
      if (code !== null) noteRefusal(history, intent, { nowMs, code: code || undefined });
    }
    counted.rounds += 1;
    for (const { online, values } of house.records) {
      const isOver = online && (values?.cpuRatio ?? 0) > policy.relieve.cpuRatio.above;
      if (isOver) counted.minutesOver += roundMs / 60_000;
    }
  }
  return { ...counted, kwh: house.kwh() - beganKwh, refusals: gate.refusals };
}
