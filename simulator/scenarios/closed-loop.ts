/**
 * What an engine that acts must cope with: one node of every cluster runs hot, and one machine in
 * twenty does not come up the first time it is woken.
 */
import { ratioOf, seedOfName } from '../prng.ts';
import { keyOf } from '../world/model.ts';
import { hotSpot } from './hot-spot.ts';
import { placeOf, type Scenario } from './scenario.ts';

const failingRatio = 0.05;

export const closedLoop: Scenario = {
  name: 'closed-loop',
  about: 'one node of each cluster runs hot, and every twentieth node fails its first boot',
  events(world, atMs) {
    const hot = hotSpot.events(world, atMs);
    if (atMs !== 0) return hot;
    const failing = [...world.nodes.values()].filter(
      (node) => ratioOf(seedOfName(world.seed, keyOf(node)), 5) < failingRatio,
    );
    return [
      ...hot,
      ...failing.map((node) => ({ kind: 'boot-failures' as const, count: 1, ...placeOf(node) })),
    ];
  },
};
