/**
 * Which nodes could take a guest at all, found once for many guests: what a node lacks whoever
 * comes is asked once, and the most that any of them has left says at a glance that a guest fits
 * nowhere. So a cluster in which everything is hot or full costs no more than one in which nothing
 * is. Never the last word: whatever is left in is asked again guest by guest. Pure.
 */
import { mayStand } from './constraints.ts';
import {
  fits,
  type Margin,
  type Model,
  nodeRole,
  ratioOf,
  type Situation,
  slack,
} from './model.ts';
import type { Traffic } from './traffic.ts';

/** Moves that are planned and taken back leave sums so far from where they were, in units. */
const drift = 1e-9;
/** A node that receives a copy already is better by this share of it: both disturb it once. */
const sharedCopyBonus = 0.25;
/** Margins of the second and third look, when nothing keeps the planned one. */
const laterMargins: readonly Margin[] = [
  { sigmas: 1, fillRatio: 0.95 },
  { sigmas: 0, fillRatio: 0.98 },
];

export type Room = {
  /** Nodes that have any, in their order. */
  places: readonly number[];
  /** The most that one of them has: units now, units expected, bytes. */
  now: number;
  expected: number;
  memoryBytes: number;
};

/** Room at a margin on the awake nodes that are meant. */
export function roomOf(
  model: Model,
  margin: Margin,
  traffic: Pick<Traffic, 'mayReceive'>,
  isMeant: (place: number) => boolean,
): Room {
  const places: number[] = [];
  const room: Room = { places, now: 0, expected: 0, memoryBytes: 0 };
  for (let place = 0; place < model.nodes.length; place += 1) {
    if (model.role[place] !== nodeRole.awake || model.draining[place]) continue;
    if (model.young[place] === 1 || !isMeant(place)) continue;
    const now = margin.fillRatio * model.capacity[place]! - model.asked[place]!;
    const expected = slack(model, place, margin);
    const memoryBytes = model.memoryFree[place]! - model.memoryKept[place]!;
    if (now < -drift || expected < -drift || memoryBytes <= 0) continue;
    if (model.busiest[place]! > model.busiestMost[place]! + drift) continue;
    if (!traffic.mayReceive(place)) continue;
    places.push(place);
    room.now = Math.max(room.now, now);
    room.expected = Math.max(room.expected, expected);
    room.memoryBytes = Math.max(room.memoryBytes, memoryBytes);
  }
  return room;
}

/** Whether a guest needs more than any of the nodes has. */
export const isBeyond = (model: Model, guest: number, room: Room): boolean =>
  model.now[guest]! > room.now + drift ||
  model.counted[guest]! > room.expected + drift ||
  model.memory[guest]! >= room.memoryBytes + 1;

export type Targets = {
  /** Where relief moves a guest: of the nodes that keep the widest margin, the roomiest. */
  best(guest: number): number | null;
  /** The awake node that is least loaded, but for one. */
  coolest(but: number): number | undefined;
  /** Nodes that sleep or wake. */
  notAwake: readonly number[];
};

/** The two least loaded awake nodes, the least first. */
function twoCoolest(model: Model): number[] {
  let [first, second] = [-1, -1];
  for (let place = 0; place < model.nodes.length; place += 1) {
    if (model.role[place] !== nodeRole.awake) continue;
    const ratio = ratioOf(model, place);
    if (first < 0 || ratio < ratioOf(model, first)) [first, second] = [place, first];
    else if (second < 0 || ratio < ratioOf(model, second)) second = place;
  }
  return [first, second].filter((place) => place >= 0);
}

/** What is remembered holds until the next move is planned. */
type Known = { planned: number; rooms: Room[]; coolest: number[] | null };

export function targetsOf(
  model: Model,
  { policy }: Situation,
  traffic: Traffic,
  preferred: Uint8Array,
): Targets {
  const { relieve } = policy;
  const fillRatio = relieve.fillRatio ?? relieve.cpuRatio.clear;
  const widest = { sigmas: relieve.sigmas, fillRatio };
  const margins = [
    widest,
    ...laterMargins.map((margin) => ({
      sigmas: Math.min(margin.sigmas, widest.sigmas),
      fillRatio: Math.min(margin.fillRatio, fillRatio),
    })),
  ];
  const tries = [1, 0].flatMap((wanted) => margins.map((margin) => ({ wanted, margin })));
  let known: Known = { planned: -1, rooms: [], coolest: null };
  const now = (): Known => {
    if (known.planned === model.planned) return known;
    return (known = { planned: model.planned, rooms: [], coolest: null });
  };
  const bestOf = (guest: number, margin: Margin, room: Room): number | null => {
    const source = model.nodeOf[guest]!;
    const coolest = ratioOf(model, source) - relieve.marginRatio;
    let best: number | null = null;
    let most = -Infinity;
    for (const place of room.places) {
      if (place === source || !traffic.mayReceive(place)) continue;
      const capacity = model.capacity[place]!;
      const after = (model.asked[place]! + model.now[guest]!) / capacity;
      if (after > coolest || !fits(model, guest, place, margin)) continue;
      if (!mayStand(model, guest, place, false)) continue;
      const bonus = model.arriving[place]! > 0 ? sharedCopyBonus : 0;
      const worth = slack(model, place, margin) / capacity + bonus;
      if (worth > most) [most, best] = [worth, place];
    }
    return best;
  };
  const isNotAwake = (role: number): boolean =>
    role === nodeRole.asleep || role === nodeRole.waking;
  return {
    notAwake: [...model.role.keys()].filter((place) => isNotAwake(model.role[place]!)),
    best(guest) {
      const { rooms } = now();
      for (const [at, { wanted, margin }] of tries.entries()) {
        rooms[at] ??= roomOf(model, margin, traffic, (place) => preferred[place] === wanted);
        if (isBeyond(model, guest, rooms[at])) continue;
        const found = bestOf(guest, margin, rooms[at]);
        if (found !== null) return found;
      }
      return null;
    },
    coolest(but) {
      const two = (now().coolest ??= twoCoolest(model));
      return two.find((place) => place !== but);
    },
  };
}
