/**
 * Effects under way and the log of what really happened. Every effect opens with a `start` line
 * and closes with one `end` line, also when it is refused at once: the number of `start` lines of
 * a command id is the number of times somebody acted on it.
 */
import type { EffectKind, Task, World, WorldGuest, WorldNode } from './model.ts';

export const done = 'ok';

export type Opening = {
  kind: EffectKind;
  commandId: string | null;
  node: WorldNode;
  guest?: WorldGuest;
  target?: WorldNode;
  /** Real ms from now. */
  durationMs: number;
  reservedBytes?: number;
};

function record(world: World, task: Task, effect: 'start' | 'end'): void {
  world.log.push({
    atMs: Math.round(world.nowMs),
    cluster: task.node.spec.cluster,
    kind: task.kind,
    node: task.node.spec.node,
    guest: task.guest?.spec.id ?? null,
    commandId: task.commandId,
    effect,
    outcome: task.outcome,
  });
}

function create(world: World, opening: Opening): Task {
  const task: Task = {
    id: world.tasks.size + 1,
    kind: opening.kind,
    commandId: opening.commandId,
    node: opening.node,
    guest: opening.guest ?? null,
    target: opening.target ?? null,
    endMs: world.nowMs + opening.durationMs,
    reservedBytes: opening.reservedBytes ?? 0,
    size: null,
    outcome: null,
  };
  world.tasks.set(task.id, task);
  record(world, task, 'start');
  return task;
}

/** Starts an effect that ends by itself after its duration. */
export function openTask(world: World, opening: Opening): Task {
  const task = create(world, opening);
  schedule(world, task, opening.durationMs);
  return task;
}

/** Puts a task among the pending ones, behind all that end no later. */
export function schedule(world: World, task: Task, durationMs: number): void {
  task.endMs = world.nowMs + durationMs;
  let place = world.pending.length;
  while (place > 0 && (world.pending[place - 1]?.endMs ?? 0) > task.endMs) place -= 1;
  world.pending.splice(place, 0, task);
}

/** An effect that was asked for and could not begin: the tool was run and said no. */
export function refuseTask(world: World, opening: Omit<Opening, 'durationMs'>, why: string): Task {
  const task = create(world, { ...opening, durationMs: 0 });
  return endTask(world, task, why);
}

export function endTask(world: World, task: Task, outcome: string): Task {
  task.outcome = outcome;
  world.pending = world.pending.filter((other) => other !== task);
  record(world, task, 'end');
  return task;
}
