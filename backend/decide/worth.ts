/**
 * When a move of relief is worth a guest's disturbance, and what stays undone where none is: a node
 * is woken only for guests that may go there, never for heat that cannot leave. Pure.
 */
import { mayStand } from './constraints.ts';
import { fits, type Model, type Situation } from './model.ts';
import type { Intent, NonAction } from './plan.ts';
import type { Look } from './relieve.ts';

/**
 * Moves, refusals, the units that nothing awake could take, and of those what a node that is not
 * awake yet could.
 */
export type Relief = {
  intents: Intent[];
  nonActions: NonAction[];
  unmetUnits: number;
  wakeUnits: number;
};

export const noRelief = (): Relief => ({
  intents: [],
  nonActions: [],
  unmetUnits: 0,
  wakeUnits: 0,
});

/** From this many cores on a move is worth making, however much more must go. */
const worthUnits = 0.25;

/**
 * Units that a move must shed to be worth a guest's disturbance: a share of what must go, so that a
 * guest that uses next to nothing is never moved for the look of it.
 */
export const leastWorth = (need: number, { policy }: Situation): number =>
  Math.min(worthUnits, policy.moves.worthRatio * need);

type Unmet = { freeUnits: number; wakeUnits: number };

/** Units of guests that are free to move, and of those that a node not awake yet could take. */
export function unmetOf(
  model: Model,
  source: number,
  { situation, targets }: Pick<Look, 'situation' | 'targets'>,
): Unmet {
  const { relieve } = situation.policy;
  const margin = { sigmas: 0, fillRatio: relieve.fillRatio ?? relieve.cpuRatio.clear };
  const unmet: Unmet = { freeUnits: 0, wakeUnits: 0 };
  for (const guest of model.guestsOf[source]!) {
    if (model.barrier[guest] !== null) continue;
    unmet.freeUnits += model.now[guest]!;
    const isHelped = targets.notAwake.some(
      (place) => fits(model, guest, place, margin) && mayStand(model, guest, place, false),
    );
    if (isHelped) unmet.wakeUnits += model.now[guest]!;
  }
  return unmet;
}
