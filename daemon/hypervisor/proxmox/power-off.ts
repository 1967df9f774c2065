/**
 * Switching this host off: its HA maintenance first, then a last look that nothing runs here, then
 * the tool. Whatever does not come out as it must ends with the maintenance taken back and the host
 * still on. It never stops a guest.
 */
import { SandboxError } from '../../command/sandbox.ts';
import type { Performed, Work, WorkContext } from '../port.ts';
import { type Context, pveNodeOf } from './context.ts';
import { beginMaintenance, endMaintenance, type Maintenance } from './maintenance.ts';
import { type Call, planNode } from './plan.ts';

export const notStarted = (why: string): Performed => ({
  exitCode: null,
  detail: `not started: ${why}`,
  output: '',
  neverBegan: true,
});

/** What was said of it, and of the maintenance that was taken back or could not be. */
const withTakenBack = (performed: Performed, { said, left }: TakenBack): Performed => ({
  ...performed,
  detail: `${performed.detail}${said}`,
  ...(left === null ? {} : { left: [left] }),
});

type TakenBack = { said: string; left: string | null };

/** Why the host must stay on, or undefined. */
async function lastLook({ host }: Context): Promise<string | undefined> {
  const alive = await host.countAlive();
  if (alive === null) return 'nobody can tell whether guests run here';
  return alive === 0 ? undefined : `${alive} guests run here`;
}

async function run({ toolbox }: Context, call: Call, signal: AbortSignal): Promise<Performed> {
  try {
    const result = await toolbox.act(call.tool, call.argv, signal);
    const { exitCode, stderr, stdout } = result;
    const detail = `${call.tool} ended with ${exitCode ?? 'a signal'}: ${stderr.trim()}`;
    return { exitCode: result.killedBy === null ? exitCode : null, detail, output: stdout };
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    return notStarted(error.message);
  }
}

async function takeBack(
  context: Context,
  { handle }: Maintenance,
  { signal }: WorkContext,
): Promise<TakenBack> {
  if (handle === null) return { said: '', left: null };
  const left = await endMaintenance(context, handle, signal);
  return { said: left === null ? '; its HA maintenance was taken back' : `; ${left}`, left };
}

export async function powerOff(
  context: Context,
  { action }: Work,
  workContext: WorkContext,
): Promise<Performed> {
  const { signal } = workContext;
  const plan = planNode(action, await pveNodeOf(context));
  if (!plan.ok) return notStarted(plan.why);
  if (signal.aborted) return notStarted('it was given up before');
  const maintenance = await beginMaintenance(context, workContext);
  const why =
    maintenance.problem ??
    (await lastLook(context)) ??
    // Services may take ten minutes to move: long enough to change one's mind, or to lose a vote.
    (await workContext.heldBy?.()) ??
    undefined;
  if (why !== undefined) {
    return withTakenBack(notStarted(why), await takeBack(context, maintenance, workContext));
  }
  const result = await run(context, plan.call, signal);
  // Given up in the middle, nobody knows whether it goes down: the maintenance stays for then.
  if (result.exitCode === 0 || signal.aborted) return result;
  return withTakenBack(result, await takeBack(context, maintenance, workContext));
}
