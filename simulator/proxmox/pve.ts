/**
 * What a Proxmox cluster knows beside the simulated world under it: tasks with their UPIDs, HA,
 * options, pending changes, and the faults a test asks for. It changes the world only in
 * `beginDeed`. A task in the foreground of a tool ends with that tool, one of HA or of the API with
 * nobody.
 */
import type { Action } from '../../broker/contract/command.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import type { LiveWorld } from '../live-world.ts';
import { begin, cancel } from '../world/advance.ts';
import { factsOf } from '../world/facts.ts';
import { findNode, type Task, type WorldGuest, type WorldNode } from '../world/model.ts';
import { done } from '../world/tasks.ts';
import type { Call } from './frames.ts';
import type { Round } from './metrics.ts';

export type Fault =
  | { kind: 'hang' }
  | { kind: 'delay'; delayMs: number }
  | { kind: 'fail'; exitCode: number; stderr: string };

export type PveTask = {
  upid: string;
  node: string;
  type: string;
  id: string;
  /** `root@pam`, or the token that asked. */
  user: string;
  /** Somebody told it to end. */
  isToldToEnd: boolean;
  startedAtSeconds: number;
  endedAtSeconds: number | null;
  exitStatus: string | null;
};

export type Pve = {
  readonly live: LiveWorld;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly tasks: PveTask[];
  /** What pvestatd of each node that is on has kept, the oldest round first. */
  readonly rounds: Map<string, Round[]>;
  /** HA resources by vmid, each with its `auto-rebalance` where it is set. */
  readonly ha: Map<string, { autoRebalance: 0 | 1 | null }>;
  /** How long HA keeps a request before it starts the real task. */
  haQueueMs: number;
  /** Nodes in HA maintenance. */
  readonly maintenance: Map<string, true>;
  /** `/cluster/options`, as an object or as text per key. */
  options: Record<string, unknown>;
  /** Lines of a guest's configuration beside those that the world gives it. */
  readonly extra: Map<string, Record<string, string>>;
  /** What waits for the next start of a guest. */
  readonly pending: Map<string, Record<string, string>>;
  qdevice: { votes: number; flags: string } | null;
  /** Nodes whose corosync-qdevice does not run: the API of each shows no device at all. */
  readonly qdeviceDown: Set<string>;
  /** null: Ceph is not installed. */
  ceph: { health: string; mons: string[]; inQuorum: string[]; minSizes: number[] } | null;
  /** What `ethtool` says of a node's link: `g`, or `d` for disabled. */
  wakeOn: (node: string) => string;
  faultOf: (call: Call) => Fault | undefined;
  /** `line`: method and path; of `fail` the exit code is the HTTP status. */
  apiFaultOf: (request: { node: string; line: string }) => Fault | undefined;
  /** Something that the files of a node show has changed. */
  onChange: () => void;
};

/** A map whose changes show in the files of every node. */
class Shown<K, V> extends Map<K, V> {
  readonly #onChange: () => void;
  constructor(onChange: () => void) {
    super();
    this.#onChange = onChange;
  }
  override set(key: K, value: V): this {
    super.set(key, value);
    this.#onChange();
    return this;
  }
  override delete(key: K): boolean {
    const isGone = super.delete(key);
    this.#onChange();
    return isGone;
  }
}

export function createPve(live: LiveWorld, clusterId: string, clock: Clock): Pve {
  const onChange = (): void => pve.onChange();
  let options: Pve['options'] = {};
  const pve: Pve = {
    ...emptyPve,
    live,
    clusterId,
    clock,
    tasks: [],
    rounds: new Map(),
    ha: new Shown(onChange),
    maintenance: new Shown(onChange),
    extra: new Map(),
    qdeviceDown: new Set(),
    pending: new Map(),
    get options() {
      return options;
    },
    set options(given) {
      options = given;
      pve.onChange();
    },
  };
  return pve;
}

const emptyPve = {
  haQueueMs: 200,
  qdevice: null,
  ceph: null,
  wakeOn: () => 'g',
  faultOf: () => undefined,
  apiFaultOf: () => undefined,
  onChange: () => undefined,
} satisfies Partial<Pve>;

/** An error as a command-line tool of Proxmox ends with: a line on stderr and a code. */
export class ToolFailure extends Error {
  override readonly name = 'ToolFailure';
  readonly code = 'KR_FAKE_TOOL';
  readonly exitCode: number;
  constructor(message: string, exitCode = 255) {
    super(message);
    this.exitCode = exitCode;
  }
}

