/**
 * What a decision needs to remember between rounds: since when a node is hot or empty, what moved
 * lately, and the forecast of every guest. A gap in the samples ends a hot or empty spell, because
 * unknown is neither high nor zero.
 */
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import { nodeState } from '../state/node-state.ts';
import { type Calibrations, emptyCalibrations } from './calibration.ts';
import { type Deaths, emptyDeaths, observeDeaths } from './deaths.ts';
import type { Forecast } from './forecast.ts';
import { learn } from './learn.ts';
import type { ClusterState } from './model.ts';
import type { Peaks } from './peaks.ts';
import type { Plan } from './plan.ts';
import { type Minutes, observeMinutes } from './minutes.ts';
import { observePressure } from './pressure.ts';
import type { PowerOff } from './rest.ts';
import { type Policy, scaledMs } from './policy.ts';
import { observeSizes, type Scaled, type SizeWaits } from './sizing.ts';
import { gaveUpRule } from './restart.ts';
import { forgetRefusals, noteWakes, type Refusal, type Tries } from './refusals.ts';

export type Move = {
  guest: string;
  fromNode: string;
  toNode: string | null;
  atMs: number;
  /** A person asked for it. */
  byPerson?: boolean;
  /** It ended, and not with the guest on its target. */
  failed?: boolean;
};

export type History = {
  /** Monotonic ms since when cpu has been above the policy's threshold without a gap. */
  hotSinceMs: Map<NodeKey, number>;
  /** The same above `relieve.urgent`, where a policy has it. */
  urgentSinceMs: Map<NodeKey, number>;
  /** Since when a node is short of memory or disk, by node and resource. */
  pressedSinceMs: Map<string, number>;
  /** Monotonic ms since when a node is awake and runs no guest. */
  emptySinceMs: Map<NodeKey, number>;
  /** Migrations that are still under way, by cluster. */
  movesInFlight: Map<string, readonly Move[]>;
  /** Nodes that came back whenever they had to, by cluster; absent: nobody asked. */
  proven: Map<string, ReadonlySet<string>>;
  /** Migrations of the last day, by cluster, oldest first. */
  moves: Map<string, readonly Move[]>;
  /** Newest migration of each guest, `<cluster>/<guest>` -> monotonic ms. */
  lastMovedAtMs: Map<string, number>;
  /** Cluster -> guest -> forecast. */
  forecasts: Map<string, Map<string, Forecast>>;
  /** How well nodes keep what the forecasts of their guests promise. */
  calibrations: Calibrations;
  /** Cluster -> what it needs at which time of day and week. */
  peaks: Map<string, Peaks>;
  /** Cluster -> when nodes to empty were last looked for. */
  lastSaveAtMs: Map<string, number>;
  /** Cluster -> nodes that are being emptied, guest by guest over several rounds. */
  draining: Map<string, readonly string[]>;
  /** Wall time minus the clock of all these stamps: for what the calendar says. */
  wallOffsetMs: number;
  /** What was denied lately, by guest or node. */
  refusals: Map<string, Refusal>;
  /** Wakes of nodes that have not been awake since. */
  wakeTries: Map<NodeKey, Tries>;
  /** Guests that need more than they have, or far less. */
  sizeWaits: SizeWaits;
  /** `<cluster>/<guest>` -> its newest change of size. */
  scaled: Map<string, Scaled>;
  /** Guests that died, and what was done about it. */
  deaths: Deaths;
  /** How busy each node was, minute by minute. */
  minutes: Map<NodeKey, Minutes>;
  /** Nodes that went to sleep within a day, by cluster, oldest first. */
  powerOffs: Map<string, readonly PowerOff[]>;
};

export const emptyHistory = (): History => ({
  hotSinceMs: new Map(),
  urgentSinceMs: new Map(),
  pressedSinceMs: new Map(),
  emptySinceMs: new Map(),
  movesInFlight: new Map(),
  proven: new Map(),
  moves: new Map(),
  lastMovedAtMs: new Map(),
  forecasts: new Map(),
  calibrations: emptyCalibrations(),
  peaks: new Map(),
  lastSaveAtMs: new Map(),
  draining: new Map(),
  wallOffsetMs: 0,
  refusals: new Map(),
  wakeTries: new Map(),
  sizeWaits: new Map(),
  scaled: new Map(),
  deaths: emptyDeaths(),
  minutes: new Map(),
  powerOffs: new Map(),
});

