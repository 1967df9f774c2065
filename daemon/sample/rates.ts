/**
 * Counters -> rates. A rate is the mean between two readings of the same counter; where that
 * mean would be a guess (first reading, reset, clock that stood still, a gap too long to say
 * anything of now) the answer is null, never 0 and never negative. Pure.
 */
import { sampleIntervalMaxMs } from '../../broker/contract/limits.ts';

export type Counter = {
  value: number;
  /** The value after which this counter starts again from 0; absent when it never wraps. */
  wrapsAfter?: number;
};

/** Name of a device -> its counter. */
export type Counters = ReadonlyMap<string, Counter>;

/** Two missed beats of the slowest interval: a mean over more says nothing of now. */
export const gapMaxMs = 2 * sampleIntervalMaxMs;

/** What one counter grew by, or null when it was reset. */
function growth(previous: Counter, current: Counter): number | null {
  const difference = current.value - previous.value;
  if (difference >= 0) return difference;
  const { wrapsAfter } = current;
  if (wrapsAfter === undefined || previous.value > wrapsAfter) return null;
  const wrapped = difference + wrapsAfter;
  // A reset looks like a wrap too. A sampler that reads often sees a wrap as a small step; a
  // step of more than half the range is far likelier to be a reset.
  return wrapped >= 0 && wrapped <= wrapsAfter / 2 ? wrapped : null;
}

/** False when no rate can be told over this span of the monotonic clock. */
const isUsable = (elapsedMs: number): boolean => elapsedMs >= 1 && elapsedMs <= gapMaxMs;

export function ratePerSecond(
  previous: Counter | undefined,
  current: Counter | undefined,
  elapsedMs: number,
): number | null {
  if (!previous || !current || !isUsable(elapsedMs)) return null;
  const grown = growth(previous, current);
  return grown === null ? null : (grown * 1000) / elapsedMs;
}

/**
 * Sum over the devices that both readings name. A device that came, went or was reset is left
 * out of this one sum; null when no device could be measured.
 */
export function sumOfRates(
  previous: Counters | null,
  current: Counters | null,
  elapsedMs: number,
): number | null {
  if (!previous || !current) return null;
  let sum: number | null = null;
  for (const [name, counter] of current) {
    const rate = ratePerSecond(previous.get(name), counter, elapsedMs);
    if (rate !== null) sum = (sum ?? 0) + rate;
  }
  return sum;
}

/** Scheduler ticks since boot, summed over all cpus. */
export type CpuTicks = { busy: number; idle: number; ioWait: number };
export type CpuShares = { cpuRatio: number | null; ioWaitRatio: number | null };

const unknownShares: CpuShares = { cpuRatio: null, ioWaitRatio: null };

/**
 * Shares of the time between two readings. The kernel documents that idle and iowait may step
 * back a little; such a step counts as standing still, while busy stepping back is a reset.
 */
export function cpuShares(previous: CpuTicks | null, current: CpuTicks | null): CpuShares {
  if (!previous || !current) return unknownShares;
  const busy = current.busy - previous.busy;
  if (busy < 0) return unknownShares;
  const ioWait = Math.max(0, current.ioWait - previous.ioWait);
  const total = busy + ioWait + Math.max(0, current.idle - previous.idle);
  if (total <= 0) return unknownShares;
  const share = (part: number): number => Math.min(1, Math.max(0, part / total));
  return { cpuRatio: share(busy), ioWaitRatio: share(ioWait) };
}
