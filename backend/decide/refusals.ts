/**
 * What was refused or did not come true, so that the next round tries something else instead of
 * asking the same again: a move that a guard denied is not proposed to the same target for a
 * while, a guest that was denied everywhere is left alone, a node that may not sleep keeps others
 * from being emptied in vain, and one that did not wake is tried after the others, ever later.
 */
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { ClusterState } from './model.ts';
import type { History } from './history.ts';
import type { Intent, Plan } from './plan.ts';
import { scaledMs } from './policy.ts';
import { forgetWaits } from './sizing.ts';

/**
 * Targets that were refused for one guest, or a node's own refusal, and the newest moment.
 * `isPassing`: it passes by waiting alone, so that it is asked again sooner and nothing is in vain.
 */
export type Refusal = { atMs: number; targets: readonly string[]; isPassing: boolean };
/** Wakes of a node that is not awake since. */
export type Tries = { atMs: number; count: number };

/** Guards let nothing sleep that has not been shown to wake, so that emptying it saves nothing. */
export const wakesForSure = (
  { cluster, history }: Pick<ClusterState, 'cluster'> & { history: History },
  node: string,
): boolean => history.proven.get(cluster.id)?.has(node) ?? true;

const minute = 60_000;
export const refusedForMs = 10 * minute;
export const passingForMs = 3 * minute;
/** What guards and limiter deny only for now: enough is under way, or it is too soon. */
const passingCodes: ReadonlySet<string> = new Set([
  'KR_COMMANDS_AT_ONCE',
  'KR_LIMITER',
  'KR_LOAD_UNKNOWN',
  'KR_MEMBERSHIP_UNSTABLE',
  'KR_MIGRATIONS',
  'KR_NOT_IDLE',
  'KR_POWER_OFF_IN_FLIGHT',
  'KR_UP_TOO_SHORT',
]);
/** Refused by so many targets, a guest is left alone as a whole. */
export const targetsMax = 3;
/** After a wake that failed the node waits this long, twice as long after the next, up to a day. */
const wakeAgainMs = 10 * minute;
const doublingsMax = 7;

const keyOf = (cluster: string, kind: string, id: string): string => `${cluster}/${kind}/${id}`;

/**
 * Remembers that an intent was denied or could not be carried out.
 * @param code by which a guard or the limiter denied it; unknown when the world had moved on
 */
export function noteRefusal(
  history: History,
  intent: Intent,
  { nowMs, code }: { nowMs: number; code?: string | undefined },
): void {
  const { cluster, target, action } = intent;
  const key = keyOf(cluster, target.kind, target.id);
  const known = history.refusals.get(key);
  const isRecent = known !== undefined && nowMs - known.atMs < refusedForMs;
  const before = isRecent ? known.targets : [];
  const to = action.kind === 'guest.migrate' ? action.args.targetNode : target.id;
  const targets = before.includes(to) ? before : [...before, to];
  const isPassing = code !== undefined && passingCodes.has(code);
  history.refusals.set(key, { atMs: nowMs, targets, isPassing });
  if (action.kind === 'node.wake' && isPassing) forgetWake(history, nodeKey(cluster, target.id));
  if (action.kind === 'guest.scale') forgetWaits(history.sizeWaits, cluster, target.id);
}

type At = Pick<ClusterState, 'cluster'> & { history: History; nowMs: number };

/** What was refused lately for a guest or node, null when nothing was. */
export function refusalOf(
  { cluster, history, nowMs }: At,
  kind: 'guest' | 'node',
  id: string,
): Refusal | null {
  if (history.refusals.size === 0) return null;
  const known = history.refusals.get(keyOf(cluster.id, kind, id));
  if (known === undefined) return null;
  const forMs = known.isPassing ? passingForMs : refusedForMs;
  return nowMs - known.atMs < scaledMs(forMs, cluster) ? known : null;
}

/** Counts the wakes of a plan; a node that is awake again starts anew. */
export function noteWakes(history: History, plan: Plan, nowMs: number): void {
  for (const { action, target } of plan.intents) {
    if (action.kind !== 'node.wake') continue;
    const key = nodeKey(plan.cluster, target.id);
    const count = (history.wakeTries.get(key)?.count ?? 0) + 1;
    history.wakeTries.set(key, { atMs: nowMs, count });
  }
}

/** A wake that only had to wait for its turn was no try: the next round may ask again. */
function forgetWake(history: History, key: NodeKey): void {
  const tries = history.wakeTries.get(key);
  if (tries === undefined) return;
  if (tries.count === 1) history.wakeTries.delete(key);
  else history.wakeTries.set(key, { ...tries, count: tries.count - 1 });
}

/** Until when a sleeping node is not woken again, in ms from now; 0 when it may be. */
export function wakeWaitMs({ cluster, history, nowMs }: At, node: string): number {
  const tries = history.wakeTries.get(nodeKey(cluster.id, node) satisfies NodeKey);
  if (tries === undefined) return 0;
  const doublings = Math.min(tries.count - 1, doublingsMax);
  const waitMs = scaledMs(wakeAgainMs * 2 ** doublings, cluster);
  return Math.max(0, tries.atMs + waitMs - nowMs);
}

const forgottenMin = 4_096;

/** Refusals that are over limit nothing; dropped when there are many. */
export function forgetRefusals(history: History, nowMs: number): void {
  if (history.refusals.size < forgottenMin) return;
  for (const [key, { atMs }] of history.refusals) {
    if (nowMs - atMs > refusedForMs) history.refusals.delete(key);
  }
}
