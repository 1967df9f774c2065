/**
 * Scenarios in which the machines are well and the network or the daemons are not. Nothing
 * happens to the world itself.
 */
import { ratioOf, seedOfName } from '../prng.ts';
import { keyOf } from '../world/model.ts';
import { allPlaces, placeOf, type Scenario } from './scenario.ts';

const flapEveryMs = 10_000;
const flappingRatio = 0.05;
const breakAtMs = 30_000;

export const flapping: Scenario = {
  name: 'flapping',
  about: 'every 10 s another 5 % of the daemons lose their connection',
  events(world, atMs) {
    if (atMs === 0 || atMs % flapEveryMs !== 0) return [];
    const places = [...world.nodes.values()]
      .filter((node) => ratioOf(seedOfName(world.seed, keyOf(node)), atMs) < flappingRatio)
      .map(placeOf);
    return [{ kind: 'drop', places }];
  },
};

/** From outside, a broker that restarts is one that drops everybody in the same instant. */
export const brokerRestart: Scenario = {
  name: 'broker-restart',
  about: 'after 30 s every connection breaks at once',
  events: (world, atMs) => (atMs === breakAtMs ? [{ kind: 'drop', places: allPlaces(world) }] : []),
};

export const thunderingHerd: Scenario = {
  name: 'thundering-herd',
  about: 'after 30 s every daemon dies and is started again in the same instant',
  events: (world, atMs) =>
    atMs === breakAtMs ? [{ kind: 'restart', places: allPlaces(world) }] : [],
};
