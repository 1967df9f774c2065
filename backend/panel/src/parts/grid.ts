/** Nodes in groups, as squares in rows: where each stands and where an arrow key leads. Pure. */

/** `name` is empty where all nodes are one group. */
export type Group = { name: string; keys: readonly string[] };

/** The first `max` nodes in the same groups. */
export function firstOf(groups: readonly Group[], max: number): Group[] {
  let left = max;
  const some = groups.map(({ name, keys }) => {
    const shown = keys.slice(0, left);
    left -= shown.length;
    return { name, keys: shown };
  });
  return some.filter(({ keys }) => keys.length > 0);
}

export type Cell = { key: string; column: number; row: number };
export type Layout = { cells: Cell[]; titles: { text: string; row: number }[]; rows: number };

/** Squares in rows of `columns`; a named group begins a row under its name. */
export function layoutOf(groups: readonly Group[], columns: number): Layout {
  const layout: Layout = { cells: [], titles: [], rows: 0 };
  for (const { name, keys } of groups) {
    if (name !== '') {
      layout.titles.push({ text: `${name} (${keys.length})`, row: layout.rows });
      layout.rows += 1;
    }
    keys.forEach((key, index) => {
      const row = layout.rows + Math.floor(index / columns);
      layout.cells.push({ key, column: index % columns, row });
    });
    layout.rows += Math.ceil(keys.length / columns);
  }
  return layout;
}

/** Where an arrow leads from a square; nowhere beyond the last. */
export function stepFrom({ cells }: Layout, at: number, arrow: string): number {
  const from = cells[at];
  if (!from) return 0;
  if (arrow === 'ArrowRight') return Math.min(cells.length - 1, at + 1);
  if (arrow === 'ArrowLeft') return Math.max(0, at - 1);
  const isDown = arrow === 'ArrowDown';
  const next = isDown
    ? cells.find(({ row }) => row > from.row)
    : cells.findLast(({ row }) => row < from.row);
  if (!next) return at;
  const inRow = cells.filter(({ row }) => row === next.row);
  return cells.indexOf(inRow[Math.min(from.column, inRow.length - 1)] as Cell);
}
