/**
 * Makes worlds: from a list of node and guest specs, or a whole fleet from a seed. A fleet's nodes
 * are of three classes; each has memory for its own guests and about as much again, so that a
 * neighbour's guests fit when they must move.
 */
import { uuidv7 } from '../../broker/contract/ids.ts';
import type { Random } from '../../broker/contract/ports.ts';
import { between, pick, seededRandom, seedOfName } from '../prng.ts';
import { type Load, loadShapes, type LoadShape } from './load.ts';
import {
  type GuestSpec,
  keyOf,
  type NodeSpec,
  type World,
  type WorldGuest,
  type WorldNode,
} from './model.ts';
import { freshAverages, setPower } from './power.ts';

export const gibibyte = 2 ** 30;

export type WorldSpec = {
  seed: number;
  startMs: number;
  timeScale: number;
  /** The hour of the day (UTC) at which its guests begin; left out, it is that of `startMs`. */
  startHour?: number;
  nodes: readonly NodeSpec[];
  guests: readonly GuestSpec[];
};

const dayMs = 86_400_000;

function emptyWorld({ seed, startMs, timeScale, startHour }: WorldSpec): World {
  return {
    seed,
    timeScale,
    startMs,
    loadOffsetMs: startHour === undefined ? 0 : (startHour * dayMs) / 24 - (startMs % dayMs),
    random: seededRandom(seed),
    nowMs: startMs,
    clusters: new Map(),
    nodes: new Map(),
    guests: new Map(),
    nodesByMac: new Map(),
    pending: [],
    tasks: new Map(),
    log: [],
    changed: [],
  };
}

function addNode(world: World, spec: NodeSpec): void {
  // Every machine has been up for some days when the simulation begins.
  const bootedAtMs = world.startMs - Math.floor(world.random.ratio() * 30 * 86_400_000);
  const node: WorldNode = {
    spec,
    power: 'on',
    bootId: uuidv7(bootedAtMs, world.random.bytes(16)),
    bootedAtMs,
    bootFailures: 0,
    guests: [],
    reservedBytes: 0,
    migrations: 0,
    averages: freshAverages(world.startMs),
    watts: spec.wattsIdle,
    settledAtMs: world.startMs,
    joules: 0,
  };
  if (world.nodes.has(keyOf(node))) throw new Error(`node ${keyOf(node)} is there twice`);
  world.nodes.set(keyOf(node), node);
  world.nodesByMac.set(spec.mac, node);
  const cluster = world.clusters.get(spec.cluster) ?? { id: spec.cluster, nodes: [], online: [] };
  cluster.nodes.push(node);
  cluster.online = cluster.nodes.map((member) => member.spec.node);
  world.clusters.set(spec.cluster, cluster);
}

function addGuest(world: World, spec: GuestSpec): void {
  const key = `${spec.cluster}/${spec.id}`;
  const node = world.nodes.get(`${spec.cluster}/${spec.node}`);
  if (node === undefined) throw new Error(`guest ${key} names the unknown node ${spec.node}`);
  if (world.guests.has(key)) throw new Error(`guest ${key} is there twice`);
  const upMs = Math.floor(world.random.ratio() * (world.startMs - node.bootedAtMs));
  const guest: WorldGuest = {
    spec,
    homeFactor: node.spec.singleThreadFactor,
    node,
    state: spec.running ? 'running' : 'stopped',
    lock: null,
    startedAtMs: world.startMs - upMs,
    cpuCount: spec.cpuCount,
    cpuLimit: null,
    cpuUnits: 1024,
    memoryBytes: spec.memoryBytes,
    balloonBytes: null,
    forcedRatio: null,
    startsWithNode: false,
  };
  node.guests.push(guest);
  world.guests.set(key, guest);
}

export function buildWorld(spec: WorldSpec): World {
  const world = emptyWorld(spec);
  for (const node of spec.nodes) addNode(world, node);
  for (const guest of spec.guests) addGuest(world, guest);
  for (const node of world.nodes.values()) setPower(world, node, 0);
  return world;
}

const hex = (value: number): string => value.toString(16).padStart(2, '0');

/** Locally administered, numbered by the node, so that no two are equal. */
export const macOf = (index: number): string =>
  `02:4b:52:${hex((index >> 16) & 255)}:${hex((index >> 8) & 255)}:${hex(index & 255)}`;

const classes = [
  { cpuModel: 'Intel N305', cores: 8, factor: 0.7, idle: 12, loaded: 48 },
  { cpuModel: 'AMD EPYC 7302P', cores: 32, factor: 0.9, idle: 75, loaded: 210 },
  { cpuModel: 'Intel Xeon Gold 6338', cores: 64, factor: 1, idle: 140, loaded: 480 },
] as const;

