/**
 * Which nodes to empty first: of those that may sleep and stand no one in need, the least efficient,
 * then the thirstiest, then those with the smallest load and copies. Pure.
 */
import { idleWattsOf } from './benefit.ts';
import { type Model, nodeRole, ratioOf } from './model.ts';
import { wakesForSure } from './refusals.ts';
import { type Look, moveCost } from './relieve.ts';
import { sleptOut } from './rest.ts';

/** Seconds of disturbance that weigh as much as a fully expected node. */
const fullNodeSeconds = 500;

/**
 * Idle watts by which one node is worth another, as a rank: half as much again is one rank more, so
 * that a thirsty server goes before a mini PC where only one of them may sleep.
 */
const thirst = (model: Model, place: number): number =>
  Math.floor(Math.log(Math.max(1, idleWattsOf(model, place))) / Math.log(1.5));

/** Of the least efficient the thirstiest first, then the least loaded with the smallest copies. */
export function cheapestFirst(model: Model, look: Look): number[] {
  const { above } = look.situation.policy.relieve.cpuRatio;
  const cost = new Float64Array(model.nodes.length);
  const saves = new Float64Array(model.nodes.length);
  const places = model.nodes
    .map((_, place) => place)
    .filter(
      (place) =>
        model.role[place] === nodeRole.awake &&
        model.guestsOf[place]!.length > 0 &&
        model.draining[place] === 0 &&
        model.ordered[place] === 0 &&
        // It never sleeps, so that emptying it saves nothing.
        !model.nodes[place]!.protected &&
        wakesForSure(look.situation, model.nodes[place]!.node) &&
        !look.needed[place] &&
        sleptOut(look.situation, model.nodes[place]!.node) === null &&
        model.touched[place] === 0 &&
        ratioOf(model, place) <= above,
    );
  for (const place of places) {
    const copies = model.guestsOf[place]!.reduce(
      (sum, guest) => sum + moveCost(model, guest, look.situation),
      0,
    );
    saves[place] = thirst(model, place);
    cost[place] = model.mean[place]! / model.capacity[place]! + copies / fullNodeSeconds;
  }
  return places.sort(
    (a, b) =>
      look.preferred[a]! - look.preferred[b]! ||
      saves[b]! - saves[a]! ||
      cost[a]! - cost[b]! ||
      a - b,
  );
}
