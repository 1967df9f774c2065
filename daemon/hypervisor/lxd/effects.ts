/**
 * Carries one command out: LXD's requests one after another, each operation named as soon as LXD
 * has named it and followed to its end. A handle is `<operation>@<start in ms>`, since LXD forgets
 * an operation seconds after it ended. After a restart the operation at work is joined, and none
 * that would have followed is begun.
 */
import type { Clock } from '../../../broker/contract/ports.ts';
import type { Performed, Work, WorkContext } from '../port.ts';
import { keep } from '../runs.ts';
import { type Instance, type Operation, Profile } from './answers.ts';
import { type LxdApi, LxdError } from './api.ts';
import { type Host, instanceNameOf } from './guests.ts';
import type { Run } from './judge.ts';
import { type Named, planOf, type Request } from './plan.ts';

export type Context = {
  node: string;
  api: LxdApi;
  clock: Clock;
  runs: Map<string, Run>;
  host(): Promise<Host>;
  find(named: Named): Promise<Instance | null>;
};

const remember = ({ runs }: Context, commandId: string, startedAtWallMs: number): Run =>
  keep(runs, commandId, { startedAtWallMs, hasEnded: false, neverBegan: false });

const answer = (exitCode: number | null, detail: string): Performed => ({
  exitCode,
  detail,
  output: '',
});

function notStarted(run: Run, why: string): Performed {
  run.hasEnded = true;
  run.neverBegan = true;
  return { ...answer(null, `not started: ${why}`), neverBegan: true };
}

async function rootPoolOf({ api }: Context, project: string): Promise<string | null> {
  const path = `/1.0/profiles/default?project=${encodeURIComponent(project)}`;
  const { devices } = await api.get(Profile, path);
  const root = Object.values(devices).find(({ type, path: at }) => type === 'disk' && at === '/');
  return root?.['pool'] ?? null;
}

async function requestsOf(
  context: Context,
  { target, action, commandId }: Work,
): Promise<{ ok: true; requests: Request[] } | { ok: false; why: string }> {
  const named = instanceNameOf(await context.host(), target.id);
  if (!named.ok) return named;
  const instance = await context.find(named);
  const hasDisk = action.kind === 'guest.create' && action.args.diskBytes !== undefined;
  const rootPool = hasDisk ? await rootPoolOf(context, named.project) : null;
  return planOf(action, named, { instance, commandId, rootPool });
}

type End = { performed: Performed; isOver: boolean };

const done = answer(0, 'LXD has done it');

function endOf(ended: Operation | null): End {
  if (ended === null) {
    const detail = 'its operation is over; LXD keeps no record of how';
    return { performed: answer(null, detail), isOver: true };
  }
  const failed = answer(1, `LXD: ${ended.error || ended.status}`);
  return { performed: ended.isOk ? done : failed, isOver: true };
}

/** Gives the operation up at LXD, too, when nobody waits for it any more. */
async function follow({ api }: Context, operation: string, signal: AbortSignal): Promise<End> {
  try {
    return endOf(await api.wait(operation, signal));
  } catch (error) {
    if (!(error instanceof LxdError)) throw error;
    if (!signal.aborted) return { performed: answer(null, error.message), isOver: false };
    await api.cancel(operation);
    return { performed: answer(null, 'given up before its operation ended'), isOver: false };
  }
}

async function runAll(
  context: Context,
  { requests, run }: { requests: readonly Request[]; run: Run },
  workContext: WorkContext,
): Promise<Performed> {
  const { signal } = workContext;
  for (const [index, request] of requests.entries()) {
    try {
      const operation = await context.api.change(request, signal);
      if (operation === null) continue;
      await workContext.onHandle(`${operation.id}@${run.startedAtWallMs}`);
      const { performed, isOver } = await follow(context, operation.id, signal);
      if (performed === done) continue;
      run.hasEnded = isOver;
      return performed;
    } catch (error) {
      if (!(error instanceof LxdError)) throw error;
      if (error.code === 'KR_LXD_UNCLEAR') return answer(null, error.message);
      if (index === 0) return notStarted(run, error.message);
      run.hasEnded = true;
      return answer(1, error.message);
    }
  }
  run.hasEnded = true;
  return done;
}

export async function perform(
  context: Context,
  work: Work,
  workContext: WorkContext,
): Promise<Performed> {
  const run = remember(context, work.commandId, context.clock.wallMs());
  let plan: Awaited<ReturnType<typeof requestsOf>>;
  try {
    plan = await requestsOf(context, work);
  } catch (error) {
    if (!(error instanceof LxdError)) throw error;
    return notStarted(run, error.message);
  }
  if (!plan.ok) return notStarted(run, plan.why);
  return runAll(context, { requests: plan.requests, run }, workContext);
}

/** Joins the operation of a command that began before a restart of this process. */
export async function attach(
  context: Context,
  work: Work,
  { handle, workContext }: { handle: string; workContext: WorkContext },
): Promise<Performed> {
  const match = /^([0-9a-f-]{36})@(\d{1,16})$/.exec(handle);
  if (!match) return answer(null, `${handle} names no operation`);
  const run = remember(context, work.commandId, Number(match[2]));
  const { performed, isOver } = await follow(context, match[1] ?? '', workContext.signal);
  run.hasEnded = isOver;
  return performed;
}
