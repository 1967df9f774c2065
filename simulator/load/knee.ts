/**
 * Looks for the highest load that a server carries: steps grow by a factor until one breaks a
 * promise, then the gap between the last that held and the first that broke is halved until it is
 * small enough. Pure: each step's verdict comes from outside.
 */
import type { Stage } from './profile.ts';

export type KneeSearch = {
  vary: 'nodes' | 'interval';
  factor: number;
  for: number;
  precision: number;
  nodesMax: number;
  intervalMinMs: number;
};

/** Of a step: nodes and ms between samples. */
export type Load = { nodes: number; intervalMs: number };
export type Tried = { load: Load; holds: boolean };

const rateOf = ({ nodes, intervalMs }: Load): number => (nodes * 1_000) / intervalMs;

/** The load `ratio` times as high, within what is possible. */
function scaled(load: Load, ratio: number, search: KneeSearch): Load {
  return search.vary === 'nodes'
    ? { ...load, nodes: Math.min(search.nodesMax, Math.round(load.nodes * ratio)) }
    : { ...load, intervalMs: Math.max(search.intervalMinMs, Math.round(load.intervalMs / ratio)) };
}

const best = (tried: readonly Tried[]): Load | undefined =>
  tried
    .filter(({ holds }) => holds)
    .map(({ load }) => load)
    .sort((a, b) => rateOf(b) - rateOf(a))[0];
const worst = (tried: readonly Tried[]): Load | undefined =>
  tried
    .filter(({ holds }) => !holds)
    .map(({ load }) => load)
    .sort((a, b) => rateOf(a) - rateOf(b))[0];

/** The load to try next; null when the knee is known as well as asked, or lies beyond reach. */
export function nextLoad(first: Load, tried: readonly Tried[], search: KneeSearch): Load | null {
  const [held, broke] = [best(tried), worst(tried)];
  if (tried.length === 0) return first;
  if (!held) {
    // Even the first was too much: downwards, until one holds or there is next to nothing.
    const lower = scaled(broke as Load, 1 / search.factor, search);
    const isLower = rateOf(lower) < rateOf(broke as Load);
    return isLower && rateOf(lower) >= rateOf(first) / 1_000 ? lower : null;
  }
  if (!broke) {
    const higher = scaled(held, search.factor, search);
    return rateOf(higher) > rateOf(held) ? higher : null;
  }
  const gap = rateOf(broke) / rateOf(held);
  if (gap <= 1 + search.precision) return null;
  const middle = scaled(held, Math.sqrt(gap), search);
  const isNew = rateOf(middle) > rateOf(held) && rateOf(middle) < rateOf(broke);
  return isNew ? middle : null;
}

/** Messages in a second; null when nothing held. */
export function kneeOf(tried: readonly Tried[]): (Load & { perSecond: number }) | null {
  const load = best(tried);
  return load ? { ...load, perSecond: Math.round(rateOf(load) * 10) / 10 } : null;
}

/** A fifth of the step, so that most of it is steady. */
export const stageOfLoad = ({ nodes, intervalMs }: Load, { for: forMs }: KneeSearch): Stage => ({
  nodes,
  interval: intervalMs,
  for: forMs,
  ramp: Math.round(forMs / 5),
});
