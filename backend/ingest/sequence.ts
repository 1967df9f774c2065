/**
 * What of one node is stored, waiting or lost, by sequence number: the ground of receipts. Pure;
 * times are monotonic ms passed in. A receipt says "everything up to here is durable", so it never
 * passes a hole, until the hole is given up: the daemon repeats what stands still after 30 s, then
 * 60, 120, 240 s later, so a hole that no repetition filled for `holePatienceMs`, while newer
 * samples kept coming and the daemon replayed nothing else either, cannot be filled any more.
 *
 *   unseen --await--> pending --settle(stored)--> stored
 *                     pending --settle(not stored)--> unseen
 */
import {
  add,
  addRange,
  closeFirstHole,
  contiguous,
  emptySet,
  has,
  hasHole,
  hasTooManyHoles,
  highest,
  type SequenceSet,
} from '../store/metrics/sequence-set.ts';

export const holePatienceMs = 300_000;
/** A node silent for so long was away; its outbox may still hold what is missing. */
const silenceMs = 60_000;
/** As many as a store remembers; older ones are no longer told apart from new. */
const incarnationsMax = 96;

type Incarnation = {
  stored: SequenceSet;
  /** Given up, and so part of `stored`; still taken when it comes after all. */
  lost: SequenceSet;
  pending: Set<number>;
  /** Since when it is incomplete while its node is here; null while nothing is missing. */
  holeSinceMs: number | null;
  receiptedSeq: number;
};

export type NodeSequence = {
  incarnations: Map<number, Incarnation>;
  newest: number;
  storedAtMs: number;
};

export const newSequence = (): NodeSequence => ({
  incarnations: new Map(),
  newest: 0,
  storedAtMs: 0,
});

function incarnationOf(node: NodeSequence, incarnation: number): Incarnation {
  const known = node.incarnations.get(incarnation);
  if (known) return known;
  const created: Incarnation = {
    stored: emptySet(),
    lost: emptySet(),
    pending: new Set<number>(),
    holeSinceMs: null,
    receiptedSeq: 0,
  };
  node.incarnations.set(incarnation, created);
  node.newest = Math.max(node.newest, incarnation);
  if (node.incarnations.size > incarnationsMax) {
    node.incarnations.delete(Math.min(...node.incarnations.keys()));
  }
  return created;
}

/** The store knows everything up to `seq`. */
export function resume(node: NodeSequence, incarnation: number, seq: number): void {
  const { stored } = incarnationOf(node, incarnation);
  if (seq > 0) addRange(stored, 1, seq);
}

/**
 * Its daemon holds receipts up to `seq`, from this server or from one before it that stored more
 * than it had time to write down. Only ever about the daemon's own samples, so it may be believed.
 */
export function confirm(node: NodeSequence, incarnation: number, seq: number): void {
  const { stored } = incarnationOf(node, incarnation);
  if (seq > contiguous(stored)) addRange(stored, 1, seq);
}

/** False for a sample that is stored or waiting already. */
export function expect(node: NodeSequence, incarnation: number, seq: number): boolean {
  const { stored, lost, pending } = incarnationOf(node, incarnation);
  if (pending.has(seq) || (has(stored, seq) && !has(lost, seq))) return false;
  pending.add(seq);
  return true;
}

/** True for a sample that is sent again, or late: one that is not the newest of its node. */
export function isReplay(node: NodeSequence, incarnation: number, seq: number): boolean {
  const entry = node.incarnations.get(incarnation);
  return incarnation < node.newest || (entry !== undefined && seq < highest(entry.stored));
}

/** It is not waiting any more and was not stored: the daemon has to send it again. */
export function discard(node: NodeSequence, incarnation: number, seq: number): void {
  node.incarnations.get(incarnation)?.pending.delete(seq);
}

/** Its daemon sent again what is stored, so it has not had the receipt for it. */
export function repeatReceipt(node: NodeSequence, incarnation: number): void {
  const entry = node.incarnations.get(incarnation);
  if (entry) entry.receiptedSeq = 0;
}

function abandonFirst(entry: Incarnation): number {
  const hole = closeFirstHole(entry.stored);
  if (!hole) return 0;
  addRange(entry.lost, hole.first, hole.last);
  return hole.last - hole.first + 1;
}

export type Settled = { incarnation: number; seq: number; nowMs: number };

/** It is durable. Returns how many samples were given up to keep the number of holes bounded. */
export function settle(node: NodeSequence, { incarnation, seq, nowMs }: Settled): number {
  const entry = incarnationOf(node, incarnation);
  const isFilling = seq < highest(entry.stored);
  const wasAway = nowMs - node.storedAtMs > silenceMs;
  entry.pending.delete(seq);
  add(entry.stored, seq);
  node.storedAtMs = nowMs;
  const abandoned = hasTooManyHoles(entry.stored) ? abandonFirst(entry) : 0;
  if (!hasHole(entry.stored)) entry.holeSinceMs = null;
  else if (isFilling || wasAway || entry.holeSinceMs === null) entry.holeSinceMs = nowMs;
  return abandoned;
}

/**
 * Gives up every hole that was there for too long since its daemon last replayed anything; returns
 * how many samples that makes.
 */
export function abandonHoles(node: NodeSequence, nowMs: number, replayedAtMs: number): number {
  let abandoned = 0;
  for (const entry of node.incarnations.values()) {
    if (entry.holeSinceMs === null) continue;
    if (nowMs - Math.max(entry.holeSinceMs, replayedAtMs) < holePatienceMs) continue;
    while (hasHole(entry.stored)) abandoned += abandonFirst(entry);
    entry.holeSinceMs = null;
  }
  return abandoned;
}

export type Stored = { incarnation: number; seq: number };

/** Up to where the newest incarnation is durable; zeros for a node of which nothing is. */
export function watermarkOf(node: NodeSequence | undefined): Stored {
  if (!node) return { incarnation: 0, seq: 0 };
  const entry = node.incarnations.get(node.newest);
  return { incarnation: node.newest, seq: entry ? contiguous(entry.stored) : 0 };
}

/** What moved since the last call, oldest incarnation first. */
export function takeReceipts(node: NodeSequence): Stored[] {
  const moved: Stored[] = [];
  for (const [incarnation, entry] of node.incarnations) {
    const seq = contiguous(entry.stored);
    if (seq <= entry.receiptedSeq) continue;
    entry.receiptedSeq = seq;
    moved.push({ incarnation, seq });
  }
  return moved.sort((a, b) => a.incarnation - b.incarnation);
}

/** The last receipts did not leave: the next call of `takeReceipts` repeats them. */
export function repeatReceipts(node: NodeSequence): void {
  for (const entry of node.incarnations.values()) entry.receiptedSeq = 0;
}
