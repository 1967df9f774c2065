/**
 * Wilcoxon's signed-rank test of paired figures, exact: how likely differences at least this
 * lopsided are when neither side is better. Ties share their mean rank, equal pairs are left out.
 *
 * Source: F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics 1(6), 1945.
 */

/** Twice the rank of each value by size, so that shared ranks stay whole. */
function doubledRanks(sizes: readonly number[]): number[] {
  const sorted = sizes.toSorted((a, b) => a - b);
  return sizes.map((size) => sorted.indexOf(size) + sorted.lastIndexOf(size) + 2);
}

/**
 * Two-sided p of the differences `ours - theirs`; null where all pairs are equal.
 * @throws RangeError when the lists differ in length
 */
export function wilcoxonP(ours: readonly number[], theirs: readonly number[]): number | null {
  if (ours.length !== theirs.length) throw new RangeError('pairs need two lists of one length');
  const differences = ours.map((one, at) => one - theirs[at]!).filter((value) => value !== 0);
  if (differences.length === 0) return null;
  const ranks = doubledRanks(differences.map(Math.abs));
  const total = ranks.reduce((sum, rank) => sum + rank, 0);
  const positive = ranks.reduce((sum, rank, at) => sum + (differences[at]! > 0 ? rank : 0), 0);
  // How many of the 2^n signs give each sum of positive ranks.
  let ways = new Float64Array(total + 1);
  ways[0] = 1;
  for (const rank of ranks) {
    const next = ways.slice();
    for (let sum = rank; sum <= total; sum += 1) next[sum]! += ways[sum - rank]!;
    ways = next;
  }
  const tail = Math.min(positive, total - positive);
  const lopsided = ways.reduce((sum, count, at) => (at <= tail ? sum + count : sum), 0);
  return Math.min(1, (2 * lopsided) / 2 ** ranks.length);
}
