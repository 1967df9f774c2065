/**
 * What a guest will need in the next while: an exponentially weighted mean and variance of its
 * cpu over steps of some minutes, and the mean + k sigma of sums of guests. Starts wide, because
 * a guest that was seen once is not known. Gaps add nothing: unknown is never zero.
 *
 * Method: EWMA with the incremental variance of T. Finch, "Incremental calculation of weighted mean
 * and variance" (2009); while young the weight is 1/n, which is the plain mean and variance. Sums
 * take guests as independent. Autoregression, pooled variances and joint maxima of a host's guests
 * were tried on the public traces and gave the same front of energy against violations.
 */

export type Forecast = {
  mean: number;
  variance: number;
  /** Steps folded so far. */
  steps: number;
  /** The step under way: its samples, and when it began. */
  sum: number;
  samples: number;
  beganAtMs: number;
  seenAtMs: number;
};

export type ForecastPolicy = { stepMs: number; weight: number };

/** Of a first look: this share of what was seen, and at least of this share of its full speed. */
const firstSpread = 0.6;
const firstFloor = 0.05;

/**
 * Spread of a guest that was seen once.
 * @param units cpu in use, capacity units
 * @param fullUnits what it could use at most
 */
export const firstVariance = (units: number, fullUnits: number): number =>
  (firstSpread * Math.max(units, firstFloor * fullUnits)) ** 2;

export const firstForecast = (units: number, fullUnits: number, atMs: number): Forecast => ({
  mean: units,
  variance: firstVariance(units, fullUnits),
  steps: 1,
  sum: 0,
  samples: 0,
  beganAtMs: atMs,
  seenAtMs: atMs,
});

/** Takes one sample in; a step that is over is folded. Changes `forecast` in place. */
export function see(
  forecast: Forecast,
  units: number,
  atMs: number,
  { stepMs, weight }: ForecastPolicy,
): void {
  if (atMs <= forecast.seenAtMs) return;
  forecast.seenAtMs = atMs;
  forecast.sum += units;
  forecast.samples += 1;
  if (atMs - forecast.beganAtMs < stepMs) return;
  const step = forecast.sum / forecast.samples;
  forecast.steps += 1;
  const share = Math.max(weight, 1 / forecast.steps);
  const delta = step - forecast.mean;
  forecast.mean += share * delta;
  forecast.variance = (1 - share) * (forecast.variance + share * delta * delta);
  forecast.sum = 0;
  forecast.samples = 0;
  forecast.beganAtMs = atMs;
}

/** How far a rise above the mean is believed to last. */
const riseKept = 0.3;

/**
 * The mean to plan with: nearer to the newest sample where that is higher, because a rise seldom
 * ends with the step in which it began, while a fall may be a pause.
 */
export const expected = (mean: number, units: number): number =>
  Math.max(mean, mean + riseKept * (units - mean));
