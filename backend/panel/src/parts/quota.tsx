/** What is taken of a limit: the sum in figures, and a bar where there is a limit. */

export const gibibyte = 2 ** 30;
export const gibibytes = (bytes: number): string =>
  `${Math.round((bytes / gibibyte) * 100) / 100} GiB`;

/** `taken` null: it is a rule, of which nothing is taken as a whole. `max` null: no limit. */
export function Taken({
  taken,
  max,
  textOf,
}: {
  taken: number | null;
  max: number | null;
  textOf: (value: number) => string;
}) {
  if (max === null) {
    return (
      <span class="no-limit">
        {taken !== null && `${textOf(taken)}, `}
        <span class="faint">no limit</span>
      </span>
    );
  }
  if (taken === null) return <span>{textOf(max)}</span>;
  const isOver = taken > max;
  const ratio = max === 0 ? Number(isOver) : taken / max;
  return (
    <span class="taken">
      <span class={isOver ? 'bad-text' : undefined}>
        {textOf(taken)} of {textOf(max)}
        {isOver && ', over it'}
      </span>
      <span class={isOver ? 'bar high' : 'bar'} aria-hidden="true">
        <span style={{ width: `${Math.min(100, ratio * 100)}%` }} />
      </span>
    </span>
  );
}
