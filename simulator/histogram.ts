/**
 * Quantiles of what a Prometheus histogram counted between two looks at `/metrics`. Linear inside
 * a bucket, as Prometheus itself does it; the last bucket has no upper end, so a quantile in it
 * is only known to be at least its lower end.
 */

/** Upper bound in seconds -> cumulative count, ascending; the last bound is Infinity. */
export type Buckets = ReadonlyMap<number, number>;

const line = /^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{([^}]*)\})?\s+(\S+)/;

const numberOf = (text: string): number => (text === '+Inf' ? Infinity : Number(text));

/** Sums the buckets of all label sets of one histogram. */
export function bucketsOf(metricsText: string, name: string): Buckets {
  const sums = new Map<number, number>();
  for (const row of metricsText.split('\n')) {
    if (!row.startsWith(`${name}_bucket`)) continue;
    const [, , labels = '', value = ''] = line.exec(row) ?? [];
    const bound = /(?:^|,)le="([^"]+)"/.exec(labels)?.[1];
    if (bound === undefined) continue;
    const upTo = numberOf(bound);
    sums.set(upTo, (sums.get(upTo) ?? 0) + Number(value));
  }
  return new Map([...sums].sort(([a], [b]) => a - b));
}

/** Value of a counter or gauge summed over its label sets; null when it is not exposed. */
export function valueOf(metricsText: string, name: string): number | null {
  let sum: number | null = null;
  for (const row of metricsText.split('\n')) {
    const [, found, , value = ''] = line.exec(row) ?? [];
    if (found === name) sum = (sum ?? 0) + Number(value);
  }
  return sum;
}

/** One figure of many under one name, by the value of one label. */
export function labelledOf(metricsText: string, name: string, label: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const row of metricsText.split('\n')) {
    if (!row.startsWith(`${name}{`)) continue;
    const [, , labels = '', value = ''] = line.exec(row) ?? [];
    const key = new RegExp(`(?:^|,)${label}="([^"]+)"`).exec(labels)?.[1];
    if (key !== undefined) values.set(key, (values.get(key) ?? 0) + Number(value));
  }
  return values;
}

/** A counter that went down belongs to a process that was restarted: it counts from 0 again. */
export function between(before: Buckets, after: Buckets): Buckets {
  const restarted = (after.get(Infinity) ?? 0) < (before.get(Infinity) ?? 0);
  return new Map(
    [...after].map(([bound, count]) => [bound, count - (restarted ? 0 : (before.get(bound) ?? 0))]),
  );
}

export const countOf = (buckets: Buckets): number => buckets.get(Infinity) ?? 0;

/** In the histogram's unit; null when nothing was counted. */
export function quantileOf(buckets: Buckets, quantile: number): number | null {
  const rank = quantile * countOf(buckets);
  if (countOf(buckets) === 0) return null;
  let lower = 0;
  let below = 0;
  for (const [upper, upTo] of buckets) {
    if (upTo >= rank && upTo > below) {
      if (upper === Infinity) return lower;
      return lower + ((upper - lower) * (rank - below)) / (upTo - below);
    }
    lower = upper;
    below = upTo;
  }
  return lower;
}

/** Quantile of plain numbers, by nearest rank; null of none. */
export function exactQuantile(values: readonly number[], quantile: number): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(quantile * sorted.length) - 1)] ?? null;
}
