/**
 * What a guest will need in the next while, and how sure that is: a level with its variance, and
 * beside it a trend and a daily shape that are followed only while they have been the better
 * forecast. Starts wide, because a guest that was seen once is not known. Gaps add nothing: unknown
 * is never zero.
 *
 * Methods: exponentially weighted mean and variance after T. Finch, "Incremental calculation of
 * weighted mean and variance" (2009), plain mean and variance while young (weight 1/n); additive
 * trend and season after C. C. Holt (1957) and P. R. Winters (1960), damped after Gardner and
 * McKenzie (1985); which of them is followed is chosen by their exponentially weighted squared
 * errors. Sums take guests as independent, and `calibration.ts` corrects what that gets wrong.
 */

/** Means of the hours of a day, and how many steps are in each. */
export type Shape = { hours: Float32Array; steps: Uint8Array };

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
  /** Level and change per step of the forecast with trend. */
  level: number;
  trend: number;
  /** What the newest steps lie above or below the shape. */
  offset: number;
  /** Mean squared errors of the level alone, with trend, and with the shape. */
  error: number;
  trendError: number;
  shapeError: number;
  shape: Shape | null;
};

export type ForecastPolicy = { stepMs: number; weight: number };

/** A moment, and in which hour of the day (0..23) it lies; null where no wall clock is known. */
export type Moment = { atMs: number; hour: number | null };

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

/**
 * Nothing yet, as a number that the machine keeps as a fraction from the start: of a plain 0 it
 * makes an integer, and rewrites the forecasts of all guests when the first fraction comes.
 */
const nothing = -0;

export const firstForecast = (units: number, fullUnits: number, atMs: number): Forecast => ({
  mean: units,
  variance: firstVariance(units, fullUnits),
  steps: 1,
  sum: nothing,
  samples: 0,
  beganAtMs: atMs,
  seenAtMs: atMs,
  level: units,
  trend: nothing,
  offset: nothing,
  error: nothing,
  trendError: nothing,
  shapeError: nothing,
  shape: null,
});

/** Holt's two weights, and how much of a trend is believed to last another step. */
const levelWeight = 0.2;
const trendWeight = 0.02;
const trendDamping = 0.95;
/** Steps before errors say anything, and by how much another method must be better. */
const stepsJudgedMin = 36;
const betterBy = 0.85;
/** A trend that is followed too soon costs more than one that is missed. */
const trendBetterBy = 0.3;
/** An hour is known after the steps of two days, and remembers about four. */
const hourStepsMin = 24;
const hourWeightMin = 0.02;
const countedMax = 255;
/** Guests that wander less than this many units need no shape: nothing is saved by it. */
const shapeSpreadMin = 0.1;
const hoursOfDay = 24;

const isHourKnown = ({ steps }: Shape, hour: number): boolean => steps[hour]! >= hourStepsMin;

/** Mean and variance of what the next step will need, by the method that has been best. */
export function outlookOf(
  forecast: Forecast,
  hour: number | null,
): { mean: number; variance: number } {
  const { mean, variance, steps, error, trendError, shapeError, shape } = forecast;
  if (steps < stepsJudgedMin) return { mean, variance };
  const best = Math.min(trendError, error);
  if (shape && hour !== null && isHourKnown(shape, hour) && shapeError < betterBy * best) {
    const shaped = Math.max(0, shape.hours[hour]! + forecast.offset);
    return { mean: shaped, variance: Math.max(shapeError, shapeError * (variance / error)) };
  }
  if (trendError >= trendBetterBy * error) return { mean, variance };
  const led = Math.max(0, forecast.level + trendDamping * forecast.trend);
  return { mean: led, variance: trendError };
}

/** One step more of an hour, and how far the hour's mean was off. */
function learnHour(forecast: Forecast, step: number, hour: number, weight: number): void {
  if (forecast.shape === null) {
    if (forecast.variance < shapeSpreadMin ** 2 || forecast.steps < stepsJudgedMin) return;
    forecast.shape = {
      hours: new Float32Array(hoursOfDay),
      steps: new Uint8Array(hoursOfDay),
    };
  }
  const { hours, steps } = forecast.shape;
  if (isHourKnown(forecast.shape, hour)) {
    const off = step - hours[hour]! - forecast.offset;
    forecast.shapeError += weight * (off * off - forecast.shapeError);
    forecast.offset += weight * off;
  } else {
    // Nothing was promised for this hour: it counts as the level does.
    forecast.shapeError += weight * ((step - forecast.mean) ** 2 - forecast.shapeError);
  }
  steps[hour] = Math.min(countedMax, steps[hour]! + 1);
  hours[hour]! += Math.max(hourWeightMin, 1 / steps[hour]) * (step - hours[hour]!);
}

/** Takes one sample in; a step that is over is folded. Changes `forecast` in place. */
export function see(
  forecast: Forecast,
  units: number,
  { atMs, hour }: Moment,
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
  const led = forecast.level + trendDamping * forecast.trend;
  const trendOff = step - led;
  if (hour !== null) learnHour(forecast, step, hour, share);
  forecast.error += share * (delta * delta - forecast.error);
  forecast.trendError += share * (trendOff * trendOff - forecast.trendError);
  forecast.level = led + levelWeight * trendOff;
  forecast.trend = trendDamping * forecast.trend + trendWeight * trendOff;
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
