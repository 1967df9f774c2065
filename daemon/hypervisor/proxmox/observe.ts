/**
 * Looks whether the post-condition of a command holds: asks the hypervisor about the guest where
 * it is now. "No" is only said of a command whose task was seen to end by this process: while
 * something may be under way, "not yet" and "never" look the same.
 */
import type { CommandArgs } from '../../../broker/contract/command.ts';
import { judged, seen, unseen } from '../observation.ts';
import { isDownForGood, type Run } from '../runs.ts';
import type { Observation, Work } from '../port.ts';
import { CurrentStatus, Pending } from './answers.ts';
import type { Clock } from '../../../broker/contract/ports.ts';
import { nodeIdOf } from './context.ts';
import { cpuCountMax, mebibyte } from './guest-config.ts';
import type { GuestType } from './pmxcfs.ts';
import type { Toolbox } from './toolbox.ts';
import { propertiesOf } from './scalars.ts';

/** What is needed to look, by whatever way the hypervisor is asked. */
export type Looking = {
  /** Where each guest is; null when nobody could tell. */
  placement(): Promise<ReadonlyMap<string, { node: string; type: GuestType }> | null>;
  get: Toolbox['get'];
  runs: ReadonlyMap<string, Run>;
  clock: Clock;
};

type Found = { type: GuestType; pveNode: string; status: CurrentStatus };

const stateOf = ({ status, qmpstatus }: CurrentStatus): string =>
  status === 'running' && qmpstatus !== null ? qmpstatus : status;

/** Uptimes are told in whole seconds. */
const uptimeStepMs = 1_000;

function judgeRestart(status: CurrentStatus, run: Run | undefined, nowMs: number): Observation {
  const state = stateOf(status);
  if (state !== 'running') {
    const isOver = run !== undefined && isDownForGood(run, nowMs);
    return isOver ? judged(false, `it is ${state}`) : unseen(`it is ${state}`);
  }
  if (run === undefined) return unseen('it runs, but when its restart began is not known here');
  const isYounger = status.uptime * 1000 <= nowMs - run.startedAtMs + uptimeStepMs;
  return judged(isYounger, `it runs since ${status.uptime} s`);
}

/** What the guest has now of what was asked for; null: the answer does not say. */
function sizeOf(rows: Pending, type: GuestType): Record<string, number | null> {
  const config = new Map(rows.flatMap(({ key, value }) => (value === null ? [] : [[key, value]])));
  const numberOf = (text: string | undefined): number | null =>
    text === undefined || !Number.isFinite(Number(text)) ? null : Number(text);
  const memory = numberOf(propertiesOf(config.get('memory') ?? '', 'current')['current']);
  const cpus =
    type === 'lxc'
      ? numberOf(config.get('cores'))
      : (numberOf(config.get('vcpus')) ?? cpuCountMax(config));
  return {
    cpuCount: cpus,
    cpuLimit: numberOf(config.get('cpulimit') ?? '0'),
    cpuUnits: numberOf(config.get('cpuunits')),
    memoryBytes: memory === null ? null : memory * mebibyte,
  };
}

const keysOf: Readonly<Record<string, readonly string[]>> = {
  cpuCount: ['vcpus', 'cores', 'sockets'],
  cpuLimit: ['cpulimit'],
  cpuUnits: ['cpuunits'],
  memoryBytes: ['memory'],
};

function judgeScale(rows: Pending, type: GuestType, args: CommandArgs<'guest.scale'>): Observation {
  const wanted = Object.entries(args);
  const keys = wanted.flatMap(([name]) => keysOf[name] ?? []);
  const waiting = rows.find(
    ({ key, pending, delete: isDeleted }) => keys.includes(key) && (pending !== null || isDeleted),
  );
  if (waiting) return judged(false, `${waiting.key} waits for the next start of the guest`);
  const size = sizeOf(rows, type);
  const differing = wanted.find(([name, value]) => (size[name] ?? value) !== value);
  if (differing) {
    return judged(false, `${differing[0]} is ${size[differing[0]]}, not ${differing[1]}`);
  }
  const hidden = wanted.find(([name]) => (size[name] ?? null) === null);
  return hidden ? unseen(`${hidden[0]} cannot be seen`) : seen('the guest has the wanted size');
}

async function judge(looking: Looking, work: Work, found: Found): Promise<Observation> {
  const { action, target } = work;
  const { type, pveNode, status } = found;
  const run = looking.runs.get(work.commandId);
  const where = `guest ${target.id} is ${stateOf(status)} on ${pveNode}`;
  if (status.lock !== null) return unseen(`${where}, locked (${status.lock})`);
  if (action.kind === 'guest.start') return judged(stateOf(status) === 'running', where);
  if (action.kind === 'guest.stop') return judged(status.status === 'stopped', where);
  if (action.kind === 'guest.restart') {
    return judgeRestart(status, run, looking.clock.monotonicMs());
  }
  if (action.kind === 'guest.migrate') {
    const hasArrived = nodeIdOf(pveNode) === action.args.targetNode;
    // A container moves by a restart, and its start at the target may fail.
    const isDown = run?.wasRunning === true && status.status !== 'running';
    return hasArrived && isDown ? unseen(`${where}, and ran before`) : judged(hasArrived, where);
  }
  if (action.kind !== 'guest.scale') return unseen(`this driver cannot observe ${action.kind}`);
  const path = `/nodes/${pveNode}/${type}/${target.id}/pending`;
  const rows = await looking.get(Pending, path);
  return rows === null
    ? unseen('the pending changes gave no usable answer')
    : judgeScale(rows, type, action.args);
}

export async function observe(looking: Looking, work: Work): Promise<Observation> {
  const { target, commandId } = work;
  const place = (await looking.placement())?.get(target.id);
  if (place === undefined) return unseen(`guest ${target.id} is not in the list of guests`);
  const { node: pveNode, type } = place;
  const path = `/nodes/${pveNode}/${type}/${target.id}/status/current`;
  const status = await looking.get(CurrentStatus, path);
  if (status === null) return unseen(`${pveNode} said nothing of guest ${target.id}`);
  const observation = await judge(looking, work, { type, pveNode, status });
  if (observation.postcondition !== false || looking.runs.get(commandId)?.ended) {
    return observation;
  }
  return unseen(`${observation.detail}, but its task may still be at work`);
}
