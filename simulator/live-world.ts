/**
 * A world on a clock. The pure world only moves when called; this file calls it when something is
 * due, tells who listens which nodes gained or lost power, and hands every new line of the effect
 * log on. It also is the `World` port of the memory driver, one view per cluster.
 */
import type { Cancel, Clock } from '../broker/contract/ports.ts';
import type { Progress, World as WorldPort } from '../daemon/hypervisor/memory.ts';
import type { HostSample, Work } from '../daemon/hypervisor/port.ts';
import { WakeError, type WakeRequest, type WakeSent } from '../daemon/waker/port.ts';
import { advance, begin, cancel, type Request } from './world/advance.ts';
import { factsOf, guestFactsOf } from './world/facts.ts';
import {
  type EffectRecord,
  findNode,
  type Task,
  type World,
  type WorldNode,
} from './world/model.ts';
import { wakeByMac } from './world/node-effects.ts';
import { observe } from './world/observe.ts';
import { sampleNode } from './world/sample.ts';
import { done } from './world/tasks.ts';

export type LiveWorld = {
  readonly world: World;
  nowMs(): number;
  cluster(id: string): WorldPort;
  /** A node has just gained or lost power. */
  onPower(listener: (node: WorldNode) => void): void;
  onEffect(listener: (record: EffectRecord) => void): void;
  /** Runs a change from outside (a scenario) and lets its consequences be known. */
  change<T>(run: (world: World) => T): T;
  stop(): void;
};

export class NoPowerError extends Error {
  override readonly name = 'NoPowerError';
  readonly code = 'KR_NO_POWER';
}

/** Commands whose tool returns at once although the effect takes its time. */
const returnsAtOnce: ReadonlySet<Task['kind']> = new Set(['node.shutdown', 'node.wake']);

function progressOf(world: World, handle: string): Progress {
  const task = world.tasks.get(taskId(handle));
  if (task === undefined) return { state: 'unknown' };
  if (task.outcome === null) {
    if (returnsAtOnce.has(task.kind)) return { state: 'ended', exitCode: 0, detail: 'begun' };
    return { state: 'running', remainingMs: task.endMs - world.nowMs };
  }
  return { state: 'ended', exitCode: task.outcome === done ? 0 : 1, detail: task.outcome };
}

function requestOf(cluster: string, work: Work): Request {
  const { node, commandId, action, target } = work;
  return { cluster, node, commandId, action, target };
}

/** Moves a world with a clock and tells what happened; knows nothing of commands. */
function mover(world: World, clock: Clock) {
  const startMonotonicMs = clock.monotonicMs();
  const nowMs = (): number => world.startMs + clock.monotonicMs() - startMonotonicMs;
  const powerListeners: ((node: WorldNode) => void)[] = [];
  const effectListeners: ((record: EffectRecord) => void)[] = [];
  let timer: { dueMs: number; cancel: Cancel } | undefined;
  let told = 0;
  let stopped = false;

  /** Tells what has happened since the last time, then waits for the next thing due. */
  const settle = (): void => {
    for (; told < world.log.length; told += 1) {
      const entry = world.log[told];
      if (entry) for (const listener of effectListeners) listener(entry);
    }
    for (let node = world.changed.shift(); node; node = world.changed.shift()) {
      for (const listener of powerListeners) listener(node);
    }
    const dueMs = world.pending[0]?.endMs;
    if (dueMs === timer?.dueMs) return;
    timer?.cancel();
    timer = undefined;
    if (dueMs === undefined || stopped) return;
    timer = { dueMs, cancel: clock.after(Math.max(0, Math.ceil(dueMs - nowMs())), ring) };
  };
  const ring = (): void => {
    timer = undefined;
    change(() => undefined);
  };
  const change = <T>(run: (world: World) => T): T => {
    advance(world, nowMs());
    const result = run(world);
    settle();
    return result;
  };
  return {
    nowMs,
    change,
    onPower: (listener: (node: WorldNode) => void) => void powerListeners.push(listener),
    onEffect: (listener: (record: EffectRecord) => void) => void effectListeners.push(listener),
    stop: (): void => {
      stopped = true;
      timer?.cancel();
      timer = undefined;
    },
  };
}

function nodeOf(world: World, cluster: string, node: string): WorldNode {
  const found = findNode(world, cluster, node);
  if (found === undefined) throw new Error(`no node ${cluster}/${node} in this world`);
  return found;
}

function sendWake(world: World, sender: WorldNode, request: WakeRequest): WakeSent {
  const { cluster, node } = sender.spec;
  if (sender.power !== 'on') {
    throw new WakeError('KR_WAKE_SEND', `node ${cluster}/${node} is ${sender.power}`);
  }
  // A magic packet reaches its own broadcast domain only, which here is the cluster.
  const macs = request.macs.filter((mac) => world.nodesByMac.get(mac)?.spec.cluster === cluster);
  wakeByMac(world, macs, request.commandId ?? null);
  return { packets: request.macs.length, detail: `sent to ${request.macs.join(', ')}` };
}

function sampleOf(world: World, node: WorldNode): HostSample {
  if (node.power === 'off' || node.power === 'booting') {
    throw new NoPowerError(`node ${node.spec.cluster}/${node.spec.node} is ${node.power}`);
  }
  return sampleNode(world, node, world.nowMs);
}

const describe = (world: World, node: WorldNode): ReturnType<WorldPort['describe']> => ({
  bootId: node.bootId,
  facts: factsOf(world, node),
  guests: node.guests.map(guestFactsOf),
});

const taskId = (handle: string): number => Number(handle.replace(/^twin:/, ''));

export function liveWorld(world: World, clock: Clock): LiveWorld {
  const { nowMs, change, onPower, onEffect, stop } = mover(world, clock);
  const cluster = (id: string): WorldPort => ({
    nodes: () => (world.clusters.get(id)?.nodes ?? []).map(({ spec }) => spec.node),
    describe: (node) => change(() => describe(world, nodeOf(world, id, node))),
    sample: (node) => change(() => sampleOf(world, nodeOf(world, id, node))),
    begin: (work) => change(() => `twin:${begin(world, nowMs(), requestOf(id, work)).id}`),
    progress: (handle) => change(() => progressOf(world, handle)),
    cancel: (handle) => change(() => cancel(world, nowMs(), taskId(handle))),
    observe: (work) => change(() => observe(world, requestOf(id, work))),
    wake: (from, request) => change(() => sendWake(world, nodeOf(world, id, from), request)),
  });
  return { world, nowMs, cluster, onPower, onEffect, change, stop };
}
