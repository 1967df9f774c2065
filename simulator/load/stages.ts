/**
 * How many daemons shall be connected at a moment of a load test. Pure: a ramp is a straight line
 * from the number of nodes of the stage before.
 */
import type { Stage } from './profile.ts';

export const durationOf = (stages: readonly Stage[]): number =>
  stages.reduce((sum, stage) => sum + stage.for, 0);

export const nodesMaxOf = (stages: readonly Stage[]): number =>
  stages.reduce((most, { nodes }) => Math.max(most, nodes), 0);

/** With a ramp the first stage begins with nobody, without one with everybody. */
export const firstNodesOf = ([first]: readonly Stage[]): number =>
  first === undefined || first.ramp > 0 ? 0 : first.nodes;

/** `insideMs` since the stage began, with `before` nodes from the stage before. */
export function nodesAt(stage: Stage, before: number, insideMs: number): number {
  const share = stage.ramp === 0 ? 1 : Math.min(1, insideMs / stage.ramp);
  return Math.round(before + (stage.nodes - before) * share);
}

/** One of several simulators that share a test; `index` counts from 1. */
export type Shard = { index: number; count: number };

/** This shard's part of a whole number; all parts together are the whole. */
export const partOf = (whole: number, { index, count }: Shard): number =>
  Math.floor((whole * index) / count) - Math.floor((whole * (index - 1)) / count);
