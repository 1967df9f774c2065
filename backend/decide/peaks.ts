/**
 * What a cluster as a whole needs at which time of the day and of the week: the highest load that
 * lasted for five minutes in every half hour, its mean and spread over the days. A half hour of the
 * week is believed after two weeks, one of the day after two days; before that nothing is promised.
 * Wakes are planned by it ahead of a peak, and sleep is put off before one.
 *
 * Method: exponentially weighted mean and variance per slot, after Finch (2009); a peak is the mean
 * plus the deviations of the ninetieth percentile.
 */

const minute = 60_000;
/** What is over sooner needs no node: it is relieved by nothing that takes minutes. */
const stepMs = 5 * minute;
export const slotMs = 30 * minute;
const dayMs = 1_440 * minute;
const slotsOfDay = dayMs / slotMs;
const slotsOfWeek = 7 * slotsOfDay;
const daysMin = 2;
const weeksMin = 2;
const weightMin = 0.2;
const reach = 1.2816;

type Slot = { mean: number; variance: number; seen: number };

export type Peaks = {
  /** Whose clock the slots follow. */
  zone: string;
  day: (Slot | null)[];
  week: (Slot | null)[];
  /** The slot under way, as a count since the epoch, and the highest load of its steps. */
  slot: number;
  most: number;
  /** The step under way, likewise, and its samples so far. */
  step: number;
  sum: number;
  samples: number;
};

export const emptyPeaks = (zone: string): Peaks => ({
  zone,
  day: Array<Slot | null>(slotsOfDay).fill(null),
  week: Array<Slot | null>(slotsOfWeek).fill(null),
  slot: -1,
  most: 0,
  step: -1,
  sum: 0,
  samples: 0,
});

function folded(known: Slot | null, value: number): Slot {
  if (known === null) return { mean: value, variance: 0, seen: 1 };
  const seen = known.seen + 1;
  const weight = Math.max(weightMin, 1 / seen);
  const delta = value - known.mean;
  return {
    mean: known.mean + weight * delta,
    variance: (1 - weight) * (known.variance + weight * delta * delta),
    seen,
  };
}

/**
 * Takes the load of now in. A slot that was not seen to its end still counts with what was seen.
 * @param wallMs the time of the cluster's own day
 */
export function seeLoad(peaks: Peaks, units: number, wallMs: number): void {
  const step = Math.floor(wallMs / stepMs);
  if (step !== peaks.step) {
    if (peaks.samples > 0) peaks.most = Math.max(peaks.most, peaks.sum / peaks.samples);
    Object.assign(peaks, { step, sum: 0, samples: 0 });
  }
  peaks.sum += units;
  peaks.samples += 1;
  const slot = Math.floor(wallMs / slotMs);
  if (slot === peaks.slot) return;
  if (peaks.slot >= 0) {
    const [ofDay, ofWeek] = [peaks.slot % slotsOfDay, peaks.slot % slotsOfWeek];
    peaks.day[ofDay] = folded(peaks.day[ofDay] ?? null, peaks.most);
    peaks.week[ofWeek] = folded(peaks.week[ofWeek] ?? null, peaks.most);
  }
  peaks.slot = slot;
  peaks.most = 0;
}

export type Peak = { units: number; atWallMs: number; days: number };

/** The highest load expected from now to `aheadMs` later; null while no slot of it is known. */
export function peakAhead(peaks: Peaks, wallMs: number, aheadMs: number): Peak | null {
  let highest: Peak | null = null;
  const last = Math.floor((wallMs + aheadMs) / slotMs);
  for (let slot = Math.floor(wallMs / slotMs); slot <= last; slot += 1) {
    const ofWeek = peaks.week[slot % slotsOfWeek] ?? null;
    const ofDay = peaks.day[slot % slotsOfDay] ?? null;
    const isWeekKnown = ofWeek !== null && ofWeek.seen >= weeksMin;
    const known = isWeekKnown ? ofWeek : ofDay;
    if (known === null || (!isWeekKnown && known.seen < daysMin)) continue;
    const units = known.mean + reach * Math.sqrt(Math.max(0, known.variance));
    if (highest !== null && units <= highest.units) continue;
    highest = { units, atWallMs: Math.max(wallMs, slot * slotMs), days: known.seen };
  }
  return highest;
}
