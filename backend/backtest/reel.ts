/**
 * Recorded telemetry of one stretch of time as numbers, the way it travels to the worker: one row
 * of steps per node and guest. NaN is unknown, never zero. Pure; only shapes and reading.
 */

/** Rows in order of `names`, each of `steps` values. */
export type Rows = { names: readonly string[]; values: Record<string, Float64Array> };

export type Reel = {
  /** Wall ms of the first step; step k covers [fromMs + k stepMs, fromMs + (k + 1) stepMs). */
  fromMs: number;
  stepMs: number;
  steps: number;
  /** cpuRatio, cpuRatioMax, cpuCount, memoryUsedBytes, memoryTotalBytes, and watts. */
  nodes: Rows;
  /** cpuRatio, cpuRatioMax, cpuCount, memoryUsedBytes, memoryTotalBytes. */
  guests: Rows;
  /** Place in `nodes.names` where each guest was recorded, by step; -1 where nobody told of it. */
  guestNode: Int32Array;
};

export const columns = ['cpuRatio', 'cpuCount', 'memoryUsedBytes', 'memoryTotalBytes'] as const;
/** Of a step the highest as well as the mean: energy follows the mean, overload the highest. */
export const peakColumn = 'cpuRatioMax';
export const wattsColumn = 'powerWatts';
/** By the model of its class, where no meter is. */
export const estimateColumn = 'powerEstimatedWatts';

/** What was true of a node or guest from a moment on, as `facts_history` keeps it. */
export type FactsChange = {
  atMs: number;
  entity: 'node' | 'guest';
  id: string;
  facts: Readonly<Record<string, unknown>>;
};
