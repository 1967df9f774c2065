/**
 * Third and last rung where nodes change their power: wake the most efficient sleeping nodes when
 * nothing awake can take what a hot node must shed, and put a node to sleep that ran nothing for
 * a while. Waking is the cheap direction and needs no waiting; sleeping is never urgent.
 */
import { nodeKey } from '../../broker/contract/ids.ts';
import { benefitOf, expectedPeak, hoursText, pays, roomUnits } from './benefit.ts';
import { type Model, nodeRole, type Situation } from './model.ts';
import { type Intent, type NonAction, secondsText } from './plan.ts';
import { type Policy, scaledMs, zoneOf } from './policy.ts';
import { refusalOf, wakesForSure, wakeWaitMs } from './refusals.ts';
import type { Look } from './relieve.ts';
import { localTime } from './windows.ts';
import { type Pool, poolAwake, tooFew } from './staying.ts';
import { unrestOf } from './rest.ts';

const awakeNodes = (model: Model): number[] =>
  model.nodes.map((_, place) => place).filter((place) => model.role[place] === nodeRole.awake);

/** Units that a learned peak needs beyond what is awake or waking, and when it is expected. */
function lackAhead(model: Model, situation: Situation): Need | null {
  const { save, forecast } = situation.policy;
  if (save.mode === 'off' || forecast.leadMs === 0) return null;
  const peak = expectedPeak(model, situation, forecast.leadMs);
  if (peak === null) return null;
  const units = peak.units - roomUnits(model, situation);
  if (units <= 0) return null;
  const at = new Date(peak.atWallMs).toISOString().slice(11, 16);
  return {
    rule: 'wake.ahead',
    units,
    because:
      `${peak.units.toFixed(1)} cores of load are expected around ${at} ${zoneOf(situation.policy)}, as on ` +
      `${peak.days} days before, and ${units.toFixed(1)} of them have no room`,
  };
}

type Need = { rule: string; units: number; because: string };

/** Nodes for what fits nowhere now, and for what is expected. */
export function wake(model: Model, unmetUnits: number, situation: Situation): Intent[] {
  const ahead = lackAhead(model, situation);
  const because = `${unmetUnits.toFixed(1)} cores of load fit on no awake node`;
  const now = { rule: 'wake.shortage', units: unmetUnits, because };
  // What wakes for now is there for the peak too: the greater need counts.
  return ahead !== null && ahead.units > unmetUnits
    ? wakeFor(model, ahead, situation)
    : wakeFor(model, now, situation);
}

/** As many nodes as the units need, the most efficient first. */
function wakeFor(model: Model, need: Need, situation: Situation): Intent[] {
  const { units: unmetUnits } = need;
  const executor = awakeNodes(model)
    .map((place) => model.nodes[place]!.node)
    .sort()[0];
  if (unmetUnits <= 0 || executor === undefined) return [];
  const { relieve } = situation.policy;
  const fillRatio = relieve.fillRatio ?? relieve.cpuRatio.clear;
  const sleeping = model.nodes
    .map((_, place) => place)
    .filter((place) => model.role[place] === nodeRole.asleep)
    // One that was told to wake and did not come is tried again later and later.
    .filter((place) => wakeWaitMs(situation, model.nodes[place]!.node) === 0)
    .sort((a, b) => model.wattsPerUnit[a]! - model.wattsPerUnit[b]! || a - b);
  const intents: Intent[] = [];
  // Nodes that wake already will take their part.
  let missing = model.role.reduce(
    (left, role, place) =>
      (role === nodeRole.waking || model.young[place] === 1) && need.rule === 'wake.shortage'
        ? left - fillRatio * model.capacity[place]!
        : left,
    unmetUnits,
  );
  for (const place of sleeping) {
    if (missing <= 0) break;
    const { node } = model.nodes[place]!;
    const room = fillRatio * model.capacity[place]!;
    intents.push({
      cluster: situation.cluster.id,
      target: { kind: 'node', id: node },
      executor,
      action: { kind: 'node.wake', args: {} },
      rule: need.rule,
      reason: `${need.because}: ${node} wakes`,
      facts: [{ name: 'unmetUnits', value: Math.round(missing * 1000) / 1000, unit: 'count' }],
      alternatives: [],
      predicted: [{ name: 'roomUnits', value: Math.round(room * 1000) / 1000, unit: 'count' }],
      margin: { name: 'units', value: Math.round((room - missing) * 1000) / 1000, unit: 'count' },
    });
    missing -= room;
  }
  return intents;
}

/** A node that goes to sleep already. */
const goingOf = (model: Model): string | undefined =>
  model.nodes.find(({ activeKind }) => activeKind === 'node.shutdown')?.node;

const sleepRule = 'save.sleep';

/** A node without guests, beside what those awake may carry. */
type Waiting = { place: number; emptyMs: number; room: number; pool: Pool };

