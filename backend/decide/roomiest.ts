/**
 * Where a guest goes that must leave its node, and in which order guests leave: one choice for the
 * moves of a maintenance and for what a person reads before it begins.
 */
import { mayStand } from './constraints.ts';
import { fits, type Margin, type Model, nodeRole, slack } from './model.ts';
import type { Look } from './relieve.ts';
import type { Traffic } from './traffic.ts';

type Receiving = Pick<Look, 'situation'> & { traffic: Pick<Traffic, 'mayReceive'> };

const laterMargins: readonly Margin[] = [
  { sigmas: 1, fillRatio: 0.95 },
  { sigmas: 0, fillRatio: 0.98 },
];

/** Of the nodes that keep the widest margin, the one with most room left. */
export function roomiest(
  model: Model,
  guest: number,
  { situation, traffic }: Receiving,
): number | null {
  const { relieve } = situation.policy;
  const planned = {
    sigmas: relieve.sigmas,
    fillRatio: relieve.fillRatio ?? relieve.cpuRatio.clear,
  };
  for (const margin of [planned, ...laterMargins]) {
    let best: number | null = null;
    let most = -Infinity;
    for (let place = 0; place < model.nodes.length; place += 1) {
      if (model.role[place] !== nodeRole.awake || place === model.nodeOf[guest]) continue;
      if (model.draining[place] || !traffic.mayReceive(place)) continue;
      if (!fits(model, guest, place, margin) || !mayStand(model, guest, place, true)) continue;
      const room = slack(model, place, margin) / model.capacity[place]!;
      if (room > most) [best, most] = [place, room];
    }
    if (best !== null) return best;
  }
  return null;
}

/** The order in which guests leave. */
export const biggestFirst = (model: Model, place: number): number[] =>
  model.guestsOf[place]!.toSorted((a, b) => model.memory[b]! - model.memory[a]! || a - b);

export const fitsNowhere = 'fits on no other awake node';

/** Units that a node must be woken for when a guest fits nowhere. */
export const unmetOf = (model: Model, guest: number): number =>
  Math.max(0.1, model.counted[guest]!);
