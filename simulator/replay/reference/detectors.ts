/**
 * When the reference policies call a host overloaded: a fixed threshold (THR), local regression
 * (LR), interquartile range (IQR), median absolute deviation (MAD). Each keeps CloudSim 3.0.3's
 * arithmetic, its order of additions included, because decisions hang on the last digit.
 *
 * Source: Beloglazov & Buyya, CCPE 24(13), 2012; CloudSim 3.0.3 `MathUtil` and
 * `PowerVmAllocationPolicyMigration*`; Apache commons-math `SimpleRegression`, `Percentile`.
 */

export type HostLoad = {
  /** Host utilisation of past ticks from what its present guests used, newest first. */
  history: Float64Array;
  /** How many of them count: zeros at the old end do not. */
  length: number;
  /** Requested MIPS over capacity. */
  demand: number;
};

export type Detector = (load: HostLoad) => boolean;

const fallbackThreshold = 0.7;
const fallback: Detector = ({ demand }) => demand > fallbackThreshold;

export const thr =
  (threshold: number): Detector =>
  ({ demand }) =>
    demand > threshold;

const regressionLength = 10;

/** @param safety 1.2 in the literature */
export const lr =
  (safety: number): Detector =>
  (load) => {
    if (load.length < regressionLength) return fallback(load);
    let xBar = 0;
    let yBar = 0;
    let sumX = 0;
    let sumY = 0;
    let sumXX = 0;
    let sumXY = 0;
    for (let n = 0; n < regressionLength; n += 1) {
      const x = n + 1;
      const y = load.history[regressionLength - n - 1]!;
      if (n === 0) {
        xBar = x;
        yBar = y;
      } else {
        const fact1 = 1 + n;
        const fact2 = n / (1 + n);
        const dx = x - xBar;
        const dy = y - yBar;
        sumXX += dx * dx * fact2;
        sumXY += dx * dy * fact2;
        xBar += dx / fact1;
        yBar += dy / fact1;
      }
      sumX += x;
      sumY += y;
    }
    const slope = sumXY / sumXX;
    const intercept = (sumY - slope * sumX) / regressionLength;
    // A copy takes less than one interval, so the prediction looks one interval ahead.
    return (intercept + slope * (regressionLength + 1)) * safety >= 1;
  };

const spreadSamplesMin = 12;

const sorted = (load: HostLoad): Float64Array => load.history.slice(0, load.length).sort();

/** Half-way percentile of commons-math: position 0.5 x (n + 1). */
function median(values: Float64Array): number {
  const n = values.length;
  if (n === 1) return values[0]!;
  const position = 0.5 * (n + 1);
  const floor = Math.floor(position);
  if (position < 1) return values[0]!;
  if (position >= n) return values[n - 1]!;
  const lower = values[floor - 1]!;
  return lower + (position - floor) * (values[floor]! - lower);
}

/** @param safety 2.5 in the literature */
export const mad =
  (safety: number): Detector =>
  (load) => {
    if (load.length < spreadSamplesMin) return fallback(load);
    const values = sorted(load);
    const middle = median(values);
    const deviations = values.map((value) => Math.abs(middle - value)).sort();
    return load.demand > 1 - safety * median(deviations);
  };

/** @param safety 1.5 in the literature */
export const iqr =
  (safety: number): Detector =>
  (load) => {
    if (load.length < spreadSamplesMin) return fallback(load);
    const values = sorted(load);
    const at = (share: number) => values[Math.round(share * (values.length + 1)) - 1]!;
    return load.demand > 1 - safety * (at(0.75) - at(0.25));
  };
