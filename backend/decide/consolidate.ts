/**
 * Last step of the ladder: empty the nodes that cost least to empty, whole or not at all, into
 * nodes that are awake anyway and need no more power per unit. A node is emptied only when all of
 * its guests fit elsewhere at the planned quantile; what is in the way is reported.
 */
import { type Benefit, benefitOf, hoursText, pays, roomUnits } from './benefit.ts';
import { cheapestFirst } from './cheapest.ts';
import type { Look } from './relieve.ts';
import { mayStand } from './constraints.ts';
import {
  fits,
  type Model,
  nodeRole,
  plan,
  ratioOf,
  ratioWith,
  type Situation,
  slack,
} from './model.ts';
import type { Intent, NonAction } from './plan.ts';
import { scaledMs } from './policy.ts';
import { movesKeptForRelief } from './recent.ts';
import { refusalOf } from './refusals.ts';
import { poolInUse, stayingWithout, tooFew } from './staying.ts';
import { isBeyond, type Room, roomOf } from './targets.ts';

const rule = 'save.drain';
/** What it is worth, as a share of a node, that a target receives a copy of this plan already. */
const sharedCopyBonus = 0.06;
/** Refusals of one round that are worth a line. */
const refusalsMax = 16;

const round = (value: number): number => Math.round(value * 1000) / 1000;

/** Whether this round may look for nodes to empty. */
export function isDue({ cluster, policy, history, nowMs }: Situation): boolean {
  if (policy.save.mode === 'off') return false;
  const last = history.lastSaveAtMs.get(cluster.id);
  return last === undefined || nowMs - last >= scaledMs(policy.save.everyMs, cluster);
}

/** Share of the awake capacity that nothing is expected to use. */
function spareRatio(model: Model): number {
  let capacity = 0;
  let mean = 0;
  model.role.forEach((role, place) => {
    if (role !== nodeRole.awake) return;
    capacity += model.capacity[place]!;
    mean += model.mean[place]!;
  });
  return capacity === 0 ? 0 : 1 - mean / capacity;
}

/** Where a guest leaves least room over, among nodes that stay awake. */
function tightest({ model, look, emptied, targets }: Round, guest: number): number | null {
  if (isBeyond(model, guest, targets)) return null;
  const from = model.nodeOf[guest]!;
  const { sigmas, fillRatio } = look.situation.policy.save;
  const { above } = look.situation.policy.relieve.cpuRatio;
  let best: number | null = null;
  let least = Infinity;
  for (const place of targets.places) {
    if (place === from || emptied[place]) continue;
    if (look.preferred[place]! < look.preferred[from]!) continue;
    if (look.preferred[place] === 0 && model.wattsPerUnit[place]! > model.wattsPerUnit[from]!) {
      continue;
    }
    if (ratioOf(model, place) > above) continue;
    if (!fits(model, guest, place, { sigmas, fillRatio })) continue;
    if (!look.traffic.mayReceive(place) || !mayStand(model, guest, place, true)) continue;
    const capacity = model.capacity[place]!;
    const over = slack(model, place, { sigmas, fillRatio }) / capacity;
    const worth = over - (model.arriving[place]! > 0 ? sharedCopyBonus : 0);
    if (worth < least) {
      least = worth;
      best = place;
    }
  }
  return best;
}

type Step = { guest: number; to: number };
type Drain = { steps: Step[] } | { blockedBy: number };

