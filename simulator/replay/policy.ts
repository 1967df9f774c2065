/** What every replayed policy is: asked once a tick, it answers the moves to start now. */
import type { Move, ReplayWorld } from './world.ts';

export type ReplayPolicy = {
  name: string;
  /**
   * @param world the state at the tick; read only
   * @param tick place among the decisions of the day, from 0; samples up to `tick + 1` are past
   */
  decide(world: ReplayWorld, tick: number): Move[];
};
