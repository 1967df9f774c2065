/**
 * One cluster as numbers: nodes and guests in typed arrays, so that a round of a thousand nodes
 * takes milliseconds. Built for one decision and changed by it as moves are planned, so that every
 * later choice sees the ones before. Cpu is counted in units: cores x the node's single-thread
 * factor. Load that no guest explains stays on its node. Unknown is never zero.
 */
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { ClusterRecord, NodeRecord } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import { type Groups, groupsOf, isEmptied, isPinnedTo, pinsOf } from './constraints.ts';
import { varianceFactor } from './calibration.ts';
import { expected, firstVariance, outlookOf } from './forecast.ts';
import { barrierOf } from './barrier.ts';
import { type GuestRule, guestRules } from './guest-rules.ts';
import type { History } from './history.ts';
import { type Policy, scaledMs, zoneOf } from './policy.ts';
import { clusterWallMs, hourOf } from './learn.ts';
import { lookBack } from './past.ts';
import { type Recent, recentOf } from './recent.ts';
import { refusalOf } from './refusals.ts';

/** What `decide` is asked about: one cluster as last heard of. */
export type ClusterState = { cluster: ClusterRecord; nodes: readonly NodeRecord[] };

export type Situation = ClusterState & { policy: Policy; history: History; nowMs: number };

export const nodeRole = { unusable: 0, awake: 1, asleep: 2, waking: 3 } as const;

export type Model = {
  nodes: NodeRecord[];
  role: Uint8Array;
  /** Units of the whole node and of one of its cores. */
  capacity: Float64Array;
  core: Float64Array;
  memoryFree: Float64Array;
  /** Bytes of each node that moves leave free. */
  memoryKept: Float64Array;
  /** Watts per unit when busy; nodes with more are used after those with less. */
  wattsPerUnit: Float64Array;
  /** Units in use at the busiest of its past, 0 where none is looked at, and what that may become. */
  busiest: Float64Array;
  busiestMost: Float64Array;
  /** 1 while a node is awake for too short a time to be judged by its past. */
  young: Uint8Array;
  /** Units in use, units expected, and the variance of what is expected. */
  asked: Float64Array;
  mean: Float64Array;
  variance: Float64Array;
  guestsOf: number[][];
  /** Moves planned so far, those taken back counted again: what is derived holds until the next. */
  planned: number;
  /** Bytes of the biggest copy that a node receives in this plan, 0 without one. */
  arriving: Float64Array;
  /** 1 once this plan moves something from or to the node. */
  touched: Uint8Array;
  /** 1 while the node is being emptied: it receives nothing. */
  draining: Uint8Array;
  /** 1 where a person's maintenance is under way: nothing else empties it or lets it sleep. */
  ordered: Uint8Array;
  /** Guests that come home after a maintenance, and where that is. */
  homeward: Map<number, number>;
  guests: GuestSample[];
  nodeOf: Int32Array;
  now: Float64Array;
  counted: Float64Array;
  spread: Float64Array;
  memory: Float64Array;
  /** Why a guest stays where it is, null when it may move. */
  barrier: (string | null)[];
  /** Nodes that guards lately refused for a guest. */
  refused: Map<number, readonly string[]>;
  groups: Groups;
  /** Time of the cluster's own day, null while nobody is heard. */
  wallMs: number | null;
  /** Hour of the cluster's day, and what its guests' variances are multiplied by in sums. */
  hour: number | null;
  varianceFactor: number;
  /** Nodes that tags pin a guest to; guests without a pin are not in it. */
  pins: Map<number, ReadonlySet<string>>;
  /** What descriptions forbid, null where nothing is described. */
  rules: (GuestRule | null)[];
  recent: Recent;
  /** A guest returns to a node it left only after this long. */
  returnAfterMs: number;
};

/** Single-thread factor of a node; a node that was never measured counts as the reference. */
export const factorOf = (node: NodeRecord): number => node.facts?.singleThreadFactor ?? 1;

/** Watts per unit of a loaded node; unknown watts are taken as those of the average machine. */
const wattsPerUnitUnknown = 30;