/** Homes for all guests of a node, biggest first; undone when one has none. */
function drain(round: Round, source: number): Drain {
  const { model } = round;
  const guests = model.guestsOf[source]!.toSorted(
    (a, b) => model.counted[b]! - model.counted[a]! || a - b,
  );
  const steps: Step[] = [];
  const arrivingBefore: number[] = [];
  for (const guest of guests) {
    const isFree =
      model.barrier[guest] === null &&
      model.recent.movesLeft(model.guests[guest]!.id) > movesKeptForRelief;
    const to = isFree ? tightest(round, guest) : null;
    if (to === null) {
      for (const step of steps.toReversed()) {
        plan(model, step.guest, source);
        model.arriving[step.to] = arrivingBefore.pop() ?? 0;
      }
      return { blockedBy: guest };
    }
    arrivingBefore.push(model.arriving[to]!);
    model.arriving[to] = Math.max(model.arriving[to]!, model.memory[guest]!);
    plan(model, guest, to);
    steps.push({ guest, to });
  }
  return { steps };
}

function refusal(model: Model, source: number, guest: number): NonAction {
  const { name } = model.guests[guest]!;
  const barrier = model.barrier[guest];
  const units = model.now[guest]!.toFixed(1);
  return {
    subject: { kind: 'node', id: model.nodes[source]!.node },
    rule,
    reason:
      barrier === null
        ? `cannot be emptied: ${name} (${units} cores) fits on no other awake node`
        : `cannot be emptied: ${name} ${barrier}`,
    flip: barrier === null ? `room for ${name} elsewhere` : `${name} becomes free to move`,
  };
}

function copySecondsOf(model: Model, look: Look, source: number): number {
  const { copyBytesPerSecond } = look.situation.policy.moves;
  const bytes = model.guestsOf[source]!.reduce((sum, guest) => sum + model.memory[guest]!, 0);
  return bytes / copyBytesPerSecond;
}

const noGain = (node: string, { savedWh, costWh, stayMs }: Benefit): NonAction => ({
  subject: { kind: 'node', id: node },
  rule,
  reason:
    `emptying it does not pay: it would sleep ${hoursText(stayMs)} and save ` +
    `${savedWh.toFixed(1)} Wh, at a cost of ${costWh.toFixed(1)} Wh`,
  flip: `${(costWh - savedWh).toFixed(1)} Wh more saved`,
});

type Grounds = { look: Look; benefit: Benefit };

function intentOf(model: Model, source: number, step: Step, grounds: Grounds): Intent {
  const { situation } = grounds.look;
  const { savedWh, costWh, stayMs } = grounds.benefit;
  const guest = model.guests[step.guest]!;
  const from = model.nodes[source]!.node;
  const to = model.nodes[step.to]!.node;
  const after = ratioWith(model, step.to, step.guest);
  return {
    cluster: situation.cluster.id,
    target: { kind: 'guest', id: guest.id },
    executor: from,
    action: {
      kind: 'guest.migrate',
      args: { targetNode: to, online: true, withLocalDisks: false },
    },
    rule,
    reason: `${from} is cheapest to empty: ${guest.name} moves to ${to}, the fullest it fits on`,
    facts: [
      { name: 'guestCores', value: round(model.now[step.guest]!), unit: 'count' },
      { name: 'guestMemoryBytes', value: model.memory[step.guest]!, unit: 'bytes' },
      { name: 'expectedStayMs', value: Math.round(stayMs), unit: 'milliseconds' },
      { name: 'costWh', value: round(costWh), unit: 'wattHours' },
    ],
    alternatives: [],
    predicted: [{ name: 'targetCpuRatio', value: round(after), unit: 'ratio' }],
    margin: { name: 'savedWh', value: round(savedWh - costWh), unit: 'wattHours' },
  };
}

/** An empty node that may not sleep: emptying another would save nothing. */
const idleInVain = (model: Model, situation: Situation): number | null => {
  const place = model.nodes.findIndex(
    ({ node }, at) =>
      model.role[at] === nodeRole.awake &&
      model.guestsOf[at]!.length === 0 &&
      refusalOf(situation, 'node', node)?.isPassing === false,
  );
  return place < 0 ? null : place;
};

const vain = (node: string): NonAction => ({
  subject: { kind: 'cluster', id: 'all' },
  rule,
  reason: `no node is emptied while ${node} is empty and its sleep is refused`,
  flip: `${node} may sleep`,
});

