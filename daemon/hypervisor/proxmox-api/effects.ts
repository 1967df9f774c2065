/**
 * Carries one command on a guest out and follows its worker to the end. The API names the worker
 * at once, so it is handed over before anything else; a request that HA only queues is followed to
 * the real one. Nothing here is ever begun twice, and `attach` begins nothing at all.
 */
import type { Performed, Trace, Work, WorkContext } from '../port.ts';
import { NodeStatus, TaskList, TaskStatus } from '../proxmox/answers.ts';
import { type Moving, obstacleThere } from '../proxmox/target-check.ts';
import { conclude, nodeIdOf } from '../proxmox/context.ts';
import { carryOut, type Frame, joinTask } from '../proxmox/frame.ts';
import { isOwnedByBalancer, serviceOf } from '../proxmox/ha.ts';
import { MigrateCheck, obstacleTo } from '../proxmox/migrate-check.ts';
import { findTask } from '../proxmox/lost-task.ts';
import { type Call, planGuest } from '../proxmox/plan.ts';
import { ConfigAnswer } from '../proxmox/pmxcfs.ts';
import {
  canBeStopped,
  endOf,
  parseUpid,
  queuedForGood,
  realTypesOf,
  type Upid,
} from '../proxmox/tasks.ts';
import { pause, type Run } from '../runs.ts';
import { type Params, PveApiError, type Question } from './client.ts';
import { type Context, guestRowOf, rowOf } from './context.ts';

const lookEveryMs = 500;
const queuedMaxMs = 180_000;
/** By memory, never measured: a worker gets five seconds before it is killed; far more than that. */
const endsWithinMs = 15_000;
/** Between this host's clock and that of a node: far more than the 2 s that guards allow. */
const clockSkewMs = 30_000;
/** Names of nodes do not change. */
const lookMaxMs = 60_000;

/** The tool call of a plan as a request: the same words, since the tools are made of the API. */
export function requestOf({ argv }: Call, path: string): Question {
  const [command = '', , ...rest] = argv;
  const params: Record<string, string> = {};
  if (command === 'migrate') params['target'] = rest.shift() ?? '';
  for (let at = 0; at < rest.length; at += 2) {
    const value = rest[at + 1];
    if (value !== undefined) params[(rest[at] ?? '').slice(2)] = value;
  }
  if (command === 'set') return { method: 'PUT', path: `${path}/config`, params };
  const what = command === 'migrate' ? 'migrate' : `status/${command}`;
  return { method: 'POST', path: `${path}/${what}`, params };
}

type Ready = { ok: true; question: Question; pveNode: string } | { ok: false; why: string };

/** PVE 8 has the question for VMs alone; the migration of a container is then judged by itself. */
const isNotImplemented = (error: unknown): boolean =>
  error instanceof PveApiError &&
  error.code === 'KR_PVE_REFUSED' &&
  error.message.startsWith('501 ');

async function precheck(
  { api }: Context,
  { action }: Work,
  { path, target }: { path: string; target: string },
): Promise<string | undefined> {
  if (action.kind !== 'guest.migrate') return undefined;
  const params: Params = { target };
  const asked = api.get(MigrateCheck, `${path}/migrate`, { params });
  const check = await asked.catch((error: unknown) => {
    if (path.includes('/lxc/') && isNotImplemented(error)) return null;
    throw error;
  });
  if (check === null) return undefined;
  const { withLocalDisks } = action.args;
  return obstacleTo(check, { target, withLocalDisks });
}

async function targetObstacle(
  { api }: Context,
  { action }: Work,
  asked: {
    guest: Pick<Moving, 'type' | 'isRunning' | 'config'>;
    pveNode: string;
    targetName: string;
  },
): Promise<string | undefined> {
  const { guest, pveNode, targetName } = asked;
  if (action.kind !== 'guest.migrate' || !guest.isRunning) return undefined;
  const [source, target] = await Promise.all([
    api.get(NodeStatus, `/nodes/${pveNode}/status`),
    api.get(NodeStatus, `/nodes/${targetName}/status`),
  ]);
  return obstacleThere({ ...guest, source, target });
}

