/**
 * Since when a guest needs more than it has, or far less: what scaling waits for. Counted only for
 * guests that a policy lets scale. Unknown ends a wait, for it is neither much nor little. Memory
 * in use is what the guest itself uses; a virtual machine that tells all of it as used has nobody
 * inside who says how much is real, and counts as unknown.
 */
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import { nodeState } from '../state/node-state.ts';
import { ruleFor } from './guest-policy.ts';
import { guestRules } from './guest-rules.ts';
import type { ClusterState } from './model.ts';
import type { Policy } from './policy.ts';

export type Resource = 'cpu' | 'memory';

/** In cores or bytes: what the guest has, and what it uses of that. */
export type Size = { has: number; uses: number };

/** `most`: the highest use seen since the wait began. */
export type SizeWait = {
  resource: Resource;
  way: 'grow' | 'shrink';
  sinceMs: number;
  most: number;
};

/** The newest change of a guest's size, and how many in a row have failed. */
export type Scaled = { atMs: number; isOpen: boolean; failures: number };

/** Cluster -> `<guest>/<resource>` -> its wait. */
export type SizeWaits = Map<string, Map<string, SizeWait>>;

/** From this share on a virtual machine tells nothing: its pages were touched once, no more. */
const allTouchedRatio = 0.995;

/** Cores that a guest may use: its count, or less where a limit is set (0 is none). */
export const coresOf = (cpuCount: number, cpuLimit: number | null): number =>
  cpuLimit !== null && cpuLimit > 0 ? Math.min(cpuCount, cpuLimit) : cpuCount;

export function sizeOf(
  guest: GuestSample,
  resource: Resource,
  cpuLimit: number | null,
): Size | null {
  const { cpuCount, cpuRatio, memoryUsedBytes: used, memoryTotalBytes: total, kind } = guest;
  if (guest.state !== 'running') return null;
  if (resource === 'cpu') {
    if (cpuCount === null || cpuRatio === null || cpuCount <= 0) return null;
    return { has: coresOf(cpuCount, cpuLimit), uses: cpuRatio * cpuCount };
  }
  if (used === null || total === null || total <= 0) return null;
  const isTold = kind !== 'vm' || used < allTouchedRatio * total;
  return isTold ? { has: total, uses: used } : null;
}

export const waitKey = (guest: string, resource: Resource): string => `${guest}/${resource}`;

export const resources = ['cpu', 'memory'] as const;

/** What was refused is waited for anew, instead of asked for again and again. */
export function forgetWaits(waits: SizeWaits, cluster: string, guest: string): void {
  for (const resource of resources) waits.get(cluster)?.delete(waitKey(guest, resource));
}

function wayOf(policy: Policy, resource: Resource, { has, uses }: Size): SizeWait['way'] | null {
  const { above, below } = resource === 'cpu' ? policy.scale.cpuRatio : policy.scale.memoryRatio;
  if (uses > above * has) return 'grow';
  return uses < below * has ? 'shrink' : null;
}

/** Takes the newest samples of guests that may be scaled in; a gap ends a wait. */
export function observeSizes(
  waits: SizeWaits,
  { cluster, nodes }: ClusterState,
  policy: Policy,
  nowMs: number,
): void {
  if (policy.scale.guests.length === 0) return void waits.delete(cluster.id);
  const before = waits.get(cluster.id);
  const now = new Map<string, SizeWait>();
  for (const node of nodes) {
    if (nodeState(node, nowMs) !== 'awake') continue;
    for (const guest of node.guests ?? []) {
      const rule = ruleFor(policy.scale.guests, guest);
      if (rule === null) continue;
      const cpuLimit = guestRules(node).get(guest.id)?.cpuLimit ?? null;
      for (const resource of resources) {
        const size = rule[resource] && sizeOf(guest, resource, cpuLimit);
        const way = size && wayOf(policy, resource, size);
        if (!size || !way) continue;
        const key = waitKey(guest.id, resource);
        const known = before?.get(key);
        const isSame = known?.way === way;
        const sinceMs = isSame ? known.sinceMs : nowMs;
        const most = isSame ? Math.max(known.most, size.uses) : size.uses;
        now.set(key, { resource, way, sinceMs, most });
      }
    }
  }
  waits.set(cluster.id, now);
}
