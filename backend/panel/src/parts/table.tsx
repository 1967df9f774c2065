/** A table that scrolls sideways by itself, also by keyboard; and how much of a list it shows. */
import type { ComponentChildren } from 'preact';

/** A title per column; `number` puts it at the right, as its cells are. */
export type Column = string | { number: string };

export const Table = ({
  head,
  children,
}: {
  head: readonly Column[];
  children: ComponentChildren;
}) => (
  <div class="scroll card" tabIndex={0}>
    <table>
      <thead>
        <tr>
          {head.map((column, at) =>
            typeof column === 'string' ? (
              <th key={at} scope="col">
                {column}
              </th>
            ) : (
              <th key={at} scope="col" class="number">
                {column.number}
              </th>
            ),
          )}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  </div>
);

export const Newest = ({ shown, total }: { shown: number; total: number }) =>
  total > shown ? (
    <p class="faint">
      The newest {shown} of {total.toLocaleString()}.
    </p>
  ) : null;
