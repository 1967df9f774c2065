/**
 * How many copies run or are planned, by node and in the cluster, against the policy's limits.
 * Every move of a plan is noted here before the next is chosen, so that a plan never exceeds what
 * its first move left over.
 */
import type { Model, Situation } from './model.ts';

export type Traffic = {
  /** Copies under way and planned. */
  readonly moves: number;
  isFull(): boolean;
  maySend(place: number): boolean;
  mayReceive(place: number): boolean;
  /** Nothing moves from or to the node, now or by this plan. */
  isQuiet(place: number): boolean;
  note(from: number, to: number): void;
};

export function trafficOf(model: Model, { cluster, policy, history }: Situation): Traffic {
  const { migrationsPerNode, migrationsPerCluster } = policy.limits;
  const underWay = history.movesInFlight.get(cluster.id) ?? [];
  const busy = new Int32Array(model.nodes.length);
  const placeOf = new Map(model.nodes.map(({ node }, place) => [node, place]));
  for (const { fromNode, toNode } of underWay) {
    for (const name of [fromNode, toNode]) {
      const place = name === null ? undefined : placeOf.get(name);
      if (place !== undefined) busy[place]! += 1;
    }
  }
  let moves = underWay.length;
  const isFull = (): boolean => moves >= migrationsPerCluster;
  const isFree = (place: number): boolean => !isFull() && busy[place]! < migrationsPerNode;
  return {
    get moves() {
      return moves;
    },
    isFull,
    maySend: isFree,
    mayReceive: isFree,
    isQuiet: (place) => busy[place] === 0,
    note(from, to) {
      moves += 1;
      busy[from]! += 1;
      busy[to]! += 1;
      model.touched[from] = 1;
      model.touched[to] = 1;
    },
  };
}
