/**
 * The busiest moment of each of a node's last minutes, so that the engine judges the past of a node
 * as its guards will: by p95 over the maxima of minutes. A minute in which nobody told anything is
 * not there; with too few of them nothing is known, which binds nobody here, for the guards have
 * the metrics store and the last word.
 */
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { NodeRecord } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';

const minuteMs = 60_000;
/** As far back as anybody asks. */
const kept = 60;
/** Fewer say nothing, as for the guards. */
const minutesMin = 5;
const share = 0.95;

/** Of the last `kept` minutes that were told of: which they were, and their highest values. */
export type Minutes = {
  newest: number;
  minute: Float64Array;
  cpuRatio: Float64Array;
  memoryBytes: Float64Array;
};

const none = -Infinity;
/** In one piece: made for every node of a fleet when it is first seen. */
function empty(): Minutes {
  const all = new Float64Array(3 * kept);
  return {
    newest: none,
    minute: all.subarray(0, kept).fill(none),
    cpuRatio: all.subarray(kept, 2 * kept),
    memoryBytes: all.subarray(2 * kept),
  };
}

/** Takes the newest samples of a cluster's nodes in. Changes `known` in place. */
export function observeMinutes(
  known: Map<NodeKey, Minutes>,
  nodes: readonly NodeRecord[],
  nowMs: number,
): void {
  const minute = Math.floor(nowMs / minuteMs);
  const cell = ((minute % kept) + kept) % kept;
  for (const node of nodes) {
    const { cpuRatio = null, memoryUsedBytes = null } = node.values ?? {};
    if (cpuRatio === null || nodeState(node, nowMs) !== 'awake') continue;
    const key = nodeKey(node.cluster, node.node);
    let minutes = known.get(key);
    if (!minutes) known.set(key, (minutes = empty()));
    const isNew = minutes.minute[cell] !== minute;
    minutes.newest = minute;
    minutes.minute[cell] = minute;
    minutes.cpuRatio[cell] = isNew ? cpuRatio : Math.max(minutes.cpuRatio[cell]!, cpuRatio);
    const used = memoryUsedBytes ?? 0;
    minutes.memoryBytes[cell] = isNew ? used : Math.max(minutes.memoryBytes[cell]!, used);
  }
}

type Span = { nowMs: number; windowMs: number };

/** Places of the minutes that a window holds. */
function within(minutes: Minutes, { nowMs, windowMs }: Span): number[] {
  const after = (nowMs - windowMs) / minuteMs;
  const cells: number[] = [];
  for (let cell = 0; cell < kept; cell += 1) if (minutes.minute[cell]! >= after) cells.push(cell);
  return cells;
}

/** The value that one minute in twenty exceeds; null where too few are known. */
export function busiest(
  minutes: Minutes | undefined,
  of: 'cpuRatio' | 'memoryBytes',
  span: Span,
): number | null {
  if (minutes === undefined) return null;
  const cells = within(minutes, span);
  if (cells.length < minutesMin) return null;
  const place = Math.min(cells.length - 1, Math.floor(cells.length * share));
  let [above, rank] = [Infinity, 0];
  // The few highest are found one by one: cheaper than to sort all of them for every node.
  for (;;) {
    let [next, count] = [-Infinity, 0];
    for (const cell of cells) {
      const value = minutes[of][cell]!;
      if (value >= above) continue;
      if (value > next) [next, count] = [value, 1];
      else if (value === next) count += 1;
    }
    rank += count;
    if (rank >= cells.length - place) return next;
    above = next;
  }
}

/** How long until a node that does nothing from now on was below `cpuRatio` by p95, ms. */
export function idleInMs(minutes: Minutes, cpuRatio: number, { nowMs, windowMs }: Span): number {
  const inWindow = within(minutes, { nowMs, windowMs });
  const busy = inWindow
    .filter((cell) => minutes.cpuRatio[cell]! >= cpuRatio)
    .map((cell) => minutes.minute[cell]!)
    .sort((a, b) => a - b);
  for (let later = 0; later <= kept; later += 1) {
    const left = busy.filter((minute) => minute * minuteMs >= nowMs + later * minuteMs - windowMs);
    const count = Math.min(Math.floor(windowMs / minuteMs) + 1, inWindow.length + later);
    if (left.length < count - Math.floor(count * share)) return later * minuteMs;
  }
  return windowMs;
}
