/**
 * From a task that was named to the end of the work: a request that HA only queues is followed to
 * the real task, and a task that nobody wants any more is asked to end. Invariant: nothing here
 * begins an effect, and what became of one is only told as the hypervisor tells it.
 */
import type { ToolResult } from '../../command/sandbox.ts';
import { outputBytesMax } from '../../command/tool-output.ts';
import type { Performed, WorkContext } from '../port.ts';
import { pause, type Run } from '../runs.ts';
import { TaskStatus } from './answers.ts';
import { conclude, type Context } from './context.ts';
import {
  canBeStopped,
  endOf,
  queuedForGood,
  realTypesOf,
  type TaskEnd,
  type Upid,
} from './tasks.ts';

const lookEveryMs = 200;
/** HA looks at its requests every 10 s, and its agents take another 5 s. */
const queuedMaxMs = 180_000;
/** A worker stands as running until its end is written down. */
const endsWithinMs = 10_000;

export const gaveUp: Performed = {
  exitCode: null,
  detail: 'given up before its task ended',
  output: '',
};

export const outputOf = ({ stdout, stderr }: ToolResult): string =>
  (stderr === '' ? stdout : `${stdout}\n${stderr}`).slice(-outputBytesMax);

export type Sought = { types: readonly string[]; id: string; known: ReadonlySet<string> };

async function findTask({ host }: Context, { types, id, known }: Sought): Promise<Upid | null> {
  const tasks = (await host.tasks()) ?? [];
  const isSought = (task: Upid): boolean =>
    types.includes(task.type) && task.id === id && !known.has(task.upid);
  return tasks.find(isSought) ?? null;
}

/** Looks until the task shows or `isOver` says that it will not come any more. */
export async function awaitTask(
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
export async function givenUp(
  context: Context,
  { upid, run }: { upid: Upid | null; run: Run },
  result: ToolResult,
): Promise<Performed> {
  const output = outputOf(result);
  if (upid === null) return { ...gaveUp, output };
  if (realTypesOf(upid.type) !== undefined) return { ...gaveUp, detail: queuedForGood, output };
  return lastWord(context, { upid, run, output });
}

/** The end of a task that was asked to end: it may have been faster. */
async function lastWord(
  context: Context,
  { upid, run, output }: { upid: Upid; run: Run; output: string },
): Promise<Performed> {
  const late = new AbortController();
  const cancel = context.clock.after(endsWithinMs, () => late.abort());
  const end = await followTask(context, upid, late.signal);
  cancel();
  if (end === undefined) return { ...gaveUp, output };
  conclude(context, run, end.isOk);
  const told = performed(end, upid, output);
  return { ...told, detail: `asked to end in time; ${told.detail}` };
}

/** A task with no tool in front of it: of HA, or of a tool that an earlier process began. */
async function callBack(
  context: Context,
  { upid, run, output }: Omit<Following, 'known'>,
): Promise<Performed> {
  if (!canBeStopped(upid.type)) return { ...gaveUp, output };
  const path = `/nodes/${upid.node}/tasks/${upid.upid}`;
  const answer = await context.toolbox.ask('pvesh', ['delete', path]);
  if (answer?.exitCode === 0) return lastWord(context, { upid, run, output });
  const said = answer?.stderr.trim().split('\n').at(-1) ?? '';
  const detail = `its task ${upid.type} could not be stopped${said === '' ? '' : `: ${said}`}`;
  return { ...gaveUp, detail, output };
}

type Following = { upid: Upid; run: Run; known: ReadonlySet<string>; output: string };

/** From the first task that was named to the one that does the work. */
export async function follow(
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
      const detail = signal.aborted ? queuedForGood : 'HA queued it; no task of it was seen';
      return { exitCode: null, detail, output };
    }
    real = found;
    await workContext.onHandle(real.upid);
  }
  const end = await followTask(context, real, signal);
  if (end === undefined) return callBack(context, { upid: real, run, output });
  conclude(context, run, end.isOk);
  return performed(end, real, output);
}