function emptyModel(
  { nodes, cluster, history, policy, nowMs }: Situation,
  guestCount: number,
): Model {
  const wallMs = clusterWallMs({ cluster, nodes }, nowMs, zoneOf(policy));
  const perNode = () => new Float64Array(nodes.length);
  const perGuest = () => new Float64Array(guestCount);
  return {
    nodes: [...nodes],
    role: new Uint8Array(nodes.length),
    capacity: perNode(),
    core: perNode(),
    memoryFree: perNode(),
    memoryKept: perNode(),
    wattsPerUnit: perNode(),
    busiest: perNode(),
    busiestMost: perNode().fill(Infinity),
    young: new Uint8Array(nodes.length),
    asked: perNode(),
    mean: perNode(),
    variance: perNode(),
    guestsOf: nodes.map(() => []),
    planned: 0,
    arriving: perNode(),
    touched: new Uint8Array(nodes.length),
    draining: new Uint8Array(nodes.length),
    ordered: new Uint8Array(nodes.length),
    homeward: new Map(),
    guests: [],
    nodeOf: new Int32Array(guestCount),
    now: perGuest(),
    counted: perGuest(),
    spread: perGuest(),
    memory: perGuest(),
    barrier: [],
    refused: new Map(),
    groups: new Map(),
    wallMs,
    hour: hourOf(wallMs),
    varianceFactor: varianceFactor(history.calibrations, cluster.id),
    pins: new Map(),
    rules: [],
    recent: recentOf(cluster, history, policy, nowMs),
    returnAfterMs: scaledMs(policy.limits.pairCooldownMs, cluster),
  };
}

function addNode(model: Model, place: number, situation: Situation): void {
  const { nowMs, policy } = situation;
  const node = model.nodes[place]!;
  const state = nodeState(node, nowMs);
  const { cpuRatio, cpuCount, memoryTotalBytes, memoryUsedBytes } = node.values ?? {};
  const cores = cpuCount ?? node.facts?.cpuCount ?? null;
  const memory = memoryTotalBytes ?? node.facts?.memoryBytes ?? null;
  if (cores === null || memory === null) return;
  model.memoryKept[place] = policy.moves.memoryReserveRatio * memory;
  model.core[place] = factorOf(node);
  const capacity = cores * factorOf(node);
  model.capacity[place] = capacity;
  const watts = node.facts?.wattsLoaded ?? null;
  model.wattsPerUnit[place] = watts === null ? wattsPerUnitUnknown : watts / capacity;
  if (node.evacuation) model.ordered[place] = 1;
  if (isEmptied(node)) {
    model.draining[place] = 1;
    // Nothing wakes it but the end of its maintenance, or of its proof.
    if (state === 'asleep') return;
  }
  if (state === 'asleep' || state === 'waking') {
    model.role[place] = nodeRole[state];
    model.memoryFree[place] = memory;
    return;
  }
  const isKnown = typeof cpuRatio === 'number' && typeof memoryUsedBytes === 'number';
  if (state !== 'awake' || !isKnown) return;
  model.role[place] = nodeRole.awake;
  model.memoryFree[place] = memory - memoryUsedBytes;
  model.asked[place] = cpuRatio * capacity;
  lookBack(model, place, situation);
}

type Homes = ReadonlyMap<string, number>;

/** Where guests belong that a maintenance sent away and that come back now. */
const homesOf = (nodes: readonly NodeRecord[]): Homes =>
  new Map(
    nodes.flatMap(({ evacuation }, place) =>
      evacuation?.phase === 'return' ? evacuation.guests.map((id) => [id, place] as const) : [],
    ),
  );

function addGuests(model: Model, place: number, situation: Situation, homes: Homes): void {
  const node = model.nodes[place]!;
  const known = situation.history.forecasts.get(situation.cluster.id);
  const rules = guestRules(node);
  let explained = 0;
  for (const guest of node.guests ?? []) {
    if (guest.state === 'stopped') continue;
    const index = model.guests.push(guest) - 1;
    const rule = rules.get(guest.id) ?? null;
    model.rules.push(rule);
    const pins = guest.tags.length > 0 ? pinsOf(guest) : null;
    if (pins) model.pins.set(index, pins);
    const refused = refusalOf(situation, 'guest', guest.id);
    if (refused) model.refused.set(index, refused.targets);
    const home = homes.get(guest.id);
    if (home !== undefined && home !== place) model.homeward.set(index, home);
    const isOrdered = home !== undefined || isEmptied(node);
    const barrier = barrierOf(guest, situation, { rule, recent: model.recent, isOrdered });
    model.barrier.push(barrier ?? (isPinnedTo(guest, node.node) ? 'is tagged to stay' : null));
    model.nodeOf[index] = place;
    model.guestsOf[place]!.push(index);
    const full = (guest.cpuCount ?? 0) * model.core[place]!;
    const units = (guest.cpuRatio ?? 0) * full;
    const forecast = known?.get(guest.id);
    const outlook = forecast && outlookOf(forecast, model.hour);
    const counted = expected(outlook?.mean ?? units, units);
    const spread = (outlook?.variance ?? firstVariance(units, full)) * model.varianceFactor;
    model.now[index] = units;
    model.counted[index] = counted;
    model.spread[index] = spread;
    model.memory[index] = guest.memoryTotalBytes ?? 0;
    explained += units;
    model.mean[place]! += counted;
    model.variance[place]! += spread;
  }
  // What the host itself and guests unknown to it use stays where it is.
  model.mean[place]! += Math.max(0, model.asked[place]! - explained);
}

