/** Which lines of a text went and came, as a reader of code expects it: longest common lines kept. */
export type DiffLine = { mark: ' ' | '-' | '+'; text: string };

/** How many lines around a change are told with it. */
const around = 2;

/** Lengths of the longest common lines of what is left of each from every pair of places on. */
function commonLengths(before: readonly string[], after: readonly string[]): Uint16Array[] {
  const rows = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  for (let left = before.length - 1; left >= 0; left -= 1) {
    const [row, below] = [rows[left]!, rows[left + 1]!];
    for (let right = after.length - 1; right >= 0; right -= 1) {
      row[right] =
        before[left] === after[right]
          ? below[right + 1]! + 1
          : Math.max(below[right]!, row[right + 1]!);
    }
  }
  return rows;
}

/** Every line of both; texts of a few hundred lines take a few milliseconds. */
function wholeDiff(before: readonly string[], after: readonly string[]): DiffLine[] {
  const lengths = commonLengths(before, after);
  const lines: DiffLine[] = [];
  let [left, right] = [0, 0];
  while (left < before.length || right < after.length) {
    const [old, young] = [before[left], after[right]];
    if (old !== undefined && old === young) {
      lines.push({ mark: ' ', text: old });
      left += 1;
      right += 1;
    } else if (
      young === undefined ||
      (old !== undefined && lengths[left + 1]![right]! >= lengths[left]![right + 1]!)
    ) {
      lines.push({ mark: '-', text: old ?? '' });
      left += 1;
    } else {
      lines.push({ mark: '+', text: young });
      right += 1;
    }
  }
  return lines;
}

/** What changed, with a little of what stands around it. */
export function lineDiff(before: string, after: string): DiffLine[] {
  const all = wholeDiff(before.trimEnd().split('\n'), after.trimEnd().split('\n'));
  const isNear = (at: number): boolean =>
    all.slice(Math.max(0, at - around), at + around + 1).some(({ mark }) => mark !== ' ');
  return all.filter((_, at) => isNear(at));
}