export const nodesOf = (pve: Pve): readonly WorldNode[] =>
  pve.live.world.clusters.get(pve.clusterId)?.nodes ?? [];

export const guestsOf = (pve: Pve): readonly WorldGuest[] =>
  nodesOf(pve).flatMap(({ guests }) => guests);

export const typeOf = (guest: WorldGuest): 'qemu' | 'lxc' =>
  guest.spec.kind === 'vm' ? 'qemu' : 'lxc';

export const isUp = ({ power }: WorldNode): boolean => power === 'on' || power === 'stopping';

export const nodeOf = (pve: Pve, name: string): WorldNode => {
  const node = findNode(pve.live.world, pve.clusterId, name);
  if (node === undefined) throw new ToolFailure(`hostname lookup '${name}' failed`);
  return node;
};

/** null on a node without a cluster. */
export const quorumOf = (pve: Pve, node: WorldNode) => factsOf(pve.live.world, node).quorum;

export function requireQuorum(pve: Pve, node: WorldNode): void {
  if (quorumOf(pve, node)?.quorate === false) {
    throw new ToolFailure('cluster not ready - no quorum?');
  }
}

const hex = (value: number, digits = 8): string =>
  Math.floor(value).toString(16).toUpperCase().padStart(digits, '0');

const secondsOf = (pve: Pve): number => Math.floor(pve.clock.wallMs() / 1000);

export const rootUser = 'root@pam';

export type TaskHead = { node: string; type: string; id: string; user?: string };

/** Puts a task on the list; it has a name before anything happens. */
export function openPveTask(pve: Pve, { node, type, id, user = rootUser }: TaskHead): PveTask {
  const startedAtSeconds = secondsOf(pve);
  const pid = 1_000 + pve.tasks.length;
  const upid = `UPID:${node}:${hex(pid)}:${hex(pid * 7)}:${hex(startedAtSeconds)}:${type}:${id}:${user}:`;
  const head = { upid, node, type, id, user, isToldToEnd: false };
  const task = { ...head, startedAtSeconds, endedAtSeconds: null, exitStatus: null };
  pve.tasks.push(task);
  pve.onChange();
  return task;
}

export function endPveTask(pve: Pve, task: PveTask, exitStatus: string): void {
  task.endedAtSeconds = secondsOf(pve);
  task.exitStatus = exitStatus;
  pve.onChange();
}

const waitFor = (clock: Clock, delayMs: number): Promise<void> =>
  new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
export const pause = (pve: Pve, delayMs: number): Promise<void> => waitFor(pve.clock, delayMs);

export type Deed = { node: string; target: { kind: 'node' | 'guest'; id: string }; action: Action };

/** Begins the effect in the world; a power-off ends at once for who asked. */
export function beginDeed(pve: Pve, { node, target, action }: Deed): Task {
  const request = { cluster: pve.clusterId, node, target, commandId: null, action };
  const task = pve.live.change((world) => begin(world, pve.live.nowMs(), request));
  pve.onChange();
  return task;
}

/** The tool in whose foreground a task works. */
export type Terminal = { out(text: string): void; hasGone(): boolean };

const progressEveryMs = 100;

/** What a worker leaves behind that was told to end. */
const ended = ({ type }: PveTask): string =>
  type === 'qmigrate' || type === 'vzmigrate' ? 'migration aborted' : 'received interrupt';

/**
 * Carries a named task out to its end and answers its exit status. In the foreground it prints how
 * far it is, and does not survive the tool that reads that: PVE::RESTEnvironment kills the worker's
 * process group when the output it passes on meets a broken pipe.
 */
export async function followDeed(
  pve: Pve,
  task: PveTask,
  deed: Deed,
  terminal?: Terminal,
): Promise<string> {
  const effect = beginDeed(pve, deed);
  while (effect.outcome === null) {
    const leftMs = Math.max(1, Math.ceil(effect.endMs - pve.live.nowMs()));
    await pause(pve, Math.min(progressEveryMs, leftMs));
    pve.live.change((world) => {
      if (task.isToldToEnd || terminal?.hasGone()) cancel(world, pve.live.nowMs(), effect.id);
    });
    terminal?.out(`${task.type} ${task.id}: at work\n`);
  }
  const { outcome } = effect;
  const exitStatus = outcome === done ? 'OK' : outcome === 'cancelled' ? ended(task) : outcome;
  endPveTask(pve, task, exitStatus);
  return exitStatus;
}
