/**
 * Second step of the ladder: a node whose cpu stayed above T for D sheds guests until it falls
 * below the band. Chosen are the guests that cost least per unit shed, and targets that keep the
 * planned quantile free; what nothing awake can take is told to the next step, which wakes.
 *
 * Never moves a guest onto a node that is itself hot, and never two of them past what fits.
 */
import { nodeKey } from '../../broker/contract/ids.ts';
import type { Need } from './calendar.ts';
import { isUrgent } from './history.ts';
import { type Model, nodeRole, plan, ratioOf, ratioWith, type Situation } from './model.ts';
import { type Fact, type Intent, type NonAction, secondsText } from './plan.ts';
import { scaledMs } from './policy.ts';
import type { Targets } from './targets.ts';
import type { Traffic } from './traffic.ts';
import { leastWorth, noRelief, type Relief, unmetOf } from './worth.ts';

const rule = 'relieve.cpuRatio';
/** Nodes that need this much more power per unit than the best are used after the others. */
const efficiencyBand = 1.1;
/** A guest in use of this many units doubles what its copy costs. */
const lossUnits = 0.094;

const round = (value: number): number => Math.round(value * 1000) / 1000;
const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/** Seconds of disturbance that a move costs, weighted by what the guest does meanwhile. */
export function moveCost(model: Model, guest: number, { policy }: Situation): number {
  const { copyBytesPerSecond, fixedSeconds } = policy.moves;
  const copySeconds = model.memory[guest]! / copyBytesPerSecond;
  return copySeconds * (1 + model.now[guest]! / lossUnits) + fixedSeconds;
}

/** 1 for nodes of the most efficient kind there is, awake or not. */
export function preferredNodes(model: Model): Uint8Array {
  let best = Infinity;
  model.role.forEach((role, place) => {
    if (role !== nodeRole.unusable) best = Math.min(best, model.wattsPerUnit[place]!);
  });
  return Uint8Array.from(model.wattsPerUnit, (watts) => (watts <= best * efficiencyBand ? 1 : 0));
}

export type Look = {
  situation: Situation;
  traffic: Traffic;
  preferred: Uint8Array;
  targets: Targets;
  /** By place, what of the calendar needs a node awake. */
  needed: readonly (Need | null)[];
};

type Choice = { guest: number; to: number };

/** The cheapest guest per unit of what must go, that has somewhere to go. */
function choose(model: Model, source: number, need: number, look: Look): Choice | null {
  const { partialPenalty } = look.situation.policy.moves;
  const least = leastWorth(need, look.situation);
  const candidates = model.guestsOf[source]!.filter(
    (guest) => model.barrier[guest] === null && model.now[guest]! > 0 && model.now[guest]! >= least,
  )
    .map((guest) => {
      const share = Math.min(1, model.now[guest]! / need);
      const cost = moveCost(model, guest, look.situation) / share;
      return { guest, cost: share < 1 ? cost * (1 + partialPenalty) : cost };
    })
    .sort((a, b) => a.cost - b.cost || compareGuests(model, a.guest, b.guest));
  for (const { guest } of candidates) {
    const to = look.targets.best(guest);
    if (to !== null) return { guest, to };
  }
  return null;
}

export const compareGuests = (model: Model, a: number, b: number): number =>
  model.guests[a]!.id < model.guests[b]!.id ? -1 : 1;

const nameOf = (model: Model, place: number): string => model.nodes[place]!.node;

function rejected(model: Model, { guest, to }: Choice, source: number) {
  const others = model.nodes
    .map((_, place) => place)
    .filter((place) => place !== to && place !== source && model.role[place] === nodeRole.awake)
    .sort((a, b) => ratioOf(model, a) - ratioOf(model, b));
  return others.slice(0, 3).map((place) => ({
    what: `to ${nameOf(model, place)}`,
    rejectedBecause:
      model.memoryFree[place]! - model.memory[guest]! <= model.memoryKept[place]!
        ? `only ${gib(model.memoryFree[place]!)} memory free`
        : `more loaded (${ratioOf(model, place).toFixed(2)})`,
  }));
}

function intentOf(model: Model, source: number, choice: Choice, s: Situation): Intent {
  const guest = model.guests[choice.guest]!;
  const units = model.now[choice.guest]!;
  const [from, to] = [nameOf(model, source), nameOf(model, choice.to)];
  const [now, target] = [ratioOf(model, source), ratioOf(model, choice.to)];
  const sourceAfter = now - units / model.capacity[source]!;
  const targetAfter = target + units / model.capacity[choice.to]!;
  const hotMs = s.nowMs - (s.history.hotSinceMs.get(nodeKey(s.cluster.id, from)) ?? 0);
  const { above } = s.policy.relieve.cpuRatio;
  const memory = model.memory[choice.guest]!;
  const facts: Fact[] = [
    { name: 'cpuRatio', value: round(now), unit: 'ratio' },
    { name: 'above', value: above, unit: 'ratio' },
    { name: 'hotForMs', value: Math.round(hotMs), unit: 'milliseconds' },
    { name: 'guestCores', value: round(units), unit: 'count' },
    { name: 'guestMemoryBytes', value: memory, unit: 'bytes' },
    { name: 'targetCpuRatio', value: round(target), unit: 'ratio' },
  ];
  return {
    cluster: s.cluster.id,
    target: { kind: 'guest', id: guest.id },
    executor: from,
    action: {
      kind: 'guest.migrate',
      args: { targetNode: to, online: true, withLocalDisks: false },
    },
    rule,
    reason:
      `${from} has had cpu above ${above} for ${secondsText(hotMs)} ` +
      `(now ${now.toFixed(2)}): ${guest.name} ` +
      `(${units.toFixed(1)} cores, ${gib(memory)}) moves to ` +
      `${to}, the least loaded that fits (${target.toFixed(2)} -> ` +
      `${targetAfter.toFixed(2)}); ${from} falls to ${sourceAfter.toFixed(2)}`,
    facts,
    alternatives: rejected(model, choice, source),
    predicted: [
      { name: 'sourceCpuRatio', value: round(sourceAfter), unit: 'ratio' },
      {
        name: 'targetCpuRatio',
        value: round(ratioWith(model, choice.to, choice.guest)),
        unit: 'ratio',
      },
    ],
    margin: { name: 'cpuRatio', value: round(now - targetAfter), unit: 'ratio' },
  };
}

