/**
 * Which sequence numbers of one (node, incarnation) are held, as sorted disjoint ranges: one range
 * while nothing is missing. Pure. Whoever adds closes the oldest hole beyond `rangesMax`, that is,
 * gives it up as lost, so that no daemon can fill the memory with holes.
 */

/** A daemon that loses every second sample for an hour at 5 s makes 360 holes. */
const rangesMax = 1_024;

export type SequenceSet = { firsts: number[]; lasts: number[] };

export const emptySet = (): SequenceSet => ({ firsts: [], lasts: [] });

/** Index of the last range that begins at or before `seq`, -1 for none. */
function rangeAt(set: SequenceSet, seq: number): number {
  let low = 0;
  let high = set.firsts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((set.firsts[middle] as number) <= seq) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export function has(set: SequenceSet, seq: number): boolean {
  const index = rangeAt(set, seq);
  return index >= 0 && seq <= (set.lasts[index] as number);
}

/** Adds [first, last]; everything it touches becomes one range. */
export function addRange(set: SequenceSet, first: number, last: number): void {
  const before = rangeAt(set, first);
  const joinsBefore = before >= 0 && first <= (set.lasts[before] as number) + 1;
  const from = joinsBefore ? before : before + 1;
  const to = rangeAt(set, last + 1);
  const start = joinsBefore ? (set.firsts[before] as number) : first;
  const end = to >= from ? Math.max(last, set.lasts[to] as number) : last;
  set.firsts.splice(from, to - from + 1, start);
  set.lasts.splice(from, to - from + 1, end);
}

/** False when it was there already. */
export function add(set: SequenceSet, seq: number): boolean {
  const newest = set.lasts.length - 1;
  if (newest >= 0 && seq === (set.lasts[newest] as number) + 1) {
    set.lasts[newest] = seq;
    return true;
  }
  if (has(set, seq)) return false;
  addRange(set, seq, seq);
  return true;
}

/** The highest number up to which, from 1, nothing is missing; 0 when 1 itself is missing. */
export const contiguous = (set: SequenceSet): number =>
  set.firsts[0] === 1 ? (set.lasts[0] as number) : 0;

export const highest = (set: SequenceSet): number => set.lasts.at(-1) ?? 0;

export const hasTooManyHoles = (set: SequenceSet): boolean => set.firsts.length > rangesMax;

/** True when something between 1 and the highest is missing. */
export const hasHole = (set: SequenceSet): boolean => contiguous(set) < highest(set);

/** Gives the oldest hole up; returns what it was, undefined when there is none. */
export function closeFirstHole(set: SequenceSet): { first: number; last: number } | undefined {
  if (!hasHole(set)) return undefined;
  const first = contiguous(set) + 1;
  const last = (set.firsts[set.firsts[0] === 1 ? 1 : 0] as number) - 1;
  addRange(set, first, last);
  return { first, last };
}
