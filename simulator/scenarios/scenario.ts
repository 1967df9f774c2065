/**
 * What a scenario is: a pure function that is asked once for every whole second since the start
 * and answers what happens to the world then. It looks at the world and never changes it; the
 * same world and second give the same events.
 */
import { seedOfName } from '../prng.ts';
import type { World, WorldCluster, WorldNode } from '../world/model.ts';

/** A node, by its cluster and id. */
export type Place = { cluster: string; node: string };

export type ScenarioEvent =
  /** A guest wants this share of its cpus from now on; null gives it back to its load shape. */
  | { kind: 'load'; cluster: string; guest: string; ratio: number | null }
  | ({ kind: 'crash' } & Place)
  | ({ kind: 'power-on' } & Place)
  /** So many of its next boots fail. */
  | ({ kind: 'boot-failures'; count: number } & Place)
  /** Network connections break without a goodbye; the daemons come back by themselves. */
  | { kind: 'drop'; places: readonly Place[] }
  /** Daemons die and are started again in the same instant. */
  | { kind: 'restart'; places: readonly Place[] };

export type Scenario = {
  readonly name: string;
  readonly about: string;
  events(world: World, atMs: number): readonly ScenarioEvent[];
};

export const placeOf = ({ spec }: WorldNode): Place => ({ cluster: spec.cluster, node: spec.node });

export const allPlaces = (world: World): Place[] => [...world.nodes.values()].map(placeOf);

/** The node of a cluster that a scenario picks on, always the same for one seed. */
export function chosenNode(world: World, cluster: WorldCluster): WorldNode | undefined {
  return cluster.nodes[seedOfName(world.seed, cluster.id) % cluster.nodes.length];
}

/** Clusters in which one node may fail without the rest being in trouble. */
export const sturdyClusters = (world: World): WorldCluster[] =>
  [...world.clusters.values()].filter((cluster) => cluster.nodes.length > 1);
