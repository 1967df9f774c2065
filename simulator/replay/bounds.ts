/**
 * What no policy can beat on a day: the fluid bound (every MIPS delivered at the best watts per
 * MIPS there is) and the clairvoyant repack (knows the next sample, moves for free, overloads
 * nothing). They read the future and are bounds only for that reason; no policy may import them.
 */
import { type Hosts, wattsAt } from './specs.ts';
import { sampleAt, type Trace } from './trace.ts';

export type Bounds = { fluidKwh: number; clairvoyantKwh: number };

/** Whether a guest is still there in sample k; without dropping it always is. */
export type Presence = (guest: number, k: number) => boolean;

const kwh = (joules: number): number => joules / 3_600_000;

/** Two zero samples in a row end a guest's day under CloudSim's rules. */
export function presenceOf(trace: Trace, dropsIdleGuests: boolean): Presence {
  if (!dropsIdleGuests) return () => true;
  const goneFrom = Int32Array.from({ length: trace.guestCount }, (_, guest) => {
    for (let k = 1; k < trace.steps; k += 1) {
      if (sampleAt(trace, guest, k) === 0 && sampleAt(trace, guest, k + 1) === 0) return k;
    }
    return trace.steps;
  });
  return (guest, k) => k < goneFrom[guest]!;
}

/** Puts guests into as few hosts as best fit decreasing finds, within capacity now and next. */
function repack(now: Float64Array, next: Float64Array, capacity: number): [number, number][] {
  const order = Array.from(now.keys())
    .filter((guest) => now[guest]! > 0 || next[guest]! > 0)
    .sort((a, b) => Math.max(now[b]!, next[b]!) - Math.max(now[a]!, next[a]!));
  const bins: [number, number][] = [];
  for (const guest of order) {
    let best: [number, number] | null = null;
    let slack = Infinity;
    for (const bin of bins) {
      const left = capacity - Math.max(bin[0] + now[guest]!, bin[1] + next[guest]!);
      if (left >= 0 && left < slack) {
        slack = left;
        best = bin;
      }
    }
    if (best === null) bins.push([now[guest]!, next[guest]!]);
    else {
      best[0] += now[guest]!;
      best[1] += next[guest]!;
    }
  }
  return bins;
}

/** Of the most efficient kind there are always enough: 400 where 35 are needed. */
export function boundsOf(trace: Trace, hosts: Hosts, isThere: Presence): Bounds {
  const best = hosts.modelOf.toSorted(
    (a, b) => wattsAt(a, 1) / a.mips - wattsAt(b, 1) / b.mips,
  )[0]!;
  const wattsPerMips = wattsAt(best, 1) / best.mips;
  const load = (k: number): Float64Array =>
    Float64Array.from({ length: trace.guestCount }, (_, guest) =>
      isThere(guest, k) ? sampleAt(trace, guest, k) * trace.mips[guest]! : 0,
    );
  let fluid = 0;
  let clairvoyant = 0;
  for (let k = 1; k < trace.steps - 1; k += 1) {
    const now = load(k);
    const next = load(k + 1);
    const sum = (values: Float64Array) => values.reduce((total, value) => total + value, 0);
    fluid += ((sum(now) + sum(next)) / 2) * trace.stepSeconds * wattsPerMips;
    for (const [from, to] of repack(now, next, best.mips)) {
      const watts = (wattsAt(best, from / best.mips) + wattsAt(best, to / best.mips)) / 2;
      clairvoyant += watts * trace.stepSeconds;
    }
  }
  return { fluidKwh: kwh(fluid), clairvoyantKwh: kwh(clairvoyant) };
}