export function modelOf(situation: Situation): Model {
  const guestCount = situation.nodes.reduce((sum, { guests }) => sum + (guests?.length ?? 0), 0);
  const model = emptyModel(situation, guestCount);
  const homes = homesOf(model.nodes);
  for (let place = 0; place < model.nodes.length; place += 1) {
    addNode(model, place, situation);
    addGuests(model, place, situation, homes);
  }
  const draining = situation.history.draining.get(situation.cluster.id);
  for (const name of draining ?? []) {
    const place = model.nodes.findIndex(({ node }) => node === name);
    if (place >= 0 && model.guestsOf[place]!.length > 0) model.draining[place] = 1;
  }
  model.groups = groupsOf(model);
  return model;
}

/** Plans a move: from here on the guest's load and memory count on the target. */
export function plan(model: Model, guest: number, to: number): void {
  const from = model.nodeOf[guest]!;
  const guests = model.guestsOf[from]!;
  guests.splice(guests.indexOf(guest), 1);
  model.guestsOf[to]!.push(guest);
  model.nodeOf[guest] = to;
  model.planned += 1;
  for (const [place, sign] of [
    [from, -1],
    [to, 1],
  ] as const) {
    model.asked[place]! += sign * model.now[guest]!;
    model.busiest[place]! += sign * model.now[guest]!;
    model.mean[place]! += sign * model.counted[guest]!;
    model.variance[place]! += sign * model.spread[guest]!;
    model.memoryFree[place]! -= sign * model.memory[guest]!;
  }
}

/** Cpu in use as a share of the node's own. */
export const ratioOf = (model: Model, place: number): number =>
  model.asked[place]! / model.capacity[place]!;

/** By this share of the way what is used now falls or rises towards what is expected. */
const settling = 1 / 3;

/**
 * Cpu that a node will have when a guest has arrived, as a share of its own: a sample is as much
 * chance as level, and within the minute of a copy some of the chance is gone.
 */
export function ratioWith(model: Model, place: number, guest: number): number {
  const isThere = model.nodeOf[guest] === place;
  const now = model.asked[place]! + (isThere ? 0 : model.now[guest]!);
  const mean = model.mean[place]! + (isThere ? 0 : model.counted[guest]!);
  return (now + settling * (mean - now)) / model.capacity[place]!;
}

export type Margin = { sigmas: number; fillRatio: number };

/** Units that `sigmas` standard deviations above the expected load leave on a node. */
export function slack(model: Model, place: number, { sigmas, fillRatio }: Margin): number {
  const spread = Math.sqrt(Math.max(0, model.variance[place]!));
  return fillRatio * model.capacity[place]! - model.mean[place]! - sigmas * spread;
}

/**
 * Whether a guest fits on a node now and at the planned quantile, by cpu of the node, by speed of
 * one core, and by memory.
 */
export function fits(model: Model, guest: number, place: number, margin: Margin): boolean {
  const limit = margin.fillRatio * model.capacity[place]!;
  const units = model.now[guest]!;
  if (model.asked[place]! + units > limit || model.young[place] === 1) return false;
  if (model.busiest[place]! + units > model.busiestMost[place]!) return false;
  if (units > model.core[place]! * (model.guests[guest]!.cpuCount ?? 1)) return false;
  if (model.memoryFree[place]! - model.memory[guest]! <= model.memoryKept[place]!) return false;
  if (model.refused.get(guest)?.includes(model.nodes[place]!.node)) return false;
  const variance = Math.max(0, model.variance[place]! + model.spread[guest]!);
  const mean = model.mean[place]! + model.counted[guest]!;
  return mean + margin.sigmas * Math.sqrt(variance) <= limit;
}
