/**
 * HA maintenance around a sleep. It survives the reboot, so its name is journaled before it begins
 * and it is taken back after the wake. A maintenance that somebody else has begun is theirs, and
 * stays. Without HA resources there is none, and without a cluster no HA.
 *
 *   journaled --> enabled --> no service left, watchdog closed --> (sleep) --> disabled
 */
import { SandboxError } from '../../command/sandbox.ts';
import type { WorkContext } from '../port.ts';
import { pause } from '../runs.ts';
import { type Context, pveNodeOf } from './context.ts';
import { type HaAnswers, isAtRest, isInMaintenance, servicesLeft } from './ha.ts';

export type Maintenance = {
  /** Its name in the journal; null when none was begun here. */
  handle: string | null;
  /** Why the host must stay on. */
  problem?: string;
};

const lookEveryMs = 2_000;
/** The manager looks every 10 s and moves services one after the other. */
const restMaxMs = 10 * 60_000;
const undoEveryMs = 10_000;
const alarmEveryMs = 60_000;
/** Services may take long to stop; a host that is still up then was never told to go. */
const goneMaxMs = 5 * 60_000;

export const handleOf = (pveNode: string): string => `maintenance:${pveNode}`;

export async function switchTo(
  { toolbox }: Context,
  mode: 'enable' | 'disable',
  { pveNode, signal }: { pveNode: string; signal: AbortSignal },
): Promise<string | undefined> {
  try {
    const argv = ['crm-command', 'node-maintenance', mode, pveNode];
    const { exitCode, stderr } = await toolbox.act('ha-manager', argv, signal);
    return exitCode === 0 ? undefined : `ha-manager ended with ${exitCode}: ${stderr.trim()}`;
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    return error.message;
  }
}

/** Why the node did not come to rest, or undefined. */
export async function awaitRest(
  context: Context,
  { pveNode, signal }: { pveNode: string; signal: AbortSignal },
): Promise<string | undefined> {
  const { clock, host } = context;
  const untilMs = clock.monotonicMs() + restMaxMs;
  let answers: HaAnswers | null = null;
  while (!signal.aborted && clock.monotonicMs() < untilMs) {
    answers = await host.ha();
    if (answers !== null && isAtRest(answers, pveNode)) return undefined;
    await pause(clock, lookEveryMs, signal);
  }
  const left = answers === null ? [] : servicesLeft(answers, pveNode);
  return left.length === 0
    ? 'its HA maintenance was not reached'
    : `HA services stayed in maintenance: ${left.join(', ')}`;
}

export async function beginMaintenance(context: Context, work: WorkContext): Promise<Maintenance> {
  const { signal } = work;
  const members = await context.host.members();
  if (members === null) return { handle: null, problem: 'its membership cannot be read' };
  if (members.nodes === null) return { handle: null };
  const answers = await context.host.ha();
  if (answers === null) return { handle: null, problem: 'HA gave no usable answer' };
  const pveNode = await pveNodeOf(context);
  const isTheirs = isInMaintenance(answers.manager, pveNode);
  if (answers.services.length === 0 || isTheirs) return { handle: null };
  const handle = handleOf(pveNode);
  await work.onHandle(handle);
  const problem =
    (await switchTo(context, 'enable', { pveNode, signal })) ??
    (await awaitRest(context, { pveNode, signal }));
  return problem === undefined ? { handle } : { handle, problem };
}

/**
 * Takes it back, as often as it takes: right after a boot there may be no quorum yet. What is left
 * to do by hand when it was given up, else null.
 */
export async function endMaintenance(
  context: Context,
  handle: string,
  given: AbortSignal,
): Promise<string | null> {
  const pveNode = await pveNodeOf(context);
  if (handle !== handleOf(pveNode)) return null;
  const { clock, log, host } = context;
  // The command may be over: its own signal must not keep the node in maintenance.
  const signal = given.aborted ? new AbortController().signal : given;
  const untilMs = clock.monotonicMs() + restMaxMs;
  let alarmAtMs = clock.monotonicMs() + alarmEveryMs;
  for (;;) {
    const why = await switchTo(context, 'disable', { pveNode, signal });
    const answers = why === undefined ? await host.ha() : null;
    if (answers !== null && !isInMaintenance(answers.manager, pveNode)) return null;
    const nowMs = clock.monotonicMs();
    if (signal.aborted || nowMs >= untilMs) {
      const wayOut = `run: ha-manager crm-command node-maintenance disable ${pveNode}`;
      log.error({ node: pveNode, why }, 'the node is left in HA maintenance');
      return `the node is left in HA maintenance; ${wayOut}`;
    }
    if (nowMs >= alarmAtMs) {
      log.error({ node: pveNode, why }, 'the node is still in HA maintenance after its wake');
      alarmAtMs = nowMs + alarmEveryMs;
    }
    await pause(clock, undoEveryMs, signal);
  }
}

/**
 * After a wake: a maintenance that somebody had begun before the sleep is theirs to end, and keeps
 * HA off a node that is back, so they must hear of it. null when there is none.
 */
export async function leftByOthers(context: Context, signal: AbortSignal): Promise<string | null> {
  const { clock, host } = context;
  const untilMs = clock.monotonicMs() + restMaxMs;
  // The cluster's files are mounted late in a boot.
  for (;;) {
    const members = await host.members();
    if (members !== null && members.nodes === null) return null;
    const answers = members === null ? null : await host.ha();
    if (answers !== null) {
      const pveNode = await pveNodeOf(context);
      return isInMaintenance(answers.manager, pveNode)
        ? `the node is still in the HA maintenance that was begun before it slept; send node.restore`
        : null;
    }
    if (signal.aborted || clock.monotonicMs() >= untilMs) {
      return 'nobody can tell whether the node is still in HA maintenance; see ha-manager status';
    }
    await pause(clock, undoEveryMs, signal);
  }
}

/** After a restart of this process alone: either the host goes down now, or it never was told to. */
export async function awaitGoing(
  context: Context,
  handle: string,
  signal: AbortSignal,
): Promise<string> {
  await pause(context.clock, goneMaxMs, signal);
  const left = await endMaintenance(context, handle, signal);
  return `the host has not gone down; ${left ?? 'its HA maintenance was taken back'}`;
}
