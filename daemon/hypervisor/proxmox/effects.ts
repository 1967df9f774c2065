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
import type { Performed, Work, WorkContext } from '../port.ts';
import type { Run } from '../runs.ts';
import { conclude, type Context, pveNameOf, pveNodeOf } from './context.ts';
import { NodeStatus } from './answers.ts';
import { awaitTask, follow, gaveUp, givenUp, outputOf } from './following.ts';
import { carryOut, type Frame, joinTask } from './frame.ts';
import { isOwnedByBalancer, serviceOf } from './ha.ts';
import { MigrateCheck, obstacleTo } from './migrate-check.ts';
import { attachToNode, performOnNode } from './node-effects.ts';
import { type Call, type Plan, planGuest } from './plan.ts';
import { notStarted } from './power-off.ts';
import { type Moving, obstacleThere } from './target-check.ts';
import { realTypesOf, upidIn } from './tasks.ts';

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

/** Only of a migration, which alone names a target. */
async function targetObstacle(
  { toolbox }: Context,
  guest: Pick<Moving, 'type' | 'isRunning' | 'config'>,
  { pveNode, targetName }: { pveNode: string; targetName: string },
): Promise<string | undefined> {
  if (targetName === '' || !guest.isRunning) return undefined;
  const [source, target] = await Promise.all(
    [pveNode, targetName].map((name) => toolbox.get(NodeStatus, `/nodes/${name}/status`)),
  );
  if (!source || !target) return `${targetName} or its own node said nothing of cpu and memory`;
  return obstacleThere({ ...guest, source, target });
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
  const why =
    (await precheck(context, work, { pveNode, targetName, type: guest.type })) ??
    (await targetObstacle(context, { ...guest, isRunning }, { pveNode, targetName }));
  return why === undefined ? plan : { ok: false, why };
}

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
