/**
 * What happens to a whole node: shutdown, reboot, wake by magic packet, power cut. Cutting power
 * ends every effect that needed the node, stops its guests and remembers which ran.
 */
import { uuidv7 } from '../../broker/contract/ids.ts';
import { between } from '../prng.ts';
import { releaseGuest } from './guest-effects.ts';
import { freeBytes, scaled, type Task, type World, type WorldNode } from './model.ts';
import { demandOf, freshAverages, setPower } from './power.ts';
import { done, endTask, openTask, refuseTask, schedule } from './tasks.ts';

const shutdownMs = [5_000, 15_000] as const;

/** Who sees whom is replaced as a whole, so that samples may share the list. */
function refreshOnline(world: World, node: WorldNode): void {
  const cluster = world.clusters.get(node.spec.cluster);
  if (cluster === undefined) return;
  cluster.online = cluster.nodes
    .filter((member) => member.power === 'on' || member.power === 'stopping')
    .map((member) => member.spec.node);
}

function switchOff(world: World, node: WorldNode): void {
  node.power = 'off';
  setPower(world, node, 0);
  for (const task of world.pending.filter((task) => touches(task, node))) {
    if (task.kind === 'guest.restart' && task.guest) task.guest.startsWithNode = true;
    releaseGuest(task);
    endTask(world, task, `node ${node.spec.node} lost power`);
  }
  for (const guest of node.guests) {
    if (guest.state !== 'running') continue;
    guest.startsWithNode = true;
    guest.state = 'stopped';
  }
  refreshOnline(world, node);
  world.changed.push(node);
}

const touches = (task: Task, node: WorldNode): boolean =>
  task.guest !== null && (task.node === node || task.target === node);

function startBoot(world: World, node: WorldNode): number {
  node.power = 'booting';
  setPower(world, node, 0);
  return scaled(world, node.spec.bootMs * (0.95 + 0.1 * world.random.ratio()));
}

function finishBoot(world: World, node: WorldNode): string {
  if (node.bootFailures > 0) {
    node.bootFailures -= 1;
    node.power = 'off';
    setPower(world, node, 0);
    return 'boot failed';
  }
  node.power = 'on';
  node.bootId = uuidv7(world.nowMs, world.random.bytes(16));
  node.bootedAtMs = world.nowMs;
  node.averages = freshAverages(world.nowMs);
  for (const guest of node.guests) {
    if (!guest.startsWithNode) continue;
    guest.startsWithNode = false;
    if (guest.memoryBytes > freeBytes(node)) continue;
    guest.state = 'running';
    guest.startedAtMs = world.nowMs;
  }
  setPower(world, node, Math.min(1, demandOf(world, node, world.nowMs).ratio));
  refreshOnline(world, node);
  world.changed.push(node);
  return done;
}

/** The tool returns at once, as `systemctl poweroff` does; the power goes some seconds later. */
export function shutDown(
  world: World,
  node: WorldNode,
  kind: 'node.shutdown' | 'node.reboot',
  commandId: string | null,
): Task {
  if (node.power !== 'on') {
    return refuseTask(world, { kind, commandId, node }, `node is ${node.power}`);
  }
  node.power = 'stopping';
  setPower(world, node, 0);
  const durationMs = scaled(world, between(world.random, ...shutdownMs));
  return openTask(world, { kind, commandId, node, durationMs });
}

/** A magic packet reached the network of `mac`. A node that is on does not mind it. */
export function wakeByMac(
  world: World,
  macs: readonly string[],
  commandId: string | null,
): Task | undefined {
  const node = macs.map((mac) => world.nodesByMac.get(mac)).find((found) => found !== undefined);
  return node === undefined ? undefined : powerOn(world, node, 'node.wake', commandId);
}

export function powerOn(
  world: World,
  node: WorldNode,
  kind: 'node.wake' | 'node.boot',
  commandId: string | null,
): Task {
  if (node.power !== 'off') {
    return refuseTask(world, { kind, commandId, node }, `node is ${node.power}`);
  }
  return openTask(world, { kind, commandId, node, durationMs: startBoot(world, node) });
}

/** The plug is pulled: nothing ends cleanly, and whatever the node was doing to itself fails. */
export function crash(world: World, node: WorldNode): void {
  if (node.power === 'off') return;
  const own = world.pending.filter((task) => task.guest === null && task.node === node);
  for (const task of own) endTask(world, task, 'power was cut');
  const mark = openTask(world, { kind: 'node.crash', commandId: null, node, durationMs: 0 });
  switchOff(world, node);
  endTask(world, mark, done);
}

/** The next step of a node's task: its outcome, or undefined while it goes on. */
export function finishNode(world: World, task: Task): string | undefined {
  const { node } = task;
  if (task.kind === 'node.shutdown') {
    switchOff(world, node);
    return done;
  }
  if (task.kind === 'node.reboot' && node.power === 'stopping') {
    switchOff(world, node);
    schedule(world, task, startBoot(world, node));
    return undefined;
  }
  return finishBoot(world, node);
}
