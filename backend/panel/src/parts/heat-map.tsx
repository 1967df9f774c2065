/**
 * Every node as one square, coloured by its cpu: one canvas, so that 2,048 of them cost one
 * drawing a second. Pointer and keyboard reach each square; the name stands beside it.
 */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { percent } from '../format.ts';
import { beat, nodes } from '../live.ts';
import { colour, theme } from '../theme.ts';
import { type Group, type Layout, layoutOf, stepFrom } from './grid.ts';

const cellPx = 18;
const gapPx = 2;
const pitchPx = cellPx + gapPx;

const stateColours: Record<string, string> = {
  asleep: 'sleep',
  lost: 'bad',
  stale: 'warn',
  waking: 'warn',
  draining: 'warn',
};

type Colours = {
  steps: string[];
  states: Record<string, string>;
  unknown: string;
  mark: string;
  title: string;
};

const coloursNow = (): Colours => ({
  steps: [0, 1, 2, 3, 4, 5].map((step) => colour(`heat-${step}`)),
  states: Object.fromEntries(
    Object.entries(stateColours).map(([state, name]) => [state, colour(name)]),
  ),
  unknown: colour('line'),
  mark: colour('ink'),
  title: colour('faint'),
});

function fillOf(key: string, { steps, states, unknown }: Colours): string {
  const view = nodes.get(key)?.peek();
  if (!view) return unknown;
  const special = states[view.state];
  if (special !== undefined) return special;
  if (view.cpuRatio === null) return unknown;
  return steps[Math.min(steps.length - 1, Math.floor(view.cpuRatio * steps.length))] ?? unknown;
}

function draw(
  context: CanvasRenderingContext2D,
  { cells, titles }: Layout,
  { colours, at }: { colours: Colours; at: number | null },
): void {
  cells.forEach(({ key, column, row }, index) => {
    context.fillStyle = fillOf(key, colours);
    context.beginPath();
    context.roundRect(column * pitchPx, row * pitchPx, cellPx, cellPx, 3);
    context.fill();
    if (index !== at) return;
    context.strokeStyle = colours.mark;
    context.lineWidth = 2;
    context.stroke();
  });
  context.fillStyle = colours.title;
  context.font = '12px system-ui, sans-serif';
  for (const { text, row } of titles) context.fillText(text, 0, row * pitchPx + 14);
}

const arrows = new Set(['ArrowRight', 'ArrowLeft', 'ArrowDown', 'ArrowUp']);

/** How many squares stand beside each other in the place of the canvas. */
function useColumns(canvas: { current: HTMLCanvasElement | null }): number {
  const [columns, setColumns] = useState(1);
  useEffect(() => {
    const parent = canvas.current?.parentElement;
    if (!parent) return undefined;
    const observer = new ResizeObserver(() =>
      setColumns(Math.max(1, Math.floor(parent.clientWidth / pitchPx))),
    );
    observer.observe(parent);
    return () => observer.disconnect();
  }, [canvas]);
  return columns;
}

const Legend = () => (
  <>
    cpu
    {[0, 1, 2, 3, 4, 5].map((step) => (
      <i key={step} class={`swatch heat-${step}`} />
    ))}
    <i class="swatch sleep" /> asleep <i class="swatch warn" /> changing or stale{' '}
    <i class="swatch bad" /> lost
  </>
);

type Props = { groups: readonly Group[]; open: (key: string) => void };

export function HeatMap({ groups, open }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const columns = useColumns(canvas);
  const [at, setAt] = useState<number | null>(null);
  const colours = useRef<Colours | null>(null);
  useEffect(() => void (colours.current = coloursNow()), [theme.value]);
  const layout = useMemo(() => layoutOf(groups, columns), [groups, columns]);
  const { cells, rows } = layout;

  // One drawing per batch of samples.
  const drawnAt = beat.value;
  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext('2d');
    if (!element || !context) return;
    colours.current ??= coloursNow();
    const scale = window.devicePixelRatio;
    element.width = columns * pitchPx * scale;
    element.height = rows * pitchPx * scale;
    context.scale(scale, scale);
    draw(context, layout, { colours: colours.current, at });
  }, [drawnAt, layout, columns, rows, at, theme.value]);

  const indexAt = (event: MouseEvent): number | null => {
    const row = Math.floor(event.offsetY / pitchPx);
    const column = Math.floor(event.offsetX / pitchPx);
    const index = cells.findIndex((cell) => cell.row === row && cell.column === column);
    return index === -1 ? null : index;
  };
  const keyAt = (index: number | null): string | undefined =>
    index === null ? undefined : cells[index]?.key;
  const move = (event: KeyboardEvent): void => {
    const chosen = keyAt(at);
    if (event.key === 'Enter' && chosen !== undefined) return open(chosen);
    if (!arrows.has(event.key)) return;
    event.preventDefault();
    setAt(at === null ? 0 : stepFrom(layout, at, event.key));
  };
  const key = keyAt(at);
  const view = key === undefined ? undefined : nodes.get(key)?.value;

  return (
    <div class="heat-map">
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        aria-label={`${cells.length} nodes as squares, coloured by cpu. Arrow keys choose one, Enter opens it.`}
        style={{ width: `${columns * pitchPx}px`, height: `${rows * pitchPx}px` }}
        onMouseMove={(event) => setAt(indexAt(event))}
        onMouseLeave={() => setAt(null)}
        onClick={(event) => {
          const chosen = keyAt(indexAt(event));
          if (chosen !== undefined) open(chosen);
        }}
        onKeyDown={move}
      />
      <p class="legend" aria-live="polite">
        {view ? (
          <>
            <strong>{view.id}</strong> <span class="faint">{view.cluster}</span> {view.state}
            {view.cpuRatio !== null && `, cpu ${percent(view.cpuRatio)}`}
          </>
        ) : (
          <Legend />
        )}
      </p>
    </div>
  );
}
