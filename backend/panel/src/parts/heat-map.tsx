/**
 * Every node as one square, coloured by its cpu: one canvas, so that 2,048 of them cost one
 * drawing a second. Pointer and keyboard reach each square; the name stands beside it.
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import { percent } from '../format.ts';
import { beat, nodes } from '../live.ts';
import { colour, theme } from '../theme.ts';

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

type Colours = { steps: string[]; states: Record<string, string>; unknown: string; mark: string };

const coloursNow = (): Colours => ({
  steps: [0, 1, 2, 3, 4, 5].map((step) => colour(`heat-${step}`)),
  states: Object.fromEntries(
    Object.entries(stateColours).map(([state, name]) => [state, colour(name)]),
  ),
  unknown: colour('line'),
  mark: colour('ink'),
});

function fillOf(key: string, { steps, states, unknown }: Colours): string {
  const view = nodes.get(key)?.peek();
  if (!view) return unknown;
  const special = states[view.state];
  if (special !== undefined) return special;
  if (view.cpuRatio === null) return unknown;
  return steps[Math.min(steps.length - 1, Math.floor(view.cpuRatio * steps.length))] ?? unknown;
}

export function HeatMap({ keys, open }: { keys: readonly string[]; open: (key: string) => void }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [columns, setColumns] = useState(1);
  const [at, setAt] = useState<number | null>(null);
  const colours = useRef<Colours | null>(null);
  useEffect(() => void (colours.current = coloursNow()), [theme.value]);

  useEffect(() => {
    const parent = canvas.current?.parentElement;
    if (!parent) return undefined;
    const observer = new ResizeObserver(() =>
      setColumns(Math.max(1, Math.floor(parent.clientWidth / pitchPx))),
    );
    observer.observe(parent);
    return () => observer.disconnect();
  }, []);

  const rows = Math.ceil(keys.length / columns);
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
    keys.forEach((key, index) => {
      context.fillStyle = fillOf(key, colours.current as Colours);
      const x = (index % columns) * pitchPx;
      const y = Math.floor(index / columns) * pitchPx;
      context.beginPath();
      context.roundRect(x, y, cellPx, cellPx, 3);
      context.fill();
      if (index !== at) return;
      context.strokeStyle = (colours.current as Colours).mark;
      context.lineWidth = 2;
      context.stroke();
    });
  }, [drawnAt, keys, columns, rows, at, theme.value]);

  const indexAt = (event: MouseEvent): number | null => {
    const index =
      Math.floor(event.offsetY / pitchPx) * columns + Math.floor(event.offsetX / pitchPx);
    return index < keys.length ? index : null;
  };
  const move = (event: KeyboardEvent): void => {
    const steps: Record<string, number> = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: columns,
      ArrowUp: -columns,
    };
    const step = steps[event.key];
    const key = at === null ? undefined : keys[at];
    if (event.key === 'Enter' && key !== undefined) return open(key);
    if (step === undefined) return;
    event.preventDefault();
    setAt(Math.min(keys.length - 1, Math.max(0, (at ?? -step) + step)));
  };
  const key = at === null ? undefined : keys[at];
  const view = key === undefined ? undefined : nodes.get(key)?.value;

  return (
    <div class="heat-map">
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        aria-label={`${keys.length} nodes as squares, coloured by cpu. Arrow keys choose one, Enter opens it.`}
        style={{ width: `${columns * pitchPx}px`, height: `${rows * pitchPx}px` }}
        onMouseMove={(event) => setAt(indexAt(event))}
        onMouseLeave={() => setAt(null)}
        onClick={(event) => {
          const index = indexAt(event);
          const chosen = index === null ? undefined : keys[index];
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
          <>
            cpu
            {[0, 1, 2, 3, 4, 5].map((step) => (
              <i key={step} class={`swatch heat-${step}`} />
            ))}
            <i class="swatch sleep" /> asleep <i class="swatch warn" /> changing or stale{' '}
            <i class="swatch bad" /> lost
          </>
        )}
      </p>
    </div>
  );
}
