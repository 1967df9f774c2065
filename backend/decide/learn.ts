/**
 * Takes a round's samples of one cluster into what the engine learns: the forecast of each guest,
 * how well nodes keep what their guests' forecasts promise, and the cluster's day. Durations and
 * days are those of the cluster: one that runs faster has shorter ones.
 */
import { nodeKey } from '../../broker/contract/ids.ts';
import type { NodeRecord } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import { judge, type Promised } from './calibration.ts';
import { firstForecast, type Forecast, type ForecastPolicy, outlookOf, see } from './forecast.ts';
import type { History } from './history.ts';
import type { ClusterState } from './model.ts';
import { emptyPeaks, seeLoad } from './peaks.ts';
import { type Policy, scaledMs, zoneOf } from './policy.ts';
import { zoneOffsetMs } from './windows.ts';

const hourMs = 3_600_000;
const hoursOfDay = 24;

/**
 * The time of a cluster's own day by the clocks of a zone, from what its nodes say the time is: the
 * middle one, so that one wrong clock shifts nothing. Null while nobody is heard. On the night when
 * clocks change, an hour is learned twice or not at all.
 */
export function clusterWallMs(
  { cluster, nodes }: ClusterState,
  nowMs: number,
  zone: string,
): number | null {
  const offsets: number[] = [];
  for (const { sampleAtMs, sampledAtWallMs } of nodes) {
    if (sampleAtMs !== null && sampledAtWallMs !== null) offsets.push(sampledAtWallMs - sampleAtMs);
  }
  const middle = offsets.sort((a, b) => a - b)[Math.floor(offsets.length / 2)];
  if (middle === undefined) return null;
  const atMs = nowMs + middle;
  return atMs * cluster.timeScale + zoneOffsetMs(zone, atMs);
}

export const hourOf = (wallMs: number | null): number | null =>
  wallMs === null ? null : Math.floor(wallMs / hourMs) % hoursOfDay;

type Lesson = { known: Map<string, Forecast>; hour: number | null; policy: ForecastPolicy };

/** Every running guest's newest sample. @returns units in use on the node */
function learnGuests({ known, hour, policy }: Lesson, node: NodeRecord): number {
  const factor = node.facts?.singleThreadFactor ?? 1;
  const atMs = node.sampleAtMs ?? 0;
  let used = 0;
  for (const guest of node.guests ?? []) {
    if (guest.state !== 'running' || guest.cpuRatio === null || guest.cpuCount === null) continue;
    const full = guest.cpuCount * factor;
    const units = guest.cpuRatio * full;
    used += units;
    const forecast = known.get(guest.id);
    if (forecast) see(forecast, units, { atMs, hour }, policy);
    else known.set(guest.id, firstForecast(units, full, atMs));
  }
  return used;
}

const guestsOf = (node: NodeRecord): string =>
  (node.guests ?? []).map(({ id, state }) => `${id} ${state}`).join();

function promise({ known, hour }: Lesson, node: NodeRecord, atMs: number): Promised {
  let [mean, variance] = [0, 0];
  for (const { id, state } of node.guests ?? []) {
    const forecast = state === 'running' ? known.get(id) : undefined;
    if (!forecast) continue;
    const outlook = outlookOf(forecast, hour);
    mean += outlook.mean;
    variance += outlook.variance;
  }
  const deviation = Math.sqrt(variance);
  return { mean, deviation, guests: guestsOf(node), sum: 0, samples: 0, beganAtMs: atMs };
}

/** Holds what came against what was promised, step by step. */
function hold(history: History, lesson: Lesson, node: NodeRecord, used: number): void {
  const { promised } = history.calibrations;
  const key = nodeKey(node.cluster, node.node);
  const atMs = node.sampleAtMs ?? 0;
  const known = promised.get(key);
  if (known === undefined) {
    promised.set(key, promise(lesson, node, atMs));
    return;
  }
  if (atMs <= known.beganAtMs) return;
  known.sum += used;
  known.samples += 1;
  if (atMs - known.beganAtMs < lesson.policy.stepMs) return;
  if (known.guests === guestsOf(node)) {
    judge(history.calibrations, node.cluster, known);
  }
  promised.set(key, promise(lesson, node, atMs));
}

/** Changes `history` in place. */
export function learn(history: History, state: ClusterState, policy: Policy, nowMs: number): void {
  const { cluster, nodes } = state;
  const zone = zoneOf(policy);
  const wallMs = clusterWallMs(state, nowMs, zone);
  const known = history.forecasts.get(cluster.id) ?? new Map<string, Forecast>();
  history.forecasts.set(cluster.id, known);
  const peaks = history.peaks.get(cluster.id) ?? emptyPeaks(zone);
  history.peaks.set(cluster.id, peaks);
  if (peaks.zone !== zone) {
    // Hours of another clock say nothing of these.
    Object.assign(peaks, emptyPeaks(zone));
    for (const forecast of known.values()) forecast.shape = null;
  }
  const lesson: Lesson = {
    known,
    hour: hourOf(wallMs),
    policy: { ...policy.forecast, stepMs: scaledMs(policy.forecast.stepMs, cluster) },
  };
  let [total, isComplete] = [0, true];
  for (const node of nodes) {
    if (nodeState(node, nowMs) !== 'awake' || node.guests === null) {
      // Without one that should be heard the sum is no load of the cluster.
      if (node.desired === 'awake' && node.activeKind === null) isComplete = false;
      continue;
    }
    const used = learnGuests(lesson, node);
    total += used;
    hold(history, lesson, node, used);
  }
  if (wallMs === null || !isComplete) return;
  seeLoad(peaks, total, wallMs);
}
