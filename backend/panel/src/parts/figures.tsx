/** Small pictures of numbers: state, bar, sparkline, key figure. Colour never speaks alone. */
import type { ComponentChildren } from 'preact';
import { dash } from '../format.ts';
import { type Spark, sparkLength } from '../live.ts';

const glyphs: Record<string, string> = {
  awake: '●',
  running: '●',
  asleep: '☾',
  stopped: '○',
  paused: '❙❙',
  suspended: '☾',
  waking: '↑',
  draining: '↓',
  stale: '◌',
  lost: '✕',
  maintenance: '⚒',
  unknown: '?',
};

export const State = ({ state }: { state: string }) => (
  <span class="state" data-state={state}>
    <span aria-hidden="true">{glyphs[state] ?? '?'}</span> {state}
  </span>
);

/** From here on a bar changes its colour; only a hint for the eye. */
const highRatio = 0.8;

export function Bar({ ratio, label, text }: { ratio: number | null; label: string; text: string }) {
  return (
    <div class="bar-row">
      <span class="faint">{label}</span>
      <span
        class={`bar${ratio !== null && ratio > highRatio ? ' high' : ''}`}
        role="meter"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={ratio === null ? 0 : Math.round(ratio * 100)}
        aria-valuetext={ratio === null ? 'not measured' : text}
      >
        <span style={{ width: `${Math.min(100, (ratio ?? 0) * 100)}%` }} />
      </span>
      <span class="number">{ratio === null ? dash : text}</span>
    </div>
  );
}

/** Broken where nothing was measured; its height is 0..1. */
export function pathOf(spark: Spark, width: number, height: number): string {
  const step = width / (sparkLength - 1);
  let path = '';
  let isDown = false;
  spark.forEach((value, index) => {
    if (Number.isNaN(value)) {
      isDown = false;
      return;
    }
    const x = (index * step).toFixed(1);
    const y = (height - 1 - value * (height - 2)).toFixed(1);
    path += `${isDown ? 'L' : 'M'}${x} ${y}`;
    isDown = true;
  });
  return path;
}

export const Sparkline = ({ spark, label }: { spark: Spark | undefined; label: string }) => (
  <svg class="spark" viewBox="0 0 160 32" preserveAspectRatio="none" role="img" aria-label={label}>
    {spark && <path d={pathOf(spark, 160, 32)} vector-effect="non-scaling-stroke" />}
  </svg>
);

export const Figure = ({
  label,
  children,
  hint,
}: {
  label: string;
  children: ComponentChildren;
  hint?: string | undefined;
}) => (
  <div class="figure">
    <dt>{label}</dt>
    <dd>
      {children}
      {hint && <small>{hint}</small>}
    </dd>
  </div>
);
