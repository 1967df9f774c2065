/**
 * Carries one command out and follows its task to the end. The tools run their task in the
 * foreground and name it late, so its name is read from the list of tasks while the tool works,
 * and handed over at once. A request that HA only queues is followed to the real task. Nothing
 * here is ever begun twice, and `attach` begins nothing at all.
 *
 *   tool --> own task ------------------------> ended
 *     '----> queued (hamigrate) --> real task --^
 */
import { SandboxError, type ToolResult } from '../../command/sandbox.ts';
import { outputBytesMax } from '../../command/tool-output.ts';
import type { Performed, Work, WorkContext } from '../port.ts';
import { TaskStatus } from './answers.ts';
import { pause, type Run } from '../runs.ts';
import { conclude, type Context, pveNameOf, pveNodeOf } from './context.ts';
import { carryOut, type Frame, joinTask } from './frame.ts';
import { isOwnedByBalancer, serviceOf } from './ha.ts';
import { MigrateCheck, obstacleTo } from './migrate-check.ts';
import { attachToNode, performOnNode } from './node-effects.ts';
import { type Call, type Plan, planGuest } from './plan.ts';
import { notStarted } from './power-off.ts';
import { endOf, realTypesOf, type TaskEnd, type Upid, upidIn } from './tasks.ts';

const lookEveryMs = 200;
/** HA looks at its requests every 10 s, and its agents take another 5 s. */
const queuedMaxMs = 180_000;
/** A worker stands as running until its end is written down. */
const endsWithinMs = 10_000;

const gaveUp: Performed = {
  exitCode: null,
  detail: 'given up before its task ended',
  output: '',
};

/** PVE 8 has the question for VMs alone; `pct migrate` then has the first and last word. */
async function hasNoPrecheck({ toolbox }: Context, path: string): Promise<boolean> {
  const result = await toolbox.ask('pvesh', ['get', path, '--output-format', 'json']);
  return result !== null && /No 'get' handler defined for/.test(result.stderr);
}

/** The hypervisor's own word on a migration; its silence is no consent. */
async function precheck(
  context: Context,
  { action, target }: Work,
  names: { pveNode: string; targetName: string; type: string },
): Promise<string | undefined> {
  if (action.kind !== 'guest.migrate') return undefined;
  const { pveNode, targetName, type } = names;
  const path = `/nodes/${pveNode}/${type}/${target.id}/migrate`;
  const check = await context.toolbox.get(MigrateCheck, path, ['--target', targetName]);
  if (check === null && type === 'lxc' && (await hasNoPrecheck(context, path))) return undefined;
  if (check === null) return 'the precheck of the migration gave no usable answer';
  const { withLocalDisks } = action.args;
  return obstacleTo(check, { target: targetName, withLocalDisks });
}

/** A guest that the scheduler moves by itself is moved by nobody else. */
async function ownerOf({ host }: Context, { action, target }: Work): Promise<string | undefined> {
  if (action.kind !== 'guest.migrate') return undefined;
  const ha = await host.ha();
  if (ha === null) return 'the files of HA cannot be read, so nobody can tell who moves the guest';
  return isOwnedByBalancer(ha.options, serviceOf(ha.services, target.id))
    ? 'the balancer of the HA scheduler itself moves this guest (crs: ha-auto-rebalance)'
    : undefined;
}

async function planOf(context: Context, work: Work, run: Run): Promise<Plan> {
  const { action, target } = work;
  const pveNode = await pveNodeOf(context);
  const guests = await context.host.guests(pveNode);
  const guest = guests?.find(({ vmid }) => vmid === target.id);
  if (!guest) return { ok: false, why: `guest ${target.id} is not on this node` };
  const lock = guest.config.get('lock');
  if (lock !== undefined) return { ok: false, why: `guest ${target.id} is locked (${lock})` };
  const isRunning = await context.host.isAlive(guest.type, guest.vmid);
  if (isRunning === null) return { ok: false, why: 'nobody can tell whether the guest runs' };
  run.wasRunning = isRunning;
  const targetName =
    action.kind === 'guest.migrate' ? await pveNameOf(context, action.args.targetNode) : '';
  const { migrationBytesPerSecond } = context;
  const wish = { targetName, migrationBytesPerSecond };
  const plan = planGuest({ ...guest, isRunning }, action, wish);
  if (!plan.ok) return plan;
  const owner = await ownerOf(context, work);
  if (owner !== undefined) return { ok: false, why: owner };
  const why = await precheck(context, work, { pveNode, targetName, type: guest.type });
  return why === undefined ? plan : { ok: false, why };
}

