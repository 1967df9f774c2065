/**
 * What moved lately, counted for one decision: by guest within a day, by node and cluster within an
 * hour, and who came from where. Limits and detectors ask it. Durations are those of the policy;
 * a fast simulated cluster divides them as it does all. Pure.
 */
import type { History, Move } from './history.ts';
import { type Policy, scaledMs } from './policy.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** A guest whose moves fail waits twice as long after every failure, up to a day. */
const failuresCountedMax = 6;

type Cluster = { id: string; timeScale: number };

export type Recent = {
  /** Moves that a guest may still make today. */
  movesLeft(guest: string): number;
  /**
   * How long, in ms, until saving may move it again: it leaves `movesKeptForRelief` of a guest's
   * day. Infinite where the policy grants it none.
   */
  savesInMs(guest: string): number;
  /** Moves of the last hour that a node took part in, and of the whole cluster. */
  ofNode(node: string): number;
  ofCluster: number;
  /** Since when, in ms, the guest left that node for another, null when it did not lately. */
  leftAgoMs(guest: string, node: string): number | null;
  /** Failed moves of a guest since its last one that did not. */
  failuresOf(guest: string): number;
};

const nothing: readonly Move[] = [];

/** Moves of a guest's day that saving leaves to relief. */
export const movesKeptForRelief = 1;

/** @param nowMs the clock of `Move.atMs` */
export function recentOf(
  cluster: Cluster,
  { moves }: Pick<History, 'moves'>,
  policy: Policy,
  nowMs: number,
): Recent {
  const known = moves.get(cluster.id) ?? nothing;
  const aDay = scaledMs(dayMs, cluster);
  const anHour = scaledMs(hourMs, cluster);
  const perGuest = new Map<string, Move[]>();
  const perNode = new Map<string, number>();
  let ofCluster = 0;
  for (const move of known) {
    const ageMs = nowMs - move.atMs;
    if (ageMs > aDay) continue;
    const own = perGuest.get(move.guest);
    if (own) own.push(move);
    else perGuest.set(move.guest, [move]);
    if (ageMs > anHour) continue;
    ofCluster += 1;
    for (const node of [move.fromNode, move.toNode]) {
      if (node !== null) perNode.set(node, (perNode.get(node) ?? 0) + 1);
    }
  }
  return {
    movesLeft: (guest) => policy.limits.guestMovesPerDay - (perGuest.get(guest)?.length ?? 0),
    savesInMs(guest) {
      const granted = policy.limits.guestMovesPerDay - movesKeptForRelief;
      const own = perGuest.get(guest) ?? nothing;
      if (granted <= 0) return Infinity;
      // So many of the oldest have to be more than a day ago.
      const last = own[own.length - granted];
      return last === undefined ? 0 : Math.max(0, last.atMs + aDay - nowMs);
    },
    ofNode: (node) => perNode.get(node) ?? 0,
    ofCluster,
    leftAgoMs(guest, node) {
      const left = perGuest.get(guest)?.findLast(({ fromNode }) => fromNode === node);
      return left === undefined ? null : nowMs - left.atMs;
    },
    failuresOf(guest) {
      let failures = 0;
      for (const { failed } of perGuest.get(guest)?.toReversed() ?? []) {
        if (!failed || failures === failuresCountedMax) break;
        failures += 1;
      }
      return failures;
    },
  };
}
