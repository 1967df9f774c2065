/**
 * A target by its past, as the guards will judge it (SAFETY V8): what the busiest of its last hour
 * used counts as used. A node that has just come up has no past to be judged by and receives
 * nothing yet. Pure.
 */
import { nodeKey } from '../../broker/contract/ids.ts';
import type { Model, Situation } from './model.ts';
import { busiest } from './minutes.ts';
import { scaledMs } from './policy.ts';

/** The guards want to have seen five minutes of a node, the first and last of which are cut. */
const youngMs = 6 * 60_000;

/** Changes what `model` says of a node that is awake. */
export function lookBack(model: Model, place: number, situation: Situation): void {
  const { policy, cluster, history, nowMs } = situation;
  const { loadWindowMs, cpuReserveRatio } = policy.moves;
  if (loadWindowMs === undefined || loadWindowMs === 0) return;
  const { node, values } = model.nodes[place]!;
  const minutes = history.minutes.get(nodeKey(cluster.id, node));
  const span = { nowMs, windowMs: scaledMs(loadWindowMs, cluster) };
  const cpuRatio = busiest(minutes, 'cpuRatio', span);
  const memoryBytes = busiest(minutes, 'memoryBytes', span);
  if (cpuRatio === null || memoryBytes === null) {
    const upMs = values?.uptimeMs ?? null;
    if (upMs !== null && upMs < youngMs) model.young[place] = 1;
    return;
  }
  const capacity = model.capacity[place]!;
  model.busiest[place] = cpuRatio * capacity;
  model.busiestMost[place] = (1 - (cpuReserveRatio ?? 0)) * capacity;
  const more = memoryBytes - (values?.memoryUsedBytes ?? 0);
  if (more > 0) model.memoryFree[place]! -= more;
}
