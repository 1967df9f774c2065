/** One node of every fourth cluster loses power after 30 s and is switched on a minute later. */
import { chosenNode, placeOf, type Scenario, sturdyClusters } from './scenario.ts';

const crashAtMs = 30_000;
const returnAtMs = 90_000;

export const nodeCrash: Scenario = {
  name: 'node-crash',
  about: 'every fourth cluster loses a node without warning, and gets it back a minute later',
  events(world, atMs) {
    if (atMs !== crashAtMs && atMs !== returnAtMs) return [];
    const kind = atMs === crashAtMs ? 'crash' : 'power-on';
    return sturdyClusters(world).flatMap((cluster, index) => {
      const node = index % 4 === 0 ? chosenNode(world, cluster) : undefined;
      return node === undefined ? [] : [{ kind, ...placeOf(node) } as const];
    });
  },
};
