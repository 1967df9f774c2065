/**
 * What exists in a simulated world, as data. Functions of this folder change it in place and are
 * otherwise pure: time comes in as `nowMs` (unix ms), chance from the world's own seeded
 * generator. No clock, no timer, no I/O, so the same seed and the same calls give the same world.
 *
 *   node power:   off --wake--> booting --> on --shutdown--> stopping --> off
 *                  ^---- boot failed --'     '------- crash --------------^
 */
import type { CommandArgs } from '../../broker/contract/command.ts';
import { nodeKey, type NodeKey } from '../../broker/contract/ids.ts';
import type { Random } from '../../broker/contract/ports.ts';
import type { Load } from './load.ts';

export type PowerState = 'off' | 'booting' | 'on' | 'stopping';

export type NodeSpec = {
  cluster: string;
  node: string;
  rack: string;
  cpuModel: string;
  cpuCount: number;
  singleThreadFactor: number;
  memoryBytes: number;
  diskBytes: number;
  wattsIdle: number;
  wattsLoaded: number;
  /** 0 for a standalone host, which has no quorum. */
  votes: number;
  mac: string;
  address: string;
  broadcast: string;
  bootMs: number;
  /** What a migration may use of its network. */
  migrationBytesPerSecond: number;
  roles: readonly string[];
};

export type GuestSpec = {
  cluster: string;
  id: string;
  name: string;
  kind: 'vm' | 'container';
  node: string;
  cpuCount: number;
  memoryBytes: number;
  diskBytes: number;
  load: Load;
  tags: readonly string[];
  running: boolean;
};

/** Running averages of pressure and load, as the kernel keeps them. */
export type Averages = {
  atMs: number;
  cpu10: number;
  cpu60: number;
  memory10: number;
  memory60: number;
  load1: number;
  load5: number;
  load15: number;
};

export type WorldNode = {
  readonly spec: NodeSpec;
  power: PowerState;
  bootId: string;
  bootedAtMs: number;
  /** How many of the next boots fail; set by scenarios. */
  bootFailures: number;
  guests: WorldGuest[];
  /** Memory promised to guests on their way here or about to start. */
  reservedBytes: number;
  /** Migrations in or out at work now; each burns one core here. */
  migrations: number;
  averages: Averages;
  watts: number;
  settledAtMs: number;
  joules: number;
};

export type WorldGuest = {
  readonly spec: GuestSpec;
  /** Single-thread factor of the node it was built on, which its load is a share of. */
  readonly homeFactor: number;
  node: WorldNode;
  state: 'running' | 'stopped';
  /** Name of the task that holds it, null when free. */
  lock: string | null;
  startedAtMs: number;
  cpuCount: number;
  cpuLimit: number | null;
  cpuUnits: number;
  memoryBytes: number;
  balloonBytes: number | null;
  /** A scenario's wish that replaces the load shape. */
  forcedRatio: number | null;
  /** Was running when its node lost power; starts with it. */
  startsWithNode: boolean;
};

export type WorldCluster = {
  id: string;
  /** Votes of a QDevice on a machine of its own, which is always there; 0 for none. */
  qdeviceVotes?: number;
  nodes: WorldNode[];
  /** Ids of the nodes that are on; replaced, never edited, when one comes or goes. */
  online: readonly string[];
};

export type EffectKind =
  | 'node.shutdown'
  | 'node.wake'
  | 'node.reboot'
  | 'node.crash'
  | 'node.boot'
  | 'guest.start'
  | 'guest.stop'
  | 'guest.restart'
  | 'guest.migrate'
  | 'guest.scale';

/** One line of the world's own log, the only ground truth of what really happened. */
export type EffectRecord = {
  atMs: number;
  cluster: string;
  kind: EffectKind;
  node: string;
  guest: string | null;
  commandId: string | null;
  effect: 'start' | 'end';
  outcome: string | null;
};

/** An effect under way. It ends at `endMs` whoever looks, or earlier when power is cut. */
export type Task = {
  id: number;
  kind: EffectKind;
  commandId: string | null;
  node: WorldNode;
  guest: WorldGuest | null;
  target: WorldNode | null;
  endMs: number;
  reservedBytes: number;
  /** The wanted values of a `guest.scale`. */
  size: CommandArgs<'guest.scale'> | null;
  /** null while under way; then 'ok' or why not. */
  outcome: string | null;
};

export type World = {
  readonly seed: number;
  readonly timeScale: number;
  readonly startMs: number;
  /** Added to the hour by which guests are busy or idle. */
  readonly loadOffsetMs: number;
  readonly random: Random;
  nowMs: number;
  readonly clusters: Map<string, WorldCluster>;
  readonly nodes: Map<NodeKey, WorldNode>;
  readonly guests: Map<string, WorldGuest>;
  readonly nodesByMac: Map<string, WorldNode>;
  /** Tasks under way, soonest end first. */
  pending: Task[];
  readonly tasks: Map<number, Task>;
  readonly log: EffectRecord[];
  /** Nodes whose power changed since they were last taken from here. */
  changed: WorldNode[];
};

export const keyOf = (node: WorldNode): NodeKey => nodeKey(node.spec.cluster, node.spec.node);

export const findNode = (world: World, cluster: string, node: string): WorldNode | undefined =>
  world.nodes.get(nodeKey(cluster, node));

export const findGuest = (world: World, cluster: string, guest: string): WorldGuest | undefined =>
  world.guests.get(`${cluster}/${guest}`);

/** How long something takes here: the world's one use of its time scale on durations. */
export const scaled = (world: World, durationMs: number): number => durationMs / world.timeScale;

/** The hour inside the world: it starts at the real one, or at one that was named, and runs faster. */
export const worldTimeMs = (world: World, nowMs: number): number =>
  world.startMs + world.loadOffsetMs + (nowMs - world.startMs) * world.timeScale;

/** Memory in use or promised; never above what the node has. */
export function committedBytes(node: WorldNode): number {
  let sum = node.reservedBytes;
  for (const guest of node.guests) if (guest.state === 'running') sum += guest.memoryBytes;
  return sum;
}

/** What the host itself needs; guests may use the rest. */
export const hostMemoryBytes = 2 ** 30;

export const freeBytes = (node: WorldNode): number =>
  node.spec.memoryBytes - hostMemoryBytes - committedBytes(node);
