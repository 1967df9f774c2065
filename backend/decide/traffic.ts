/**
 * How many copies run or are planned, by node and in the cluster, against the policy's limits.
 * Every move of a plan is noted here before the next is chosen, so that a plan never exceeds what
 * its first move left over.
 */
import { type Breakers, breakersOf } from './breaker.ts';
import { type Oscillation, oscillationOf } from './detectors.ts';
import type { Model, Situation } from './model.ts';

type Held = { reason: string; flip: string };

export type Traffic = {
  isFull(): boolean;
  /** Guests that go to and fro; nothing moves while there are any. */
  readonly oscillating: readonly string[];
  /** Nodes onto which moves kept failing: they receive nothing for a while. */
  readonly breakers: Breakers;
  /** Why nothing more can move from or to a node now, null when it can. */
  heldAt(place: number): Held | null;
  maySend(place: number): boolean;
  mayReceive(place: number): boolean;
  /** How many commands more may begin: shutdowns under way take part in the limit as moves do. */
  slotsLeft(): number;
  /** A node of this plan begins to go to sleep. */
  noteSleep(): void;
  /** Nothing moves from or to the node, now or by this plan. */
  isQuiet(place: number): boolean;
  note(from: number, to: number): void;
};

const stoppedBy = ({ guests, returns, untilMs }: Oscillation, nowMs: number): Held => ({
  reason: `the engine moved ${guests.join(', ')} back ${returns} times and has stopped itself`,
  flip: `${Math.ceil((untilMs - nowMs) / 1000)} s more`,
});

const spent = (what: string, limit: string): Held => ({
  reason: `${what} within an hour`,
  flip: `the hour passes, or limits.${limit} is raised`,
});

export function trafficOf(model: Model, situation: Situation): Traffic {
  const { cluster, policy, history, nowMs } = situation;
  const breakers = breakersOf(situation);
  const { migrationsPerNode, migrationsPerCluster, migrationsPerNodePerHour, migrationsPerHour } =
    policy.limits;
  const { commandsAtOnce = Infinity } = policy.limits;
  const { recent } = model;
  const underWay = history.movesInFlight.get(cluster.id) ?? [];
  const busy = new Int32Array(model.nodes.length);
  const placeOf = new Map(model.nodes.map(({ node }, place) => [node, place]));
  for (const { fromNode, toNode } of underWay) {
    for (const name of [fromNode, toNode]) {
      const place = name === null ? undefined : placeOf.get(name);
      if (place !== undefined) busy[place]! += 1;
    }
  }
  const going = model.nodes.filter(({ activeKind }) => activeKind === 'node.shutdown').length;
  let moves = underWay.length;
  let sleeps = going;
  const planned = (): number => moves - underWay.length;
  const slotsLeft = (): number => commandsAtOnce - moves - sleeps;
  const plannedAt = new Int32Array(model.nodes.length);
  const stopped = oscillationOf(cluster, history, { nowMs, guests: model.guests.length });
  const ofNode = (place: number): number =>
    recent.ofNode(model.nodes[place]!.node) + plannedAt[place]!;
  const isFull = (): boolean =>
    stopped !== null ||
    moves >= migrationsPerCluster ||
    slotsLeft() <= 0 ||
    recent.ofCluster + planned() >= migrationsPerHour;
  const isFree = (place: number): boolean =>
    !isFull() && busy[place]! < migrationsPerNode && ofNode(place) < migrationsPerNodePerHour;
  const heldAt = (place: number): Held | null => {
    if (stopped) return stoppedBy(stopped, nowMs);
    if (moves >= migrationsPerCluster) {
      return { reason: `${moves} moves under way`, flip: 'one of them ends' };
    }
    if (slotsLeft() <= 0) {
      return {
        reason: `${moves} moves and ${sleeps} shutdowns under way`,
        flip: 'one of them ends',
      };
    }
    if (isFull()) return spent(`${recent.ofCluster + planned()} moves`, 'migrationsPerHour');
    if (busy[place]! >= migrationsPerNode) {
      return { reason: 'a move is under way here', flip: 'that move ends' };
    }
    if (isFree(place)) return null;
    return spent(`${ofNode(place)} moves here`, 'migrationsPerNodePerHour');
  };
  return {
    isFull,
    slotsLeft,
    noteSleep: () => void (sleeps += 1),
    oscillating: stopped?.guests ?? [],
    heldAt,
    maySend: isFree,
    breakers,
    mayReceive: (place) => !breakers.has(model.nodes[place]!.node) && isFree(place),
    isQuiet: (place) => busy[place] === 0,
    note(from, to) {
      moves += 1;
      busy[from]! += 1;
      busy[to]! += 1;
      plannedAt[from]! += 1;
      plannedAt[to]! += 1;
      model.touched[from] = 1;
      model.touched[to] = 1;
    },
  };
}