type Sought = { types: readonly string[]; id: string; known: ReadonlySet<string> };

async function findTask({ host }: Context, { types, id, known }: Sought): Promise<Upid | null> {
  const tasks = (await host.tasks()) ?? [];
  const isSought = (task: Upid): boolean =>
    types.includes(task.type) && task.id === id && !known.has(task.upid);
  return tasks.find(isSought) ?? null;
}

/** Looks until the task shows or `isOver` says that it will not come any more. */
async function awaitTask(
  context: Context,
  sought: Sought,
  { isOver, signal }: { isOver: () => boolean; signal: AbortSignal },
): Promise<Upid | null> {
  for (;;) {
    const wasOver = isOver() || signal.aborted;
    const found = await findTask(context, sought);
    if (found !== null || wasOver) return found;
    await pause(context.clock, lookEveryMs, signal);
  }
}

async function endOfTask(context: Context, upid: Upid): Promise<TaskEnd | undefined> {
  const listed = (await context.host.tasks())?.find((task) => task.upid === upid.upid);
  if (listed?.isRunning) return undefined;
  if (listed?.exitStatus) {
    return endOf({ upid: upid.upid, status: 'stopped', exitstatus: listed.exitStatus });
  }
  // Fallen off the short list, or of another node: only the archive knows.
  const path = `/nodes/${upid.node}/tasks/${upid.upid}/status`;
  const status = await context.toolbox.get(TaskStatus, path);
  return status === null ? undefined : endOf(status);
}

/** Follows a real task to its end; undefined when given up. */
async function followTask(
  context: Context,
  upid: Upid,
  signal: AbortSignal,
): Promise<TaskEnd | undefined> {
  while (!signal.aborted) {
    const end = await endOfTask(context, upid);
    if (end !== undefined) return end;
    await pause(context.clock, lookEveryMs, signal);
  }
  return undefined;
}

const performed = ({ isOk, detail }: TaskEnd, upid: Upid, output: string): Performed => ({
  exitCode: isOk ? 0 : 1,
  detail: `${upid.type}: ${detail}`,
  output,
});

/** What became of the task of a tool that was asked to end. */
async function givenUp(
  context: Context,
  { upid, run }: { upid: Upid | null; run: Run },
  result: ToolResult,
): Promise<Performed> {
  const output = outputOf(result);
  if (upid === null || realTypesOf(upid.type) !== undefined) return { ...gaveUp, output };
  const late = new AbortController();
  const cancel = context.clock.after(endsWithinMs, () => late.abort());
  const end = await followTask(context, upid, late.signal);
  cancel();
  if (end === undefined) return { ...gaveUp, output };
  conclude(context, run, end.isOk);
  const told = performed(end, upid, output);
  return { ...told, detail: `asked to end in time; ${told.detail}` };
}

type Following = { upid: Upid; run: Run; known: ReadonlySet<string>; output: string };

/** From the first task that was named to the one that does the work. */
async function follow(
  context: Context,
  { upid, run, known, output }: Following,
  workContext: WorkContext,
): Promise<Performed> {
  const { signal } = workContext;
  const types = realTypesOf(upid.type);
  let real = upid;
  if (types !== undefined) {
    const untilMs = context.clock.monotonicMs() + queuedMaxMs;
    const isOver = (): boolean => context.clock.monotonicMs() >= untilMs;
    const sought = { types, id: upid.id, known };
    const found = await awaitTask(context, sought, { isOver, signal });
    if (found === null) {
      return { exitCode: null, detail: 'HA queued it; no task of it was seen', output };
    }
    real = found;
    await workContext.onHandle(real.upid);
  }
  const end = await followTask(context, real, signal);
  if (end === undefined) return { ...gaveUp, output };
  conclude(context, run, end.isOk);
  return performed(end, real, output);
}

