/**
 * What a machine draws at a load when nothing measures it: linear between the points of a curve
 * over cpu utilisation, as SPECpower_ssj2008 reports one (watts at 0, 10 .. 100 % of the load),
 * or between the two points that an owner can read off a meter himself, idle and loaded. An
 * estimate, and marked as one wherever it is shown. Pure.
 */

/** Watts at equal steps of utilisation, from 0 to 1; two points at least. */
export type Curve = readonly number[];

/**
 * Published results of SPECpower_ssj2008, as CloudSim carries them (PowerModelSpecPower...):
 * https://www.spec.org/power_ssj2008/results/res2011q2/power_ssj2008-20110406-00368.html and
 * https://www.spec.org/power_ssj2008/results/res2009q4/power_ssj2008-20091104-00213.html.
 * Machines of those years; whoever has a meter writes a class of his own.
 */
export const shippedClasses: Readonly<Record<string, Curve>> = {
  /** IBM x3550 M3, 2 x Xeon X5675, 12 cores, 16 GB. */
  'spec-2-socket': [58.4, 98, 109, 118, 128, 140, 153, 170, 189, 205, 222],
  /** IBM x3250 M3, 1 x Xeon X3470, 4 cores, 8 GB. */
  'spec-1-socket': [41.6, 46.7, 52.3, 57.9, 65.4, 73, 80.7, 89.5, 99.6, 105, 113],
};

/** Watts at a utilisation; what lies outside 0..1 counts as the end it lies beyond. */
export function wattsAt(curve: Curve, cpuRatio: number): number {
  const steps = curve.length - 1;
  const at = Math.min(1, Math.max(0, cpuRatio)) * steps;
  const low = Math.min(Math.floor(at), steps - 1);
  const [below = 0, above = below] = [curve[low], curve[low + 1]];
  return below + (above - below) * (at - low);
}

export const idleOf = (curve: Curve): number => curve[0] ?? 0;
export const loadedOf = (curve: Curve): number => curve.at(-1) ?? 0;