async function plan(context: Context, work: Work, run: Run): Promise<Ready> {
  const { api, cluster, migrationBytesPerSecond } = context;
  const { action, target, node } = work;
  cluster.expire();
  const look = await cluster.look(0);
  const row = guestRowOf(look, target.id);
  if (!row || nodeIdOf(row.node) !== node) {
    return { ok: false, why: `guest ${target.id} is not on this node` };
  }
  const path = `/nodes/${row.node}/${row.type}/${row.vmid}`;
  const config = await api.get(ConfigAnswer, `${path}/config`);
  const lock = config.get('lock') ?? row.lock;
  if (lock) return { ok: false, why: `guest ${target.id} is locked (${lock})` };
  const wanted = action.kind === 'guest.migrate' ? action.args.targetNode : node;
  const targetName = rowOf(look, wanted)?.node ?? wanted;
  const isRunning = row.status !== 'stopped';
  run.wasRunning = isRunning;
  const guest = { vmid: row.vmid, type: row.type, config, isRunning };
  const planned = planGuest(guest, action, { targetName, migrationBytesPerSecond });
  if (!planned.ok) return planned;
  if (action.kind === 'guest.migrate') {
    if (look.ha === null) return { ok: false, why: 'nobody can tell who moves the guest' };
    if (isOwnedByBalancer(look.ha.options, serviceOf(look.ha.services, row.vmid))) {
      const why = 'the balancer of the HA scheduler itself moves this guest';
      return { ok: false, why: `${why} (crs: ha-auto-rebalance)` };
    }
  }
  const why =
    (await precheck(context, work, { path, target: targetName })) ??
    (await targetObstacle(context, work, { guest, pveNode: row.node, targetName }));
  if (why !== undefined) return { ok: false, why };
  return { ok: true, question: requestOf(planned.call, path), pveNode: row.node };
}

const gaveUp = (detail: string): Performed => ({ exitCode: null, detail, output: '' });

type Sought = { upid: Upid; signal: AbortSignal };

/** The real worker of a request that HA has queued; null when none came. */
async function awaitReal(context: Context, { upid, signal }: Sought): Promise<Upid | null> {
  const { api, clock } = context;
  const types = realTypesOf(upid.type) ?? [];
  const untilMs = clock.monotonicMs() + queuedMaxMs;
  const params = { vmid: upid.id, since: String(upid.startedAtSeconds), source: 'all' };
  while (!signal.aborted && clock.monotonicMs() < untilMs) {
    const listed = api.get(TaskList, `/nodes/${upid.node}/tasks`, { params });
    const tasks = await listed.catch(() => []);
    const real = tasks.find(({ type }) => types.includes(type));
    const parsed = real && parseUpid(real.upid);
    if (parsed) return parsed;
    await pause(clock, lookEveryMs, signal);
  }
  return null;
}

type Following = { upid: Upid; run: Run };

/** Follows a worker to its end; undefined when given up. */
async function endOfWorker(
  context: Context,
  { upid, run }: Following,
  signal: AbortSignal,
): Promise<Performed | undefined> {
  const { api, clock } = context;
  const path = `/nodes/${upid.node}/tasks/${upid.upid}/status`;
  while (!signal.aborted) {
    // A member that is away for a moment says nothing of the worker.
    const status = await api.get(TaskStatus, path).catch(() => null);
    const end = status ? endOf(status) : undefined;
    if (end !== undefined) {
      conclude(context, run, end.isOk);
      const detail = `${upid.type}: ${end.detail}`;
      return { exitCode: end.isOk ? 0 : 1, detail, output: '' };
    }
    await pause(clock, lookEveryMs, signal);
  }
  return undefined;
}

/** Asks a migration to end; it may have been faster, and the worker itself says so. */
async function callBack(context: Context, { upid, run }: Following): Promise<Performed> {
  if (!canBeStopped(upid.type)) return gaveUp('given up before its task ended');
  const path = `/nodes/${upid.node}/tasks/${upid.upid}`;
  try {
    await context.api.send({ method: 'DELETE', path });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return gaveUp(`its task ${upid.type} of ${upid.user} could not be stopped: ${why}`);
  }
  const late = new AbortController();
  const cancel = context.clock.after(endsWithinMs, () => late.abort());
  const end = await endOfWorker(context, { upid, run }, late.signal);
  cancel();
  if (end === undefined) return gaveUp(`its task ${upid.type} was told to end and has not`);
  return { ...end, detail: `asked to end in time; ${end.detail}` };
}

