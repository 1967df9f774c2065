/** What client commands print: a table for people, or the server's own words as JSON. */

export type Cell = string | { text: string; isNumber: true };

const textOf = (cell: Cell): string => (typeof cell === 'string' ? cell : cell.text);

export const number = (text: string): Cell => ({ text, isNumber: true });

/** Columns as wide as their widest cell; numbers stand at the right of theirs. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const widths = head.map((title, at) =>
    Math.max(title.length, ...rows.map((row) => textOf(row[at] ?? '').length)),
  );
  const line = (cells: readonly Cell[]): string =>
    cells
      .map((cell, at) => {
        const width = widths[at] ?? 0;
        return typeof cell === 'string' ? cell.padEnd(width) : cell.text.padStart(width);
      })
      .join('  ')
      .trimEnd();
  return [line(head.map((title) => title.toUpperCase())), ...rows.map(line)].join('\n');
}

export const json = (value: unknown): string => JSON.stringify(value, null, 2);
