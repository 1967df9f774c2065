/**
 * Machines that do not come up. The first boot of every third node fails, and every sixth never
 * boots again. One such node of each cluster loses power after 20 s and is switched on every
 * minute, as a person would try; whoever wakes others by command meets the same machines.
 */
import type { WorldCluster, WorldNode } from '../world/model.ts';
import { placeOf, type Scenario, sturdyClusters } from './scenario.ts';

const crashAtMs = 20_000;
const tryEveryMs = 60_000;
const never = 1_000_000;

const isWeak = (_node: WorldNode, index: number): boolean => index % 3 === 0;
const weakNodes = (cluster: WorldCluster): WorldNode[] => cluster.nodes.filter(isWeak);

export const wakeFails: Scenario = {
  name: 'wake-fails',
  about: 'every third node fails its first boot, every sixth all of them',
  events(world, atMs) {
    const clusters = sturdyClusters(world);
    if (atMs === 0) {
      return clusters.flatMap((cluster) =>
        weakNodes(cluster).map((node, index) => ({
          kind: 'boot-failures' as const,
          count: index % 2 === 0 ? 1 : never,
          ...placeOf(node),
        })),
      );
    }
    const kind = atMs === crashAtMs ? 'crash' : 'power-on';
    if (kind === 'power-on' && atMs % tryEveryMs !== 0) return [];
    return clusters.flatMap((cluster) => {
      const [node] = weakNodes(cluster);
      return node === undefined ? [] : [{ kind, ...placeOf(node) } as const];
    });
  },
};
