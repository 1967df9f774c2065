/**
 * What a decision needs to remember between rounds: since when a node is hot, and what moved
 * lately. A gap in the samples ends a hot spell, because unknown is not high.
 */
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { NodeRecord } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import type { Policy } from './policy.ts';

export type Move = { guest: string; fromNode: string; toNode: string | null; atMs: number };

export type History = {
  /** Monotonic ms since when cpu has been above the policy's threshold without a gap. */
  hotSinceMs: Map<NodeKey, number>;
  /** Migrations that are still under way, by cluster. */
  movesInFlight: Map<string, readonly Move[]>;
  /** Newest migration of each guest, `<cluster>/<guest>` -> monotonic ms. */
  lastMovedAtMs: Map<string, number>;
};

export const emptyHistory = (): History => ({
  hotSinceMs: new Map(),
  movesInFlight: new Map(),
  lastMovedAtMs: new Map(),
});

/** Updates the hot spells of one cluster's nodes, in place. */
export function observe(
  history: History,
  nodes: Iterable<NodeRecord>,
  policy: Policy,
  nowMs: number,
): void {
  const { above, clear } = policy.relieve.cpuRatio;
  for (const node of nodes) {
    const key = nodeKey(node.cluster, node.node);
    const cpu = nodeState(node, nowMs) === 'awake' ? (node.values?.cpuRatio ?? null) : null;
    const since = history.hotSinceMs.get(key);
    if (cpu === null || (since !== undefined && cpu < clear)) history.hotSinceMs.delete(key);
    else if (since === undefined && cpu > above) history.hotSinceMs.set(key, nowMs);
  }
}