/** Why an awake node without guests stays on, or null when it may sleep. */
function wakefulness(
  model: Model,
  { place, emptyMs, room, pool }: Waiting,
  look: Look,
): [string, string] | null {
  const { policy, cluster } = look.situation;
  const waitMs = scaledMs(policy.save.sleepAfterMs, cluster);
  const node = model.nodes[place]!;
  if (node.guests === null) return ['its guests are unknown', 'its driver tells its guests'];
  if (!look.traffic.isQuiet(place)) {
    return ['is empty, but a guest is on its way here', 'that move ends'];
  }
  const need = look.needed[place];
  if (need) {
    const until = localTime(need.untilMs, need.zone);
    return [`is empty, but ${need.what} needs it until ${until}`, `after ${until}`];
  }
  if (node.protected) return ['is empty, but protected', 'its protection ends'];
  if (!wakesForSure(look.situation, node.node)) {
    return ['is empty, but nobody has shown that it wakes', 'its wakes are proven'];
  }
  const few = tooFew(model, { place, pool }, look.situation);
  if (few !== null) return [`is empty, but ${few[0]}`, few[1]];
  const benefit = benefitOf(model, look.situation, place, { copySeconds: 0, room });
  if (!pays(benefit)) {
    const short = (benefit.costWh - benefit.savedWh).toFixed(1);
    return [
      `is empty, but is needed again in ${hoursText(benefit.stayMs)}: sleeping would cost ${short} Wh`,
      `it may sleep for longer`,
    ];
  }
  const refused = refusalOf(look.situation, 'node', node.node);
  if (refused !== null) {
    const ago = secondsText(look.situation.nowMs - refused.atMs);
    return [
      `is empty, but the guards refused its sleep ${ago} ago`,
      'what the guards said changes',
    ];
  }
  const unrest = unrestOf(model, place, look.situation);
  if (unrest !== null && unrest.waitMs > waitMs - emptyMs) {
    return [`is empty, but ${unrest.reason}`, `${secondsText(unrest.waitMs)} more`];
  }
  if (emptyMs >= waitMs) return null;
  const rest = secondsText(waitMs - emptyMs);
  return [`has run no guest for only ${secondsText(emptyMs)}`, `${rest} more without a guest`];
}

function sleepIntent(model: Model, { place, emptyMs }: Waiting, situation: Situation): Intent {
  const { cluster, policy } = situation;
  const { node, facts } = model.nodes[place]!;
  const spareMs = emptyMs - scaledMs(policy.save.sleepAfterMs, cluster);
  return {
    cluster: cluster.id,
    target: { kind: 'node', id: node },
    executor: node,
    action: { kind: 'node.shutdown', args: { mode: 'poweroff' } },
    rule: sleepRule,
    reason: `${node} has run no guest for ${secondsText(emptyMs)}: it goes to sleep`,
    facts: [{ name: 'emptyForMs', value: Math.round(emptyMs), unit: 'milliseconds' }],
    alternatives: [],
    predicted: [{ name: 'savedWatts', value: facts?.wattsIdle ?? null, unit: 'watts' }],
    margin: { name: 'emptyForMs', value: Math.round(spareMs), unit: 'milliseconds' },
  };
}

/** Nodes from which on more than one may go at a time, and which share of those awake then. */
const largeClusterNodes = 20;
const atOnceRatio = 0.1;

/**
 * How many more nodes may begin to go to sleep: what the limiter below allows at once, and of what
 * may be under way together the half, so that moves find room too.
 */
function sleepsLeft(model: Model, { commandsAtOnce = Infinity }: Policy['limits']): number {
  const awake = awakeNodes(model).length;
  const going = model.nodes.filter(({ activeKind }) => activeKind === 'node.shutdown').length;
  const atOnce = awake < largeClusterNodes ? 1 : Math.floor(awake * atOnceRatio);
  return Math.min(atOnce, Math.max(1, Math.floor(commandsAtOnce / 2))) - going;
}

/**
 * The least efficient nodes that have run nothing for long enough go first: one at a time, in a
 * large cluster some.
 */
export function sleep(model: Model, look: Look): { intents: Intent[]; nonActions: NonAction[] } {
  const { situation } = look;
  const { awakeMin } = situation.policy.save;
  const intents: Intent[] = [];
  const nonActions: NonAction[] = [];
  const awake = awakeNodes(model).length;
  const room = roomUnits(model, situation);
  const pool = poolAwake(model);
  const most = Math.min(sleepsLeft(model, situation.policy.limits), awake - awakeMin);
  const mayGo = (): boolean => intents.length < most && look.traffic.slotsLeft() > 0;
  const refuse = (place: number, [reason, flip]: readonly [string, string]): void => {
    const subject = { kind: 'node' as const, id: model.nodes[place]!.node };
    nonActions.push({ subject, rule: sleepRule, reason, flip });
  };
  const waiting = awakeNodes(model)
    .filter((place) => model.guestsOf[place]!.length === 0 && model.touched[place] === 0)
    .filter((place) => model.ordered[place] === 0)
    .sort((a, b) => model.wattsPerUnit[b]! - model.wattsPerUnit[a]! || a - b)
    .map((place): Waiting => {
      const key = nodeKey(situation.cluster.id, model.nodes[place]!.node);
      const since = situation.history.emptySinceMs.get(key);
      return { place, emptyMs: since === undefined ? 0 : situation.nowMs - since, room, pool };
    });
  for (const one of waiting) {
    const why = wakefulness(model, one, look);
    if (why !== null) refuse(one.place, why);
    else if (mayGo()) {
      intents.push(sleepIntent(model, one, situation));
      look.traffic.noteSleep();
    } else {
      const first = intents[0]?.target.id ?? goingOf(model) ?? 'what is under way';
      const been = `has run no guest for ${secondsText(one.emptyMs)}`;
      refuse(one.place, [`${been}, but ${first} goes first`, `${first} is asleep`]);
    }
  }
  return { intents, nonActions };
}