const needless = (node: string, [reason, flip]: readonly [string, string]): NonAction => ({
  subject: { kind: 'node', id: node },
  rule,
  reason: `emptying it would let no further node sleep: ${reason}`,
  flip,
});

export type Saving = {
  intents: Intent[];
  nonActions: NonAction[];
  draining: string[];
  /** False while more could be emptied as soon as moves under way end. */
  hasLooked: boolean;
};

/** One look at what can be emptied; `emptied` marks the nodes that nothing may move to. */
type Round = {
  model: Model;
  look: Look;
  emptied: Uint8Array;
  saving: Saving;
  /** Units that all nodes awake or waking may carry. */
  room: number;
  /** Nodes that may receive anything: what moves there in this look only takes of it. */
  targets: Room;
};

/** Plans a whole node away and begins what may begin now. @returns whether it can be emptied */
function empty(round: Round, source: number): boolean {
  const { model, look, emptied, saving, room } = round;
  const benefit = benefitOf(model, look.situation, source, {
    copySeconds: copySecondsOf(model, look, source),
    room,
  });
  if (!pays(benefit)) {
    if (saving.nonActions.length < refusalsMax) {
      saving.nonActions.push(noGain(model.nodes[source]!.node, benefit));
    }
    return false;
  }
  const found = drain(round, source);
  if ('blockedBy' in found) {
    if (saving.nonActions.length < refusalsMax) {
      saving.nonActions.push(refusal(model, source, found.blockedBy));
    }
    return false;
  }
  emptied[source] = 1;
  saving.draining.push(model.nodes[source]!.node);
  for (const step of found.steps) {
    if (!look.traffic.maySend(source) || !look.traffic.mayReceive(step.to)) continue;
    saving.intents.push(intentOf(model, source, step, { look, benefit }));
    look.traffic.note(source, step.to);
  }
  return true;
}

/**
 * Goes on with the nodes that are being emptied, and looks for more when that is due. A node whose
 * guests fit nowhere any more is left alone again.
 */
export function consolidate(model: Model, look: Look, looksForMore: boolean): Saving {
  const { save } = look.situation.policy;
  const saving: Saving = { intents: [], nonActions: [], draining: [], hasLooked: looksForMore };
  const round: Round = {
    model,
    look,
    emptied: model.draining.slice(),
    saving,
    room: roomUnits(model, look.situation),
    targets: roomOf(model, save, look.traffic, (place) => model.guestsOf[place]!.length > 0),
  };
  for (let source = 0; source < model.nodes.length; source += 1) {
    if (!model.draining[source] || model.role[source] !== nodeRole.awake) continue;
    if (model.ordered[source]) continue;
    if (look.traffic.isFull() || model.touched[source]) {
      saving.draining.push(model.nodes[source]!.node);
    } else if (!empty(round, source)) round.emptied[source] = 0;
  }
  if (!looksForMore) return saving;
  const idle = idleInVain(model, look.situation);
  if (idle !== null) {
    saving.nonActions.push(vain(model.nodes[idle]!.node));
    return saving;
  }
  const pool = poolInUse(model);
  const isWide = spareRatio(model) >= save.spareRatio;
  for (const source of cheapestFirst(model, look)) {
    if (saving.draining.length >= save.drains && !isWide) break;
    if (look.traffic.isFull()) {
      // Half a cluster stands idle: looking only now and then would take hours.
      saving.hasLooked = !isWide;
      break;
    }
    if (model.touched[source]) continue;
    // Where no other is in use its guests have nowhere to go, which says more.
    const few =
      stayingWithout(pool, source) > 0
        ? tooFew(model, { place: source, pool }, look.situation)
        : null;
    if (few !== null) {
      // What those that stay lack for this one, they lack for the next.
      saving.nonActions.push(needless(model.nodes[source]!.node, few));
      break;
    }
    if (empty(round, source)) pool.remove(source);
  }
  return saving;
}