export type FleetSpec = {
  seed: number;
  startMs: number;
  timeScale: number;
  nodes: number;
  nodesPerCluster: number;
  /** A number, or how many a node has at least and at most. */
  guestsPerNode: number | { min: number; max: number };
  clusterPrefix: string;
  load?: FleetLoad;
};

/** How busy the guests are; what is left out is drawn for each. */
export type FleetLoad = {
  shape?: LoadShape;
  base?: number;
  swing?: number;
  /** Guests take them in turn. */
  recordings?: readonly { stepMs: number; ratios: ArrayLike<number> }[];
};

const rangeOf = ({ guestsPerNode: asked }: FleetSpec): { min: number; max: number } =>
  typeof asked === 'number' ? { min: asked, max: asked } : asked;

/** Everything is drawn, whatever is asked for, so that the rest of a world does not depend on it. */
function fleetLoad(fleet: FleetSpec, random: Random, number: number): Load {
  const drawn: Load = {
    shape: pick(random, loadShapes),
    seed: Math.floor(random.ratio() * 2 ** 31),
    base: 0.03 + 0.07 * random.ratio(),
    swing: 0.25 * random.ratio(),
  };
  const { shape, base, swing, recordings = [] } = fleet.load ?? {};
  const recording = recordings[number % recordings.length];
  return {
    shape: shape ?? drawn.shape,
    seed: drawn.seed,
    base: base ?? drawn.base,
    swing: swing ?? drawn.swing,
    ...(recording && { recording: { ...recording, startMs: fleet.startMs } }),
  };
}

const guestNames = ['web', 'db', 'cache', 'build', 'mail', 'files', 'queue', 'search'] as const;

function fleetGuests(fleet: FleetSpec, node: NodeSpec, index: number): GuestSpec[] {
  const random = seededRandom(seedOfName(fleet.seed, `${node.cluster}/${node.node}/guests`));
  const { min, max } = rangeOf(fleet);
  const count = min === max ? max : between(random, min, max);
  return Array.from({ length: count }, (_, place) => {
    const id = String(100 + (index % fleet.nodesPerCluster) * max + place);
    const name = `${pick(random, guestNames)}-${id}`;
    return {
      cluster: node.cluster,
      id,
      name,
      kind: random.ratio() < 0.5 ? 'vm' : 'container',
      node: node.node,
      cpuCount: pick(random, [1, 2, 2, 4]),
      memoryBytes: between(random, 1, 4) * gibibyte,
      diskBytes: between(random, 8, 64) * gibibyte,
      load: fleetLoad(fleet, random, index * max + place),
      tags: [pick(random, ['prod', 'test', 'home'])],
      // The first of each node is at rest, so that there is always something to start.
      running: place > 0 || count === 1,
    };
  });
}

function fleetNode(fleet: FleetSpec, index: number): NodeSpec {
  const place = index % fleet.nodesPerCluster;
  const group = Math.floor(index / fleet.nodesPerCluster) + 1;
  const cluster = `${fleet.clusterPrefix}-${String(group).padStart(3, '0')}`;
  const node = `n${String(index + 1).padStart(4, '0')}`;
  const random = seededRandom(seedOfName(fleet.seed, `${cluster}/${node}`));
  const { max: guestsMax } = rangeOf(fleet);
  const kind = pick(random, classes);
  const subnet = `10.${100 + ((group >> 8) & 63)}.${group & 255}`;
  return {
    cluster,
    node,
    rack: `${cluster}-r${Math.floor(place / 8) + 1}`,
    cpuModel: kind.cpuModel,
    cpuCount: Math.max(kind.cores, Math.ceil(guestsMax * 0.75)),
    singleThreadFactor: kind.factor,
    // 2.5 GiB a guest on average, twice that in all, in steps of 32 GiB.
    memoryBytes: Math.max(1, Math.ceil((guestsMax * 5) / 32)) * 32 * gibibyte,
    diskBytes: 2 ** 41,
    wattsIdle: kind.idle,
    wattsLoaded: kind.loaded,
    votes: fleet.nodesPerCluster === 1 ? 0 : 1,
    mac: macOf(index + 1),
    address: `${subnet}.${(place % 250) + 1}`,
    broadcast: `${subnet}.255`,
    bootMs: between(random, 60_000, 180_000),
    migrationBytesPerSecond: kind.cores > 8 ? 1.1e9 : 2.8e8,
    roles: [],
  };
}

export function buildFleetWorld(fleet: FleetSpec): World {
  const nodes = Array.from({ length: fleet.nodes }, (_, index) => fleetNode(fleet, index));
  const guests = nodes.flatMap((node, index) => fleetGuests(fleet, node, index));
  return buildWorld({ ...fleet, nodes, guests });
}
