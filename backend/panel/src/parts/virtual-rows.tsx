/**
 * A table of any length of which only the rows in sight exist, by @tanstack/virtual-core. Every
 * row has the same height, so the scroll bar is true from the start.
 */
import {
  elementScroll,
  observeElementOffset,
  observeElementRect,
  Virtualizer,
} from '@tanstack/virtual-core';
import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useReducer, useRef, useState } from 'preact/hooks';

const rowHeightPx = 40;

type Props<T> = {
  items: readonly T[];
  keyOf: (item: T) => string;
  head: ComponentChildren;
  row: (item: T) => ComponentChildren;
  label: string;
  columns: number;
};

export function VirtualRows<T>({ items, keyOf, head, row, label, columns }: Props<T>) {
  const scroller = useRef<HTMLDivElement>(null);
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const options = {
    count: items.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeightPx,
    overscan: 8,
    observeElementRect,
    observeElementOffset,
    scrollToFn: elementScroll,
    onChange: () => redraw(undefined),
  };
  const [virtual] = useState(() => new Virtualizer<HTMLDivElement, HTMLTableRowElement>(options));
  virtual.setOptions(options);
  useLayoutEffect(() => virtual._didMount(), [virtual]);
  useLayoutEffect(() => virtual._willUpdate());

  const shown = virtual.getVirtualItems();
  const above = shown[0]?.start ?? 0;
  const below = virtual.getTotalSize() - (shown.at(-1)?.end ?? 0);
  const spacer = (height: number) =>
    height > 0 && (
      <tr aria-hidden="true">
        <td colSpan={columns} style={{ height: `${height}px`, padding: 0 }} />
      </tr>
    );
  return (
    <div class="scroll tall card" ref={scroller} tabIndex={0} role="region" aria-label={label}>
      <table class="fixed-rows" aria-rowcount={items.length}>
        <thead>{head}</thead>
        <tbody>
          {spacer(above)}
          {shown.map(({ index }) => {
            const item = items[index];
            return item === undefined ? null : <tr key={keyOf(item)}>{row(item)}</tr>;
          })}
          {spacer(below)}
        </tbody>
      </table>
    </div>
  );
}
