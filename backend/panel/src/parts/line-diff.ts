/** Which lines of a text went and came, with a little of what stands around each change. */
import { diffLines } from 'diff';

export type DiffLine = { mark: ' ' | '-' | '+'; text: string };

/** How many lines around a change are told with it. */
const around = 2;

/** Ends in exactly one line end, so that the last line is compared as every other. */
const whole = (text: string): string => `${text.trimEnd()}\n`;

/** @returns nothing where both say the same */
export function lineDiff(before: string, after: string): DiffLine[] {
  const all = diffLines(whole(before), whole(after)).flatMap(({ value, added, removed }) => {
    const mark = added ? '+' : removed ? '-' : ' ';
    return value
      .slice(0, -1)
      .split('\n')
      .map((text): DiffLine => ({ mark, text }));
  });
  const isNear = (at: number): boolean =>
    all.slice(Math.max(0, at - around), at + around + 1).some(({ mark }) => mark !== ' ');
  return all.filter((_, at) => isNear(at));
}
