/**
 * The energy that no policy of a physical world can undercut while it serves all demand: the exact
 * best number of awake hosts of the most efficient kind at every sample, by dynamic programming.
 * Placement, copies and uncertainty are free; only being awake, working and booting cost. It reads
 * the future and is a bound only for that reason; no policy may import it.
 */
import { type HostModel, type Hosts, wattsAt } from './specs.ts';
import { ramAt, sampleAt, type Trace } from './trace.ts';

/** Demand and memory of all guests, by sample. */
type Sums = { mips: Float64Array; ramMb: Float64Array };

function sumsOf(trace: Trace, guests: readonly number[]): Sums {
  const mips = new Float64Array(trace.steps);
  const ramMb = new Float64Array(trace.steps);
  for (const guest of guests) {
    for (let k = 0; k < trace.steps; k += 1) {
      mips[k]! += sampleAt(trace, guest, k) * trace.mips[guest]!;
      ramMb[k]! += ramAt(trace, guest, k);
    }
  }
  return { mips, ramMb };
}

/** Watts per MIPS above idle: the flattest line from idle to a point of the curve. */
export const slopeOf = ({ watts, mips }: HostModel): number =>
  Math.min(
    ...watts.slice(1).map((watt, point) => (watt - watts[0]!) / (((point + 1) / 10) * mips)),
  );

const efficiency = (model: HostModel): number => wattsAt(model, 1) / model.mips;

/**
 * kWh from the first decision to the last sample.
 * @param fromStep first sample that counts, 1 for the whole day
 */
export function physicalBoundKwh(
  trace: Trace,
  hosts: Hosts,
  bootSeconds: number,
  fromStep = 1,
): number {
  const best = hosts.modelOf.toSorted((a, b) => efficiency(a) - efficiency(b))[0]!;
  const guests = Array.from({ length: trace.guestCount }, (_, guest) => guest);
  const { mips, ramMb } = sumsOf(trace, guests);
  const idleJoules = best.watts[0]! * trace.stepSeconds;
  const slope = slopeOf(best) * trace.stepSeconds;
  const bootJoules = best.watts[1]! * bootSeconds;
  const most = hosts.count;
  let costs: Float64Array = new Float64Array(most + 1);
  for (let k = fromStep; k < trace.steps - 1; k += 1) {
    const least = Math.ceil(
      Math.max(
        Math.min(mips[k]!, mips[k + 1]!) / best.mips,
        Math.min(ramMb[k]!, ramMb[k + 1]!) / best.ramMb,
      ),
    );
    const work = ((mips[k]! + mips[k + 1]!) / 2) * slope;
    costs = stepOf(costs, { least: Math.min(least, most), idleJoules, work, bootJoules });
  }
  return Math.min(...costs) / 3_600_000;
}

type Step = { least: number; idleJoules: number; work: number; bootJoules: number };

/** The cheapest way to have n hosts awake in this step, for every n. */
function stepOf(before: Float64Array, { least, idleJoules, work, bootJoules }: Step): Float64Array {
  const most = before.length - 1;
  const from = new Float64Array(most + 1);
  // From more hosts: the others are switched off for nothing.
  let cheapest = Infinity;
  for (let n = most; n >= 0; n -= 1) from[n] = cheapest = Math.min(cheapest, before[n]!);
  // From fewer: each one more pays a boot.
  let rising = Infinity;
  for (let n = 0; n <= most; n += 1) {
    rising = Math.min(rising + bootJoules, before[n]!);
    from[n] = Math.min(from[n]!, rising);
  }
  return from.map((cost, n) => (n < least ? Infinity : cost + n * idleJoules + work));
}
