/**
 * Guests that ran, stopped, and nobody asked for it: what restarting waits for. Counted only for
 * guests that a policy wants kept running, and only where this server saw both: a guest whose node
 * was away meanwhile, that HA manages, that somebody holds a lock on, or that runs elsewhere did
 * not die. A command on it, of whomever, explains a stop.
 */
import { nodeState } from '../state/node-state.ts';
import { ruleFor } from './guest-policy.ts';
import type { ClusterState } from './model.ts';
import type { Policy } from './policy.ts';
import { scaledMs } from './policy.ts';

/** Seen running, on which node and when. */
type Ran = { node: string; atMs: number };

/** Starts by the engine, oldest first, and the newest command of anybody that explains a stop. */
export type Ordered = {
  startsAtMs: readonly number[];
  /** One of the starts has not ended yet. */
  isStarting: boolean;
  otherAtMs: number | null;
};

export type Deaths = {
  /** Cluster -> guest -> when it was last seen running. */
  ran: Map<string, Map<string, Ran>>;
  /** Cluster -> guest -> since when it is dead. */
  died: Map<string, Map<string, number>>;
  /** `<cluster>/<guest>` -> commands of the last day. */
  ordered: Map<string, Ordered>;
  /** Cluster -> guests that are not started any more. */
  gaveUp: Map<string, ReadonlySet<string>>;
};

export const emptyDeaths = (): Deaths => ({
  ran: new Map(),
  died: new Map(),
  ordered: new Map(),
  gaveUp: new Map(),
});

/** Between two looks at a guest: after a longer gap nobody saw what happened. */
const gapMaxMs = 60_000;
/** A stop that was asked for may take so long, and shows a little later. */
const explainsForMs = 900_000;

/** Whether a command explains that the guest does not run. */
export const isExplained = (ordered: Ordered | undefined, diedAtMs: number): boolean =>
  ordered?.otherAtMs !== null &&
  ordered?.otherAtMs !== undefined &&
  ordered.otherAtMs > diedAtMs - explainsForMs;

/**
 * Attempts since the guest last ran for long: starts that lie closer together, and to the death,
 * than `forgetAfterMs`.
 */
export function attemptsOf(
  ordered: Ordered | undefined,
  diedAtMs: number,
  forgetAfterMs: number,
): number {
  let attempts = 0;
  let nextMs = diedAtMs;
  for (const atMs of ordered?.startsAtMs.toReversed() ?? []) {
    if (nextMs - atMs >= forgetAfterMs) break;
    attempts += 1;
    nextMs = atMs;
  }
  return attempts;
}

/** Takes the newest samples of guests that are to run in, in place. */
export function observeDeaths(
  deaths: Deaths,
  { cluster, nodes }: ClusterState,
  policy: Policy,
  nowMs: number,
): void {
  const rules = policy.restart.guests;
  if (rules.length === 0) {
    deaths.ran.delete(cluster.id);
    deaths.died.delete(cluster.id);
    return;
  }
  const before = deaths.ran.get(cluster.id) ?? new Map<string, Ran>();
  const known = deaths.died.get(cluster.id) ?? new Map<string, number>();
  const ran = new Map<string, Ran>();
  const stopped = new Map<string, string>();
  for (const node of nodes) {
    if (nodeState(node, nowMs) !== 'awake') continue;
    for (const guest of node.guests ?? []) {
      if (ruleFor(rules, guest) === null || guest.haState !== null) continue;
      if (guest.state === 'running') ran.set(guest.id, { node: node.node, atMs: nowMs });
      else if (guest.state === 'stopped' && guest.lock === null) stopped.set(guest.id, node.node);
    }
  }
  const died = new Map<string, number>();
  const gapMs = Math.max(gapMaxMs, scaledMs(gapMaxMs, cluster));
  for (const [guest, node] of stopped) {
    const was = before.get(guest);
    const sawIt = was?.node === node && nowMs - was.atMs <= gapMs;
    const sinceMs = known.get(guest) ?? (sawIt ? nowMs : undefined);
    if (ran.has(guest) || sinceMs === undefined) continue;
    if (isExplained(deaths.ordered.get(`${cluster.id}/${guest}`), sinceMs)) continue;
    died.set(guest, sinceMs);
  }
  deaths.ran.set(cluster.id, ran);
  deaths.died.set(cluster.id, died);
}