const outputOf = ({ stdout, stderr }: ToolResult): string =>
  (stderr === '' ? stdout : `${stdout}\n${stderr}`).slice(-outputBytesMax);

/** A tool that died without a word says nothing of its task. */
function resultOf(
  context: Context,
  { call, run }: { call: Call; run: Run },
  result: ToolResult,
): Performed {
  const output = outputOf(result);
  const { exitCode } = result;
  if (result.killedBy !== null || exitCode === null) return { ...gaveUp, output };
  conclude(context, run, exitCode === 0);
  const said = result.stderr.trim().split('\n').at(-1) ?? '';
  const detail = `${call.tool} ended with ${exitCode}${said === '' ? '' : `: ${said}`}`;
  return { exitCode, detail, output };
}

async function runCall(
  context: Context,
  { call, run, id }: { call: Call; run: Run; id: string },
  work: WorkContext,
): Promise<Performed> {
  const { signal } = work;
  const known = new Set(((await context.host.tasks()) ?? []).map(({ upid }) => upid));
  let hasEnded = false;
  const running = context.toolbox.act(call.tool, call.argv, signal).finally(() => {
    hasEnded = true;
  });
  if (call.taskTypes.length === 0) return resultOf(context, { call, run }, await running);
  const sought = { types: call.taskTypes, id, known };
  const naming = awaitTask(context, sought, { isOver: () => hasEnded, signal }).then(
    async (upid) => {
      if (upid !== null) await work.onHandle(upid.upid);
      return upid;
    },
  );
  const [result, seen] = await Promise.all([running, naming]);
  const upid = seen ?? upidIn(result.stdout);
  const ending = { call, run };
  if (result.killedBy !== null) return givenUp(context, { upid, run }, result);
  if (upid === null) return resultOf(context, ending, result);
  if (seen === null) await work.onHandle(upid.upid);
  const isQueued = realTypesOf(upid.type) !== undefined && result.exitCode === 0;
  const hasDied = result.exitCode === null;
  if (!isQueued && !hasDied) return resultOf(context, ending, result);
  return follow(context, { upid, run, known, output: outputOf(result) }, work);
}

const frameOf = ({ clock, runs, slow }: Context): Frame => ({
  clock,
  runs,
  expire: () => slow.expire(),
});

export async function perform(
  context: Context,
  work: Work,
  workContext: WorkContext,
): Promise<Performed> {
  if (work.target.kind === 'node') return performOnNode(context, work, workContext);
  const { id } = work.target;
  return carryOut(frameOf(context), work, {
    plan: (run) => planOf(context, work, run),
    async start({ call }, run) {
      try {
        return await runCall(context, { call, run, id }, workContext);
      } catch (error) {
        if (!(error instanceof SandboxError)) throw error;
        conclude(context, run, false);
        return notStarted(error.message);
      }
    },
  });
}

/** Joins a task that began before a restart of this process. */
export async function attach(
  context: Context,
  work: Work,
  { handle, workContext }: { handle: string; workContext: WorkContext },
): Promise<Performed> {
  if (work.target.kind === 'node') {
    return attachToNode(context, work, { handle, signal: workContext.signal });
  }
  const { commandId } = work;
  return joinTask(frameOf(context), { commandId, handle }, async (upid, run) => {
    const older = ((await context.host.tasks()) ?? []).filter(
      ({ startedAtSeconds }) => startedAtSeconds < upid.startedAtSeconds,
    );
    const known = new Set(older.map((task) => task.upid));
    return follow(context, { upid, run, known, output: '' }, workContext);
  });
}
