/**
 * A call of a fake tool that the world carries out as a task: at once, or, for an HA guest, later
 * and by the manager. A task has a name before anything happens.
 */
import type { Action } from '../../broker/contract/command.ts';
import type { WorldGuest, WorldNode } from '../world/model.ts';
import type { Options } from './answers.ts';
import type { Effect } from './frames.ts';
import {
  type Deed,
  endPveTask,
  followDeed,
  openPveTask,
  pause,
  type Pve,
  type PveTask,
  rootUser,
  type Terminal,
  ToolFailure,
} from './pve.ts';

export type Voice = Terminal & {
  /** Resolves when the tool has written the line. */
  log(effect: Omit<Effect, 'atMs' | 'node'>): Promise<void>;
};

export type Asked = {
  pve: Pve;
  here: WorldNode;
  voice: Voice;
  words: string[];
  options: Options;
} & {
  /** Who asks; the tools on a host are root's. */
  user?: string;
};

export type Job = { type: string; haType?: string; guest: WorldGuest; action: Action };

const deedOf = ({ guest, action }: Job): Deed => ({
  node: guest.node.spec.node,
  target: { kind: 'guest', id: guest.spec.id },
  action,
});

/** The manager starts the real task later, on its own. */
export async function runLater(pve: Pve, job: Job): Promise<void> {
  await pause(pve, pve.haQueueMs);
  const node = job.guest.node.spec.node;
  const task = openPveTask(pve, { node, type: job.type, id: job.guest.spec.id });
  await followDeed(pve, task, deedOf(job));
}

export async function runTask(
  { pve, here, voice, user = rootUser }: Asked,
  job: Job,
): Promise<void> {
  const { type, haType, guest } = job;
  const id = guest.spec.id;
  const isQueued = haType !== undefined && pve.ha.has(id);
  const kind = isQueued ? haType : type;
  const task = openPveTask(pve, { node: here.spec.node, type: kind, id, user });
  await voice.log({ kind, id, upid: task.upid });
  if (isQueued) {
    voice.out(`Requesting HA ${haType.slice(2)} for ${id}\n`);
    endPveTask(pve, task, 'OK');
    void runLater(pve, job);
    return;
  }
  voice.out(`task started by ${user}\n`);
  const exitStatus = await followDeed(pve, task, deedOf(job), voice);
  if (exitStatus !== 'OK') throw new ToolFailure(exitStatus);
}

/** PVE::RPCEnvironment gives a worker so long before it kills it, by memory; never measured. */
const endsWithinMs = 5_000;

/**
 * `DELETE /nodes/{node}/tasks/{upid}`: tells a worker to end, and comes back when it has.
 * `check` throws where the asker may not.
 */
export async function stopTask(
  pve: Pve,
  path: string,
  check: (task: PveTask) => void,
): Promise<void> {
  const [, name, upid] = /^\/nodes\/([^/]+)\/tasks\/([^/]+)$/.exec(path) ?? [];
  const task = pve.tasks.find((other) => other.upid === upid && other.node === name);
  if (task === undefined)
    throw new ToolFailure('Parameter verification failed. upid: no such task');
  check(task);
  task.isToldToEnd = true;
  const untilMs = pve.clock.monotonicMs() + endsWithinMs;
  while (task.exitStatus === null && pve.clock.monotonicMs() < untilMs) await pause(pve, 20);
}