async function follow(
  context: Context,
  { upid, run }: Following,
  workContext: WorkContext,
): Promise<Performed> {
  const { signal } = workContext;
  let real = upid;
  if (realTypesOf(upid.type) !== undefined) {
    const found = await awaitReal(context, { upid, signal });
    if (found === null) {
      return gaveUp(signal.aborted ? queuedForGood : 'HA queued it; no task of it was seen');
    }
    real = found;
    await workContext.onHandle(real.upid);
  }
  const ended = await endOfWorker(context, { upid: real, run }, signal);
  return ended ?? callBack(context, { upid: real, run });
}

/** Whether an error says that nothing began. */
const isRefusal = (error: unknown): error is PveApiError =>
  error instanceof PveApiError && error.code !== 'KR_PVE_UNCLEAR';

async function start(
  context: Context,
  { ready, run }: { ready: Ready & { ok: true }; run: Run },
  workContext: WorkContext,
): Promise<Performed> {
  const { signal } = workContext;
  let name: string | null;
  try {
    name = await context.api.send({ ...ready.question, signal });
  } catch (error) {
    if (isRefusal(error)) {
      conclude(context, run, false);
      return { exitCode: 1, detail: error.message, output: '' };
    }
    const why = error instanceof Error ? error.message : String(error);
    return { exitCode: null, detail: `no answer to its start: ${why}`, output: '' };
  }
  const upid = name === null ? null : parseUpid(name);
  if (upid === null) {
    conclude(context, run, true);
    return { exitCode: 0, detail: `${ready.question.method} done`, output: name ?? '' };
  }
  await workContext.onHandle(upid.upid);
  return follow(context, { upid, run }, workContext);
}

const frameOf = ({ clock, runs, cluster }: Context): Frame => ({
  clock,
  runs,
  expire: () => cluster.expire(),
});

async function planOf(
  context: Context,
  work: Work,
  { run, signal }: { run: Run; signal: AbortSignal },
): Promise<Ready> {
  try {
    const ready = await plan(context, work, run);
    return ready.ok && signal.aborted ? { ok: false, why: 'it was given up before' } : ready;
  } catch (error) {
    return { ok: false, why: error instanceof Error ? error.message : String(error) };
  }
}

export const perform = (
  context: Context,
  work: Work,
  workContext: WorkContext,
): Promise<Performed> =>
  carryOut(frameOf(context), work, {
    plan: (run) => planOf(context, work, { run, signal: workContext.signal }),
    start: (ready, run) => start(context, { ready, run }, workContext),
  });

/** Joins a worker that began before a restart of this process. */
export const attach = (
  context: Context,
  { commandId }: Work,
  { handle, workContext }: { handle: string; workContext: WorkContext },
): Promise<Performed> =>
  joinTask(frameOf(context), { commandId, handle }, (upid, run) =>
    follow(context, { upid, run }, workContext),
  );

/** The worker of a request whose answer an earlier process did not live to write down. */
export async function find(
  { api, cluster, clock }: Context,
  work: Work,
  { trace, signal }: { trace: Trace; signal: AbortSignal },
): Promise<string | null> {
  const look = await cluster.look(lookMaxMs).catch(() => null);
  const pveNode = (look && rowOf(look, work.node)?.node) ?? work.node;
  const since = String(Math.floor((trace.startedAtWallMs - clockSkewMs) / 1_000));
  const params = { vmid: work.target.id, since, source: 'all' };
  const tasks = async (): Promise<Upid[] | null> => {
    const listed = api.get(TaskList, `/nodes/${pveNode}/tasks`, { params });
    const rows = await listed.catch(() => null);
    return rows?.flatMap(({ upid }) => parseUpid(upid) ?? []) ?? null;
  };
  const seeking = { clock, tasks, skewMs: clockSkewMs, user: api.tokenId };
  return findTask(seeking, work, { trace, signal });
}
