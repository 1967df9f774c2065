/** What hosts are asked for at one moment of a physical world, and what of it they cannot give. */
import type { PhysicalWorld } from './physical-world.ts';

export type Load = {
  /** Asked of each host, what copies take included. */
  mips: Float64Array;
  watts: number;
  requested: number;
  /** Beyond the cores of a host or of a guest, and what a copy takes from its guest. */
  undelivered: number;
  lostToMoves: number;
};

/** A copy takes a tenth of its guest's work at both ends. */
const copyShare = 0.1;

export function loadAt(world: PhysicalWorld): Load {
  const { hosts, trace, guestsOf, demand } = world;
  const load: Load = {
    mips: new Float64Array(hosts.count),
    watts: 0,
    requested: 0,
    undelivered: 0,
    lostToMoves: 0,
  };
  const cappedOn = (guest: number, host: number): number =>
    Math.min(demand[guest]!, hosts.modelOf[host]!.coreMips * trace.cores[guest]!);
  for (const { guest, from, to } of world.copies) {
    load.mips[to]! += copyShare * cappedOn(guest, to);
    load.lostToMoves += copyShare * cappedOn(guest, from);
  }
  for (let host = 0; host < hosts.count; host += 1) {
    for (const guest of guestsOf[host]!) {
      const capped = cappedOn(guest, host);
      load.requested += demand[guest]!;
      load.undelivered += demand[guest]! - capped;
      load.mips[host]! += capped;
    }
    load.undelivered += Math.max(0, load.mips[host]! - hosts.modelOf[host]!.mips);
    load.watts += world.wattsOf(host, load.mips[host]!);
  }
  return load;
}

/** The share of a straight line from `first` to `last` that lies above zero. */
export function overlapAbove(first: number, last: number): number {
  if (first > 0 && last > 0) return 1;
  if (first <= 0 && last <= 0) return 0;
  return Math.max(first, last) / Math.abs(first - last);
}
