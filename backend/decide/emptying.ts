/**
 * Whom a node would send where if a person had it emptied: the choice of targets that `evacuate`
 * makes move by move, made here for all guests at once, so that somebody can read it before the
 * first of them leaves. How many may move at a time is not looked at; what bars a guest is.
 */
import { evacuate } from './evacuate.ts';
import { modelOf, plan, ratioOf, type Situation } from './model.ts';
import type { NonAction } from './plan.ts';
import { wake } from './power.ts';
import { wakesForSure } from './refusals.ts';
import { biggestFirst, fitsNowhere, roomiest, unmetOf } from './roomiest.ts';
import { trafficOf } from './traffic.ts';

/** `target` null: HA moves it by itself, it is leaving already, or `why` says what keeps it. */
export type Leaving = {
  id: string;
  name: string;
  way: 'moves' | 'leaving' | 'ha' | 'stays';
  target: string | null;
  /** Of the target's cpu, after all that moves there before and with it. */
  targetCpuRatio: number | null;
  why: string | null;
};

export type Emptying = {
  /** In the order in which they leave; what is stopped stays and is not in it. */
  guests: Leaving[];
  /** Sleeping nodes that are woken because something fits on none that is awake. */
  wakes: string[];
  /** What else is in the way of its next step, in the words of a decision. */
  inTheWay: Pick<NonAction, 'reason' | 'flip'>[];
  /** Shown to come back, or where nobody asks for that; else it is not switched off. */
  isProven: boolean;
  /**
   * How often a day the engine may move a guest, and how long, in ms, that keeps it from emptying
   * this node to save power: 0 where it does not, infinite where it is never granted.
   */
  rest: { movesPerDay: number; forMs: number };
};

/** As if somebody had just asked for it; what is under way already stays as it is. */
function asked(situation: Situation, name: string): Situation {
  const { nodes, nowMs } = situation;
  const evacuation = { phase: 'evacuate', sleeps: false, guests: [], actor: '' } as const;
  return {
    ...situation,
    nodes: nodes.map((node) =>
      node.node === name && !node.evacuation
        ? { ...node, evacuation: { ...evacuation, startedAtMs: nowMs } }
        : node,
    ),
  };
}

function inTheWayOf(situation: Situation, name: string): Emptying['inTheWay'] {
  const model = modelOf(situation);
  const { nonActions } = evacuate(model, {
    situation,
    traffic: trafficOf(model, situation),
  });
  return nonActions
    .filter(({ subject }) => subject.id === name)
    .map(({ reason, flip }) => ({ reason, flip }));
}

/**
 * @param situation the cluster as last heard of; read only
 * @param name of a node of it
 * @returns null where the cluster has no such node
 */
export function emptyingOf(situation: Situation, name: string): Emptying | null {
  const wanted = asked(situation, name);
  const model = modelOf(wanted);
  const place = model.nodes.findIndex(({ node }) => node === name);
  const node = model.nodes[place];
  if (node === undefined) return null;
  const { breakers } = trafficOf(model, wanted);
  const mayReceive = (at: number): boolean => !breakers.has(model.nodes[at]!.node);
  const receiving = { situation: wanted, traffic: { mayReceive } };
  const isDrained =
    node.facts?.maintenance === true || node.driver?.capabilities.includes('node.drain') === true;
  const moves = situation.history.movesInFlight.get(situation.cluster.id) ?? [];
  const ofNode = moves.filter(({ fromNode, toNode }) => fromNode === name || toNode === name);
  const going = new Set(ofNode.map((move) => move.guest));
  const waitsMs = model.guestsOf[place]!.map((guest) =>
    model.recent.savesInMs(model.guests[guest]!.id),
  );
  const rest = {
    movesPerDay: situation.policy.limits.guestMovesPerDay,
    forMs: Math.max(0, ...waitsMs),
  };
  let unmetUnits = 0;
  const guests = biggestFirst(model, place).map((guest): Leaving => {
    const { id, name: called, haState } = model.guests[guest]!;
    const stays = { id, name: called, target: null, targetCpuRatio: null };
    if (haState !== null && isDrained) return { ...stays, way: 'ha', why: null };
    if (going.has(id)) return { ...stays, way: 'leaving', why: null };
    const barrier = model.barrier[guest];
    if (barrier) return { ...stays, way: 'stays', why: barrier };
    const to = roomiest(model, guest, receiving);
    if (to === null) {
      unmetUnits += unmetOf(model, guest);
      return { ...stays, way: 'stays', why: fitsNowhere };
    }
    plan(model, guest, to);
    const target = model.nodes[to]!.node;
    return { ...stays, way: 'moves', target, targetCpuRatio: ratioOf(model, to), why: null };
  });
  return {
    guests,
    wakes: unmetUnits > 0 ? wake(model, unmetUnits, wanted).map(({ target }) => target.id) : [],
    // The next step waits for that move, and its lock is no obstacle.
    inTheWay: ofNode.length > 0 ? [] : inTheWayOf(wanted, name),
    isProven: !node.protected && wakesForSure(wanted, name),
    rest,
  };
}