/** Guests that were not heard of for this long start anew. */
const forgetAfterMs = 7 * 86_400_000;
/** Looking for the forgotten is worth it only when there may be many. */
const forgottenMin = 256;

function forget(known: Map<string, Forecast>, present: number, nowMs: number): void {
  if (known.size < 2 * present + forgottenMin) return;
  for (const [guest, { seenAtMs }] of known) {
    if (nowMs - seenAtMs > forgetAfterMs) known.delete(guest);
  }
}

const setSince = (spells: Map<NodeKey, number>, key: NodeKey, is: boolean, nowMs: number): void => {
  if (!is) spells.delete(key);
  else if (!spells.has(key)) spells.set(key, nowMs);
};

/** Whether a node has been so hot that the usual wait is not waited. */
export function isUrgent(
  history: History,
  key: NodeKey,
  { policy, cluster, nowMs }: { policy: Policy; cluster: { timeScale: number }; nowMs: number },
): boolean {
  const since = history.urgentSinceMs.get(key);
  const { urgent } = policy.relieve;
  if (since === undefined || urgent === undefined) return false;
  return nowMs - since >= scaledMs(urgent.forMs, cluster);
}

/** Cpu of a node within one round, the lowest and the highest seen; null where it is unknown. */
export type Heat = { low: number; high: number } | null;

/** Begins, goes on with or ends what a node's cpu makes hot or urgent, in place. */
export function observeHeat(
  history: History,
  key: NodeKey,
  heat: Heat,
  { policy, nowMs }: { policy: Policy; nowMs: number },
): void {
  const { cpuRatio, urgent } = policy.relieve;
  const since = history.hotSinceMs.get(key);
  if (heat === null || (since !== undefined && heat.low < cpuRatio.clear)) {
    history.hotSinceMs.delete(key);
  } else if (since === undefined && heat.high > cpuRatio.above) history.hotSinceMs.set(key, nowMs);
  const isUrgent = urgent !== undefined && heat !== null && heat.high > urgent.above;
  setSince(history.urgentSinceMs, key, isUrgent, nowMs);
}

/** Takes one cluster's newest samples in: spells and forecasts, in place. */
export function observe(
  history: History,
  state: ClusterState,
  policy: Policy,
  nowMs: number,
): void {
  let present = 0;
  for (const node of state.nodes) {
    const key = nodeKey(node.cluster, node.node);
    const isAwake = nodeState(node, nowMs) === 'awake';
    if (isAwake) history.wakeTries.delete(key);
    const cpu = isAwake ? (node.values?.cpuRatio ?? null) : null;
    observeHeat(history, key, cpu === null ? null : { low: cpu, high: cpu }, { policy, nowMs });
    const isEmpty = isAwake && node.guests?.every(({ state }) => state === 'stopped') === true;
    setSince(history.emptySinceMs, key, isEmpty, nowMs);
    present += node.guests?.length ?? 0;
  }
  observeMinutes(history.minutes, state.nodes, nowMs);
  observeDeaths(history.deaths, state, policy, nowMs);
  observeSizes(history.sizeWaits, state, policy, nowMs);
  observePressure(history, state.nodes, policy, nowMs);
  learn(history, state, policy, nowMs);
  forgetRefusals(history, nowMs);
  const known = history.forecasts.get(state.cluster.id);
  if (known) forget(known, present, nowMs);
}

/** Remembers what a plan looked for, so that the next round does not look again too soon. */
export function record(history: History, plan: Plan, nowMs: number): void {
  if (plan.report.hasLookedToSave) history.lastSaveAtMs.set(plan.cluster, nowMs);
  noteWakes(history, plan, nowMs);
  const gaveUp = plan.report.nonActions.filter((one) => one.rule === gaveUpRule);
  history.deaths.gaveUp.set(plan.cluster, new Set(gaveUp.map(({ subject }) => subject.id)));
  if (plan.report.draining) history.draining.set(plan.cluster, plan.report.draining);
}
