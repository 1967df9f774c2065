/**
 * The world's time. `advance` ends what is due, in order, each at its own moment; everything else
 * is computed when somebody looks. A call without anything due costs one comparison.
 */
import type { Action } from '../../broker/contract/command.ts';
import { beginGuest, finishGuest, isGuestAction, releaseGuest } from './guest-effects.ts';
import { findGuest, findNode, type Task, type World } from './model.ts';
import { finishNode, powerOn, shutDown } from './node-effects.ts';
import { endTask, refuseTask } from './tasks.ts';

export function advance(world: World, nowMs: number): void {
  for (let task = world.pending[0]; task && task.endMs <= nowMs; task = world.pending[0]) {
    world.nowMs = Math.max(world.nowMs, task.endMs);
    world.pending.shift();
    const outcome = task.guest === null ? finishNode(world, task) : finishGuest(world, task);
    if (outcome !== undefined) endTask(world, task, outcome);
  }
  world.nowMs = Math.max(world.nowMs, nowMs);
}

export type Request = {
  cluster: string;
  /** The node on which the tool runs. */
  node: string;
  /** The node or guest it is about. */
  target: { kind: 'node' | 'guest'; id: string };
  commandId: string | null;
  action: Action;
};

/** Begins an effect. The answered task may already have ended, with the reason as outcome. */
export function begin(world: World, nowMs: number, request: Request): Task {
  advance(world, nowMs);
  const { cluster, commandId, action, target } = request;
  const node = findNode(world, cluster, request.node);
  if (node === undefined) throw new Error(`no node ${cluster}/${request.node} in this world`);
  if (isGuestAction(action)) {
    const guest = findGuest(world, cluster, target.id);
    if (guest !== undefined) return beginGuest(world, { commandId, node, guest, action });
    return refuseTask(world, { kind: action.kind, commandId, node }, `no guest ${target.id}`);
  }
  if (action.kind === 'node.wake') {
    const sleeping = findNode(world, cluster, target.id);
    if (sleeping !== undefined) return powerOn(world, sleeping, 'node.wake', commandId);
    return refuseTask(world, { kind: 'node.wake', commandId, node }, `no node ${target.id}`);
  }
  if (action.kind !== 'node.shutdown') {
    throw new Error(`${action.kind} is not among the capabilities of this world`);
  }
  if (action.args.mode === 'poweroff') return shutDown(world, node, action.kind, commandId);
  const why = 'this world cannot suspend; use mode poweroff';
  return refuseTask(world, { kind: action.kind, commandId, node }, why);
}

/** Gives an effect on a guest up. What a node began with itself cannot be taken back. */
export function cancel(world: World, nowMs: number, taskId: number): void {
  advance(world, nowMs);
  const task = world.tasks.get(taskId);
  if (task === undefined || task.outcome !== null || task.guest === null) return;
  releaseGuest(task);
  if (task.kind === 'guest.restart') task.guest.state = 'stopped';
  endTask(world, task, 'cancelled');
}
