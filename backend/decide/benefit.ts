/**
 * Whether putting a node to sleep pays: the idle energy of the time it is expected to stay asleep,
 * against its boot and shutdown, the copies that empty it, and a share for what may go wrong. How
 * long it stays is until the load that the cluster learned to expect needs the node again.
 */
import { type Model, nodeRole, type Situation } from './model.ts';
import { type Peak, peakAhead, slotMs } from './peaks.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** What is not known of a node: a small server of its class. */
const wattsIdleUnknown = 60;
const bootMsUnknown = 120_000;
const shutdownMs = 30_000;
/** Watts that a copy takes at both ends, over what they do anyway. */
const copyWatts = 30;
/** Of all costs, for wakes that fail and guests that suffer. */
const riskShare = 0.25;

export type Benefit = { savedWh: number; costWh: number; stayMs: number };

export const idleWattsOf = (model: Model, place: number): number =>
  model.nodes[place]!.facts?.wattsIdle ?? wattsIdleUnknown;

const bootMsOf = (model: Model, place: number): number =>
  model.nodes[place]!.facts?.bootMs ?? bootMsUnknown;

const fillOf = ({ policy }: Situation): number =>
  policy.relieve.fillRatio ?? policy.relieve.cpuRatio.clear;

/** Units that nodes awake or waking may carry by the policy's band. */
export const roomUnits = (model: Model, situation: Situation): number =>
  fillOf(situation) *
  model.role.reduce(
    (sum, role, place) =>
      role === nodeRole.awake || role === nodeRole.waking ? sum + model.capacity[place]! : sum,
    0,
  );

/**
 * The highest load that is expected until a node that slept now would be awake again, or later.
 * @param afterMs how much longer to look, in the cluster's own time
 */
export function expectedPeak(model: Model, situation: Situation, afterMs: number): Peak | null {
  const { cluster, history } = situation;
  const peaks = history.peaks.get(cluster.id);
  const { wallMs } = model;
  if (!peaks || wallMs === null) return null;
  const bootMs = model.nodes.reduce(
    (most, _, place) =>
      model.role[place] === nodeRole.unusable ? most : Math.max(most, bootMsOf(model, place)),
    0,
  );
  return peakAhead(peaks, wallMs, bootMs * cluster.timeScale + afterMs);
}

/**
 * Ms of the cluster's time until the rest no longer carries what is expected, at most a day.
 * @param rest units that the nodes that stay awake may carry
 */
function stayOf(model: Model, situation: Situation, rest: number): number {
  const { cluster, history, policy } = situation;
  const peaks = history.peaks.get(cluster.id);
  const { wallMs } = model;
  if (!peaks || wallMs === null) return policy.save.expectedStayMs;
  let isKnown = false;
  const slotBeganMs = Math.floor(wallMs / slotMs) * slotMs;
  for (let atMs = slotBeganMs; atMs < wallMs + dayMs; atMs += slotMs) {
    const peak = peakAhead(peaks, atMs, 0);
    if (peak === null) continue;
    isKnown = true;
    // It is woken ahead of the peak, so that its sleep ends before.
    if (peak.units > rest) return Math.max(0, peak.atWallMs - policy.forecast.leadMs - wallMs);
  }
  return isKnown ? dayMs : policy.save.expectedStayMs;
}

/**
 * `copySeconds` of all moves that empty the node, 0 for one that is empty; `room` of all nodes awake,
 * by `roomUnits`, which is the same for every node of a round.
 */
export function benefitOf(
  model: Model,
  situation: Situation,
  place: number,
  { copySeconds, room }: { copySeconds: number; room: number },
): Benefit {
  const idle = idleWattsOf(model, place);
  const stayMs = stayOf(model, situation, room - fillOf(situation) * model.capacity[place]!);
  const upMs = bootMsOf(model, place) * situation.cluster.timeScale + shutdownMs;
  const power = (idle * upMs) / hourMs;
  const copies = (copyWatts * copySeconds * 1_000) / hourMs;
  return {
    savedWh: (idle * Math.max(0, stayMs - upMs)) / hourMs,
    costWh: (power + copies) * (1 + riskShare),
    stayMs,
  };
}

export const pays = ({ savedWh, costWh }: Benefit): boolean => savedWh > costWh;

export const hoursText = (ms: number): string => `${(ms / hourMs).toFixed(1)} h`;