const left = (node: string, reason: string, flip: string | null): NonAction => ({
  subject: { kind: 'node', id: node },
  rule,
  reason,
  flip,
});

/** The greatest relief that one move could bring, where it is not worth a move. */
function tooLittle(model: Model, source: number, need: number, look: Look): NonAction | null {
  const least = leastWorth(need, look.situation);
  const best = model.guestsOf[source]!.filter(
    (guest) => model.barrier[guest] === null && model.now[guest]! < least,
  )
    .sort((a, b) => model.now[b]! - model.now[a]! || compareGuests(model, a, b))
    .find((guest) => look.targets.best(guest) !== null);
  if (best === undefined) return null;
  const units = model.now[best]!;
  const missing = least - units;
  return left(
    nameOf(model, source),
    `cpu ${ratioOf(model, source).toFixed(2)}, but of ${need.toFixed(2)} cores that must go the ` +
      `best move that fits, ${model.guests[best]!.name}, sheds ${units.toFixed(2)}: a move is ` +
      `worth it from ${least.toFixed(2)} on, ${missing.toFixed(2)} are missing`,
    `a guest free to move that uses ${least.toFixed(2)} cores or more`,
  );
}

/** Why no guest of a hot node can go anywhere, with the change that would help. */
function stuck(model: Model, source: number, { targets }: Look): NonAction {
  const node = nameOf(model, source);
  const hot = `cpu ${ratioOf(model, source).toFixed(2)}`;
  const coolest = targets.coolest(source);
  if (coolest === undefined) return left(node, `${hot}, no other node is awake`, 'wake a node');
  const guests = model.guestsOf[source]!;
  const barred = guests.filter((guest) => model.barrier[guest] !== null);
  if (barred.length === guests.length) {
    const list = barred
      .slice(0, 3)
      .map((guest) => `${model.guests[guest]!.name} ${model.barrier[guest]}`);
    const reason = list.length === 0 ? 'it runs no guest' : list.join('; ');
    return left(node, `${hot}, but ${reason}`, 'free one of its guests to move');
  }
  const where = nameOf(model, coolest);
  return left(
    node,
    `${hot}, but no guest fits elsewhere: least loaded is ${where} ` +
      `(${ratioOf(model, coolest).toFixed(2)}, ${gib(model.memoryFree[coolest]!)} free)`,
    `more room on ${where}, or another awake node`,
  );
}

function relieveOne(model: Model, source: number, look: Look, relief: Relief): void {
  const { policy } = look.situation;
  const { clear } = policy.relieve.cpuRatio;
  const capacity = model.capacity[source]!;
  let moved = 0;
  for (;;) {
    const need = model.asked[source]! - clear * capacity;
    if (need <= 0 || !look.traffic.maySend(source)) return;
    const choice = choose(model, source, need, look);
    if (choice === null) {
      if (moved === 0) {
        relief.nonActions.push(tooLittle(model, source, need, look) ?? stuck(model, source, look));
      }
      const least = leastWorth(need, look.situation);
      const { freeUnits, wakeUnits } = unmetOf(model, source, look);
      if (freeUnits >= least) relief.unmetUnits += Math.min(need, freeUnits);
      // One more node helps only guests that may go there.
      if (wakeUnits >= least) relief.wakeUnits += Math.min(need, wakeUnits);
      return;
    }
    relief.intents.push(intentOf(model, source, choice, look.situation));
    look.traffic.note(source, choice.to);
    model.arriving[choice.to] = Math.max(model.arriving[choice.to]!, model.memory[choice.guest]!);
    plan(model, choice.guest, choice.to);
    moved += 1;
  }
}

export function relieve(model: Model, look: Look): Relief {
  const { cluster, policy, history, nowMs } = look.situation;
  const waitMs = scaledMs(policy.relieve.cpuRatio.forMs, cluster);
  const relief = noRelief();
  const hottestFirst = model.nodes
    .map((_, place) => place)
    .filter((place) => model.role[place] === nodeRole.awake)
    .filter((place) => history.hotSinceMs.has(nodeKey(cluster.id, nameOf(model, place))))
    .sort(
      (a, b) =>
        ratioOf(model, b) - ratioOf(model, a) || (nameOf(model, a) < nameOf(model, b) ? 1 : -1),
    );
  for (const source of hottestFirst) {
    const node = nameOf(model, source);
    const hotMs = nowMs - (history.hotSinceMs.get(nodeKey(cluster.id, node)) ?? nowMs);
    const hot = `cpu ${ratioOf(model, source).toFixed(2)}`;
    const refuse = (reason: string, flip: string) =>
      relief.nonActions.push(left(node, `${hot}${reason}`, flip));
    if (hotMs < waitMs && !isUrgent(history, nodeKey(cluster.id, node), look.situation)) {
      const rest = secondsText(waitMs - hotMs);
      refuse(` for only ${secondsText(hotMs)}`, `${rest} more above`);
    } else {
      const held = look.traffic.heldAt(source);
      if (held) refuse(`, ${held.reason}`, held.flip);
      else relieveOne(model, source, look, relief);
    }
  }
  return relief;
}
