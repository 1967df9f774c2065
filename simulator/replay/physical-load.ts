/** What hosts are asked for at one moment of a physical world, and what of it they cannot give. */
import { hostPower } from './physical-power.ts';
import type { PhysicalWorld } from './physical-world.ts';

export type Load = {
  /** Asked of each host, what copies take included. */
  mips: Float64Array;
  watts: number;
  /** The same by what it is spent on. */
  wattsFor: WattsFor;
  requested: number;
  /** Beyond the cores of a host or of a guest, and what a copy takes from its guest. */
  undelivered: number;
  lostToMoves: number;
};

/**
 * `empty`: hosts that are on and run nothing; `changing`: boots and shutdowns; `idle`: what hosts
 * with guests would need at no load; `work`: what they need beyond that.
 */
export type WattsFor = { empty: number; changing: number; idle: number; work: number };

export const noWatts = (): WattsFor => ({ empty: 0, changing: 0, idle: 0, work: 0 });

function spend(world: PhysicalWorld, host: number, watts: number, on: WattsFor): void {
  if (world.power[host] !== hostPower.on) on.changing += watts;
  else if (world.guestsOf[host]!.length === 0) on.empty += watts;
  else {
    const idle = world.hosts.modelOf[host]!.watts[0]!;
    on.idle += idle;
    on.work += watts - idle;
  }
}

/** A copy takes a tenth of its guest's work at both ends. */
const copyShare = 0.1;

export function loadAt(world: PhysicalWorld): Load {
  const { hosts, trace, guestsOf, demand } = world;
  const load: Load = {
    mips: new Float64Array(hosts.count),
    watts: 0,
    wattsFor: noWatts(),
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
    const watts = world.wattsOf(host, load.mips[host]!);
    load.watts += watts;
    spend(world, host, watts, load.wattsFor);
  }
  return load;
}

/** The share of a straight line from `first` to `last` that lies above zero. */
export function overlapAbove(first: number, last: number): number {
  if (first > 0 && last > 0) return 1;
  if (first <= 0 && last <= 0) return 0;
  return Math.max(first, last) / Math.abs(first - last);
}
