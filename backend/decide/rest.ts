/**
 * What guards and limiter will ask before a node goes to sleep (SAFETY W4, W5), asked first by the
 * engine: how long it is up, how often it slept today, whether it was idle, and when another went.
 * What the policy does not limit, or nobody knows, holds nothing back here. Pure.
 */
import { nodeKey } from '../../broker/contract/ids.ts';
import type { Model, Situation } from './model.ts';
import { busiest, idleInMs } from './minutes.ts';
import { secondsText } from './plan.ts';
import { scaledMs } from './policy.ts';

/** A node that began to go to sleep or was switched off, whoever asked. */
export type PowerOff = { node: string; atMs: number };

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const minuteMs = 60_000;
/** SAFETY W4. */
const idleForMs = 40 * minuteMs;

/** Why not yet, and for how long at least. */
export type Unrest = { reason: string; waitMs: number };

const none: readonly PowerOff[] = [];

const powerOffsOf = ({ history, cluster }: Situation): readonly PowerOff[] =>
  history.powerOffs.get(cluster.id) ?? none;

/** Sleeps of a node within a day when it may have no more today, and until when. */
export function sleptOut(situation: Situation, node: string): Unrest | null {
  const { policy, cluster, nowMs } = situation;
  const most = policy.limits.sleepsPerDay;
  if (most === undefined) return null;
  const aDay = scaledMs(dayMs, cluster);
  const today = powerOffsOf(situation).filter(
    (one) => one.node === node && nowMs - one.atMs < aDay,
  );
  if (today.length < most) return null;
  const first = today.at(-most);
  const waitMs = first === undefined ? aDay : first.atMs + aDay - nowMs;
  return { reason: `slept ${today.length} times within a day`, waitMs };
}

function uptime(model: Model, place: number, { policy, cluster }: Situation): Unrest | null {
  const leastMs = scaledMs(policy.limits.uptimeMinMs ?? 0, cluster);
  const upMs = model.nodes[place]!.values?.uptimeMs ?? null;
  if (upMs === null || upMs >= leastMs) return null;
  return { reason: `is up for only ${secondsText(upMs)}`, waitMs: leastMs - upMs };
}

function business(node: string, { history, cluster, policy, nowMs }: Situation): Unrest | null {
  const { idleCpuRatio } = policy.save;
  const minutes = history.minutes.get(nodeKey(cluster.id, node));
  if (idleCpuRatio === undefined || minutes === undefined) return null;
  const span = { nowMs, windowMs: scaledMs(idleForMs, cluster) };
  const most = busiest(minutes, 'cpuRatio', span);
  if (most === null || most < idleCpuRatio) return null;
  return {
    reason: `its cpu was at ${Math.round(most * 100)} % within 40 minutes`,
    waitMs: idleInMs(minutes, idleCpuRatio, span),
  };
}

/** When others of the cluster went to sleep too lately for one more. */
function others(model: Model, situation: Situation): Unrest | null {
  const { policy, cluster, nowMs } = situation;
  const { sleepEveryMs = 0, sleepRatioPerHour = 1 } = policy.limits;
  const offs = powerOffsOf(situation);
  const last = offs.at(-1);
  if (last === undefined) return null;
  const restMs = last.atMs + scaledMs(sleepEveryMs, cluster) - nowMs;
  if (restMs > 0) {
    return { reason: `${last.node} went ${secondsText(nowMs - last.atMs)} ago`, waitMs: restMs };
  }
  const anHour = scaledMs(hourMs, cluster);
  const lately = offs.filter(({ atMs }) => nowMs - atMs < anHour);
  const most = Math.max(1, Math.floor(model.nodes.length * sleepRatioPerHour));
  const first = lately.at(-most);
  if (first === undefined) return null;
  return { reason: `${lately.length} went within an hour`, waitMs: first.atMs + anHour - nowMs };
}

/** Why a node without guests may not go yet by what was, or null. */
export function unrestOf(model: Model, place: number, situation: Situation): Unrest | null {
  const { node } = model.nodes[place]!;
  return (
    uptime(model, place, situation) ??
    sleptOut(situation, node) ??
    business(node, situation) ??
    others(model, situation)
  );
}
