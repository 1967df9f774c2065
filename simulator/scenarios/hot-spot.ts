/**
 * 20 s after the start one node of every cluster runs hot: guest after guest rises to full load
 * until the node is wanted to 95 %. Moving one or two of them away relieves it.
 */
import type { World, WorldCluster, WorldNode } from '../world/model.ts';
import { demandOf } from '../world/power.ts';
import { type Scenario, type ScenarioEvent, sturdyClusters } from './scenario.ts';

const startsAtMs = 20_000;
const wantedRatio = 0.95;

/** The more cpus its guests have for each of its own, the hotter a node can get. */
const guestCpus = (node: WorldNode): number =>
  node.guests.reduce((sum, guest) => sum + (guest.state === 'running' ? guest.cpuCount : 0), 0) /
  node.spec.cpuCount;

function hottest(cluster: WorldCluster): WorldNode | undefined {
  const awake = cluster.nodes.filter((node) => node.power === 'on');
  return awake.sort((a, b) => guestCpus(b) - guestCpus(a))[0];
}

function heat(world: World, node: WorldNode): ScenarioEvent[] {
  const { wants, ratio } = demandOf(world, node, world.nowMs);
  let missingCores = (wantedRatio - ratio) * node.spec.cpuCount;
  const events: ScenarioEvent[] = [];
  for (const [index, guest] of node.guests.entries()) {
    if (missingCores <= 0) break;
    if (guest.state !== 'running') continue;
    const { cluster, id } = guest.spec;
    events.push({ kind: 'load', cluster, guest: id, ratio: 1 });
    missingCores -= (1 - (wants[index] ?? 0)) * guest.cpuCount;
  }
  return events;
}

export const hotSpot: Scenario = {
  name: 'hot-spot',
  about: 'one node of each cluster rises to 95 % cpu and stays there until it is relieved',
  events(world, atMs) {
    if (atMs !== startsAtMs) return [];
    return sturdyClusters(world).flatMap((cluster) => {
      const node = hottest(cluster);
      return node === undefined ? [] : heat(world, node);
    });
  },
};
