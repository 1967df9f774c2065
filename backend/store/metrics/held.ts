/**
 * Which samples a store holds, in memory: the reason why a repeated batch changes nothing. Per
 * node the newest incarnations only; a daemon replays from its outbox, which is younger. Pure.
 */
import { type NodeKey, nodeKey } from '../../../broker/contract/ids.ts';
import type { StoredSample, Watermark } from '../ports.ts';
import {
  add,
  addRange,
  closeFirstHole,
  contiguous,
  emptySet,
  has,
  hasTooManyHoles,
  type SequenceSet,
} from './sequence-set.ts';

/** A daemon that restarts every quarter of an hour for a day has 96. */
const incarnationsPerNodeMax = 96;

type Identity = Pick<StoredSample, 'cluster' | 'node' | 'incarnation' | 'seq'>;
type NodeHeld = { cluster: string; node: string; sets: Map<number, SequenceSet> };
export type Held = Map<NodeKey, NodeHeld>;

function setOf(held: Held, { cluster, node, incarnation }: Omit<Identity, 'seq'>): SequenceSet {
  const key = nodeKey(cluster, node);
  let known = held.get(key);
  if (!known) {
    known = { cluster, node, sets: new Map() };
    held.set(key, known);
  }
  let set = known.sets.get(incarnation);
  if (!set) {
    set = emptySet();
    known.sets.set(incarnation, set);
    if (known.sets.size > incarnationsPerNodeMax) {
      known.sets.delete(Math.min(...known.sets.keys()));
    }
  }
  return set;
}

export function isHeld(held: Held, { cluster, node, incarnation, seq }: Identity): boolean {
  const set = held.get(nodeKey(cluster, node))?.sets.get(incarnation);
  return set !== undefined && has(set, seq);
}

export function hold(held: Held, sample: Identity): void {
  const set = setOf(held, sample);
  add(set, sample.seq);
  if (hasTooManyHoles(set)) closeFirstHole(set);
}

export type HeldRange = Omit<Identity, 'seq'> & { first: number; last: number };

export function holdRange(held: Held, range: HeldRange): void {
  addRange(setOf(held, range), range.first, range.last);
}

/** Those not held, each once. */
export function fresh(held: Held, samples: readonly StoredSample[]): StoredSample[] {
  const seen = new Set<string>();
  return samples.filter((sample) => {
    const key = `${sample.cluster}/${sample.node}/${sample.incarnation}/${sample.seq}`;
    if (seen.has(key) || isHeld(held, sample)) return false;
    seen.add(key);
    return true;
  });
}

export const watermarksOf = (held: Held): Watermark[] =>
  [...held.values()].flatMap(({ cluster, node, sets }) =>
    [...sets.entries()].map(([incarnation, set]) => ({
      cluster,
      node,
      incarnation,
      seq: contiguous(set),
    })),
  );
