/** Reels for tests: nodes and guests of a small house with loads as functions of the step. */
import type { FactsChange, Reel, Rows } from '../../../backend/backtest/reel.ts';

export const startMs = Date.UTC(2026, 0, 5);
export const minuteMs = 60_000;
const gib = 2 ** 30;

export type Load = number | null | ((step: number) => number | null);
export type GuestOf = { node: string | ((step: number) => string); cores: number; load: Load };
export type HouseOf = {
  steps: number;
  /** Own load beside that of guests; null for a node that says nothing. */
  nodes: Record<string, Load>;
  guests: Record<string, GuestOf>;
  /** Of every value, how much its peak lies above it. */
  peak?: number;
  watts?: (cpuRatio: number) => number;
};

export const nodeCores = 8;
const at = (load: Load, step: number): number =>
  (typeof load === 'function' ? load(step) : load) ?? NaN;

const rowsOf = (names: string[], steps: number, columns: readonly string[]): Rows => ({
  names,
  values: Object.fromEntries(
    columns.map((column) => [column, new Float64Array(names.length * steps).fill(NaN)]),
  ),
});

const columns = ['cpuRatio', 'cpuRatioMax', 'cpuCount', 'memoryUsedBytes', 'memoryTotalBytes'];

export function reelOf({ steps, nodes, guests, peak = 0, watts }: HouseOf): Reel {
  const nodeNames = Object.keys(nodes).sort();
  const guestNames = Object.keys(guests).sort();
  const nodeRows = rowsOf(nodeNames, steps, [...columns, 'powerWatts']);
  const guestRows = rowsOf(guestNames, steps, columns);
  const guestNode = new Int32Array(guestNames.length * steps).fill(-1);
  const put = (rows: Rows, cell: number, values: Record<string, number>): void => {
    for (const [name, value] of Object.entries(values)) rows.values[name]![cell] = value;
  };
  for (let step = 0; step < steps; step += 1) {
    const used = nodeNames.map((name) => at(nodes[name]!, step) * nodeCores);
    guestNames.forEach((name, row) => {
      const guest = guests[name]!;
      const node = typeof guest.node === 'function' ? guest.node(step) : guest.node;
      const place = nodeNames.indexOf(node);
      const cpuRatio = at(guest.load, step);
      if (Number.isNaN(cpuRatio)) return;
      const cell = row * steps + step;
      guestNode[cell] = place;
      used[place]! += cpuRatio * guest.cores;
      put(guestRows, cell, {
        cpuRatio,
        cpuRatioMax: Math.min(1, cpuRatio + peak),
        cpuCount: guest.cores,
        memoryUsedBytes: gib,
        memoryTotalBytes: 2 * gib,
      });
    });
    nodeNames.forEach((_, row) => {
      const cpuRatio = used[row]! / nodeCores;
      if (Number.isNaN(cpuRatio)) return;
      put(nodeRows, row * steps + step, {
        cpuRatio,
        cpuRatioMax: Math.min(1, cpuRatio + peak),
        cpuCount: nodeCores,
        memoryUsedBytes: 4 * gib,
        memoryTotalBytes: 32 * gib,
        ...(watts && { powerWatts: watts(cpuRatio) }),
      });
    });
  }
  return {
    fromMs: startMs,
    stepMs: minuteMs,
    steps,
    nodes: nodeRows,
    guests: guestRows,
    guestNode,
  };
}

export const nodeFact = (id: string, facts: Record<string, unknown> = {}): FactsChange => ({
  atMs: 0,
  entity: 'node',
  id,
  facts: { cpuCount: nodeCores, wattsIdle: 50, wattsLoaded: 150, bootMs: 120_000, ...facts },
});

export const guestFact = (
  id: string,
  facts: Record<string, unknown> = {},
  atMs = 0,
): FactsChange => ({
  atMs,
  entity: 'guest',
  id,
  facts: {
    node: 'n1',
    kind: 'vm',
    name: id,
    state: 'running',
    tags: [],
    lock: null,
    haState: null,
    ...facts,
  },
});
