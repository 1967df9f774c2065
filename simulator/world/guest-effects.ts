/**
 * What can be done to a guest. Each effect holds the guest's lock from its start to its end and
 * reserves the memory it will need, so that memory always fits and no guest is on two nodes.
 */
import type { Action, CommandArgs } from '../../broker/contract/command.ts';
import { between } from '../prng.ts';
import {
  findNode,
  freeBytes,
  scaled,
  type Task,
  type World,
  type WorldGuest,
  type WorldNode,
} from './model.ts';
import { done, openTask, refuseTask } from './tasks.ts';

export type GuestAction = Extract<
  Action,
  { kind: 'guest.start' | 'guest.stop' | 'guest.restart' | 'guest.migrate' | 'guest.scale' }
>;

const guestKinds: ReadonlySet<string> = new Set<GuestAction['kind']>([
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.scale',
]);
export const isGuestAction = (action: Action): action is GuestAction => guestKinds.has(action.kind);

export type GuestRequest = {
  commandId: string | null;
  /** Where the tool runs. */
  node: WorldNode;
  guest: WorldGuest;
  action: GuestAction;
};

const startMs = [2_000, 6_000] as const;
const stopMs = [3_000, 12_000] as const;
const forcedStopMs = 500;
const scaleMs = 300;
/** Handshake before and hand-over after the memory copy. */
const migrationOverheadMs = 2_000;
const offlineMoveMs = 1_000;

/** Why nothing may be done to this guest here and now, or undefined. */
function obstacle({ node, guest, action }: GuestRequest): string | undefined {
  if (node.power !== 'on') return `node ${node.spec.node} is ${node.power}`;
  if (guest.node !== node) return `guest ${guest.spec.id} is on ${guest.node.spec.node}`;
  if (guest.lock !== null) return `guest ${guest.spec.id} is locked (${guest.lock})`;
  const wantsRunning = action.kind === 'guest.stop' || action.kind === 'guest.restart';
  if (wantsRunning && guest.state !== 'running') return `guest ${guest.spec.id} is not running`;
  if (action.kind === 'guest.start' && guest.state === 'running') {
    return `guest ${guest.spec.id} is already running`;
  }
  return undefined;
}

type Hold = { durationMs: number; lock: string; reserve?: WorldNode; reservedBytes?: number };

function hold(world: World, request: GuestRequest, terms: Hold): Task {
  const { guest, node, commandId, action } = request;
  guest.lock = terms.lock;
  const reservedBytes = terms.reservedBytes ?? 0;
  (terms.reserve ?? node).reservedBytes += reservedBytes;
  const target = terms.reserve === undefined ? {} : { target: terms.reserve };
  return openTask(world, {
    kind: action.kind,
    commandId,
    node,
    guest,
    ...target,
    durationMs: scaled(world, terms.durationMs),
    reservedBytes,
  });
}

const refuse = (world: World, { action, ...rest }: GuestRequest, why: string): Task =>
  refuseTask(world, { kind: action.kind, ...rest }, why);

const shortOf = (node: WorldNode, bytes: number): string | undefined =>
  bytes > freeBytes(node)
    ? `node ${node.spec.node} has ${Math.round(freeBytes(node) / 2 ** 20)} MiB free, ` +
      `${Math.round(bytes / 2 ** 20)} MiB are needed`
    : undefined;

function start(world: World, request: GuestRequest): Task {
  const { memoryBytes, node } = request.guest;
  const short = shortOf(node, memoryBytes);
  if (short !== undefined) return refuse(world, request, short);
  const durationMs = between(world.random, ...startMs);
  return hold(world, request, { durationMs, lock: 'start', reservedBytes: memoryBytes });
}

function restart(world: World, request: GuestRequest): Task {
  const durationMs = between(world.random, ...stopMs) + between(world.random, ...startMs);
  request.guest.state = 'stopped';
  return hold(world, request, {
    durationMs,
    lock: 'restart',
    reservedBytes: request.guest.memoryBytes,
  });
}

