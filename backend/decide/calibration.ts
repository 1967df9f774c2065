/**
 * How far the load of whole nodes lies above what the sum of their guests' forecasts promised. Per
 * cluster one number is learned: by how many of the promised deviations a node must be planned
 * above its mean so that nine of ten steps stay below. Guests that rise together push it up, guests
 * that take turns push it down. A node whose guests changed within a step teaches nothing.
 *
 * Method: the online quantile update of Gibbs and Candes, "Adaptive conformal inference under
 * distribution shift" (2021): after a miss up by rate x 0.9, after a hit down by rate x 0.1.
 */
import type { NodeKey } from '../../broker/contract/ids.ts';

/** The level that is kept, and where a normal distribution has it. */
export const coverage = 0.9;
export const normalReach = 1.2816;

/** Quick while little is known; the floor follows changes of days without jitter of hours. */
const rateOf = (steps: number): number => Math.max(0.005, 1 / (20 + steps / 10));
const [reachMin, reachMax] = [0.6, 6];
/** Below this many units of deviation a node is idle, and proves nothing. */
const deviationMin = 1e-3;

/** Deviations that cover, and of how many node steps that was learned and covered. */
export type Calibration = { reach: number; steps: number; covered: number };

/** What was promised of a node for the step under way. */
export type Promised = {
  mean: number;
  deviation: number;
  /** Guests it was promised for. */
  guests: string;
  sum: number;
  samples: number;
  beganAtMs: number;
};

/** Since the start, over all steps that were judged: loads of nodes in units, summed. */
export type Foretold = { predicted: number; measured: number; steps: number; covered: number };

export type Calibrations = {
  ofCluster: Map<string, Calibration>;
  /** By cluster; for people who look how far the engine can be trusted. */
  foretold: Map<string, Foretold>;
  promised: Map<NodeKey, Promised>;
};

export const emptyCalibrations = (): Calibrations => ({
  ofCluster: new Map(),
  foretold: new Map(),
  promised: new Map(),
});

type Judged = { predicted: number; measured: number; isCovered: boolean };

function tally(known: Calibrations, cluster: string, judged: Judged): void {
  const nothing: Foretold = { predicted: 0, measured: 0, steps: 0, covered: 0 };
  const sums = known.foretold.get(cluster) ?? nothing;
  sums.predicted += judged.predicted;
  sums.measured += judged.measured;
  sums.steps += 1;
  sums.covered += Number(judged.isCovered);
  known.foretold.set(cluster, sums);
}

/** Judges one promise by what came. Changes `known` in place. */
export function judge(known: Calibrations, cluster: string, promised: Promised): void {
  if (promised.samples === 0 || promised.deviation < deviationMin) return;
  const calibration = calibrationOf(known, cluster);
  const came = promised.sum / promised.samples;
  const isCovered = came <= promised.mean + calibration.reach * promised.deviation;
  calibration.steps += 1;
  if (isCovered) calibration.covered += 1;
  tally(known, cluster, { predicted: promised.mean, measured: came, isCovered });
  const rate = rateOf(calibration.steps);
  const moved = calibration.reach + rate * (isCovered ? coverage - 1 : coverage);
  calibration.reach = Math.min(reachMax, Math.max(reachMin, moved));
}

export const calibrationOf = (known: Calibrations, cluster: string): Calibration => {
  const found = known.ofCluster.get(cluster);
  if (found) return found;
  const fresh = { reach: normalReach, steps: 0, covered: 0 };
  known.ofCluster.set(cluster, fresh);
  return fresh;
};

/** Node steps before the learned number is believed. */
const stepsMin = 200;

/** By what the variance of a node's sum is multiplied; 1 until enough is known. */
export function varianceFactor(known: Calibrations, cluster: string): number {
  const found = known.ofCluster.get(cluster);
  if (found === undefined || found.steps < stepsMin) return 1;
  return (found.reach / normalReach) ** 2;
}
