/** Small worlds and drives for the tests of the simulated world. */
import type { Action } from '../../../broker/contract/command.ts';
import { begin } from '../../../simulator/world/advance.ts';
import { buildFleetWorld } from '../../../simulator/world/build.ts';
import {
  committedBytes,
  hostMemoryBytes,
  type Task,
  type World,
} from '../../../simulator/world/model.ts';

export const startMs = 1_800_000_000_000;
export const cluster = 'sim-001';

export const smallWorld = (seed = 42, timeScale = 1): World =>
  buildFleetWorld({
    seed,
    startMs,
    timeScale,
    nodes: 4,
    nodesPerCluster: 4,
    guestsPerNode: 5,
    clusterPrefix: 'sim',
  });

export const onNode = (
  world: World,
  node: string,
  action: Action,
  atMs = world.nowMs,
  commandId: string | null = 'c',
): Task =>
  begin(world, atMs, { cluster, node, target: { kind: 'node', id: node }, commandId, action });

export const onGuest = (
  world: World,
  node: string,
  guest: string,
  action: Action,
  atMs = world.nowMs,
): Task =>
  begin(world, atMs, {
    cluster,
    node,
    target: { kind: 'guest', id: guest },
    commandId: 'c',
    action,
  });

/** What must hold in every world at any time; answers the first broken rule. */
export function brokenRule(world: World): string | undefined {
  const placed = new Map<string, string>();
  for (const node of world.nodes.values()) {
    const name = node.spec.node;
    if (committedBytes(node) + hostMemoryBytes > node.spec.memoryBytes) return `${name}: memory`;
    if (node.reservedBytes < 0) return `${name}: negative reservation`;
    if (node.migrations < 0) return `${name}: negative migrations`;
    for (const guest of node.guests) {
      const key = `${guest.spec.cluster}/${guest.spec.id}`;
      if (placed.has(key)) return `${key}: on ${placed.get(key)} and on ${name}`;
      placed.set(key, name);
      if (guest.node !== node) return `${key}: thinks it is on ${guest.node.spec.node}`;
      if (node.power === 'off' && guest.state === 'running') return `${key}: runs without power`;
    }
  }
  if (placed.size !== world.guests.size) return 'a guest is nowhere';
  const idle = [...world.nodes.values()].filter(
    (node) => !world.pending.some((task) => task.node === node || task.target === node),
  );
  const leak = idle.find((node) => node.reservedBytes !== 0 || node.migrations !== 0);
  return leak && `${leak.spec.node}: holds a reservation for nothing`;
}