function migrate(world: World, request: GuestRequest, args: CommandArgs<'guest.migrate'>): Task {
  const { guest, node } = request;
  const target = findNode(world, node.spec.cluster, args.targetNode);
  if (target === undefined) return refuse(world, request, `no node ${args.targetNode}`);
  if (target === node) return refuse(world, request, 'the target is the source');
  if (target.power !== 'on') return refuse(world, request, `target is ${target.power}`);
  if (guest.state !== 'running') {
    return hold(world, request, { durationMs: offlineMoveMs, lock: 'migrate', reserve: target });
  }
  const short = shortOf(target, guest.memoryBytes);
  if (short !== undefined) return refuse(world, request, short);
  const shared = 1 + Math.max(node.migrations, target.migrations);
  const bytesPerSecond = Math.min(
    node.spec.migrationBytesPerSecond / shared,
    target.spec.migrationBytesPerSecond / shared,
    args.bandwidthBytesPerSecond ?? Infinity,
  );
  node.migrations += 1;
  target.migrations += 1;
  return hold(world, request, {
    durationMs: migrationOverheadMs + (guest.memoryBytes / bytesPerSecond) * 1000,
    lock: 'migrate',
    reserve: target,
    reservedBytes: guest.memoryBytes,
  });
}

function scale(world: World, request: GuestRequest, args: CommandArgs<'guest.scale'>): Task {
  const { guest, node } = request;
  const { cpuCount } = node.spec;
  if ((args.cpuCount ?? 1) > cpuCount) {
    return refuse(world, request, `node ${node.spec.node} has ${cpuCount} cpus`);
  }
  const growsBytes = Math.max(0, (args.memoryBytes ?? 0) - guest.memoryBytes);
  const reservedBytes = guest.state === 'running' ? growsBytes : 0;
  const short = shortOf(node, reservedBytes);
  if (short !== undefined) return refuse(world, request, short);
  const task = hold(world, request, { durationMs: scaleMs, lock: 'scale', reservedBytes });
  task.size = args;
  return task;
}

function stop(world: World, request: GuestRequest, args: CommandArgs<'guest.stop'>): Task {
  const durationMs = args.force ? forcedStopMs : between(world.random, ...stopMs);
  return hold(world, request, { durationMs, lock: 'stop' });
}

export function beginGuest(world: World, request: GuestRequest): Task {
  const why = obstacle(request);
  if (why !== undefined) return refuse(world, request, why);
  const { action } = request;
  if (action.kind === 'guest.start') return start(world, request);
  if (action.kind === 'guest.stop') return stop(world, request, action.args);
  if (action.kind === 'guest.restart') return restart(world, request);
  if (action.kind === 'guest.migrate') return migrate(world, request, action.args);
  return scale(world, request, action.args);
}

/** Gives lock, reservation and migration slots back; also when the effect failed. */
export function releaseGuest(task: Task): void {
  const { guest, node, target } = task;
  if (guest === null) return;
  guest.lock = null;
  (target ?? node).reservedBytes -= task.reservedBytes;
  if (task.kind === 'guest.migrate' && guest.state === 'running' && target !== null) {
    node.migrations -= 1;
    target.migrations -= 1;
  }
}

function run(world: World, guest: WorldGuest): void {
  guest.state = 'running';
  guest.startedAtMs = world.nowMs;
}

function move(guest: WorldGuest, target: WorldNode): void {
  guest.node.guests = guest.node.guests.filter((other) => other !== guest);
  guest.node = target;
  target.guests.push(guest);
}

function resize(guest: WorldGuest, args: CommandArgs<'guest.scale'>): void {
  guest.cpuCount = args.cpuCount ?? guest.cpuCount;
  guest.cpuLimit = args.cpuLimit ?? guest.cpuLimit;
  guest.cpuUnits = args.cpuUnits ?? guest.cpuUnits;
  guest.memoryBytes = args.memoryBytes ?? guest.memoryBytes;
  guest.balloonBytes = args.balloonBytes ?? guest.balloonBytes;
}

/** Applies what the task was for; the caller logs its end with the answered outcome. */
export function finishGuest(world: World, task: Task): string {
  const { guest, target } = task;
  if (guest === null) return done;
  releaseGuest(task);
  if (task.kind === 'guest.start' || task.kind === 'guest.restart') run(world, guest);
  if (task.kind === 'guest.stop') guest.state = 'stopped';
  if (task.kind === 'guest.migrate' && target !== null) move(guest, target);
  if (task.size !== null) resize(guest, task.size);
  return done;
}
