/**
 * What is done to the node itself. Draining and restoring are HA's maintenance, which moves what HA
 * manages and nothing else: other guests are moved one by one, by commands of their own. It is
 * offered only where HA manages guests, since a manager without any never looks at a request.
 */
import { judged, seen, unseen } from '../observation.ts';
import type { Observation, Performed, Work, WorkContext } from '../port.ts';
import { conclude, type Context, pveNodeOf, remember } from './context.ts';
import { isInMaintenance, servicesLeft } from './ha.ts';
import { awaitGoing, awaitRest, endMaintenance, handleOf, switchTo } from './maintenance.ts';
import { notStarted, powerOff } from './power-off.ts';

const ended = (problem: string | null, well: string): Performed => ({
  exitCode: problem === null ? 0 : 1,
  detail: problem ?? well,
  output: '',
});

const drained = 'in HA maintenance, and nothing of HA is left here';

async function drain(context: Context, work: WorkContext): Promise<Performed> {
  const answers = await context.host.ha();
  if (answers === null) return notStarted('HA gave no usable answer');
  if (answers.services.length === 0) {
    return notStarted('HA manages no guest here: move the guests one by one, by guest.migrate');
  }
  const pveNode = await pveNodeOf(context);
  const on = { pveNode, signal: work.signal };
  const held = await work.heldBy?.();
  if (held) return notStarted(held);
  await work.onHandle(handleOf(pveNode));
  const isThere = isInMaintenance(answers.manager, pveNode);
  const problem = isThere ? undefined : await switchTo(context, 'enable', on);
  return ended(problem ?? (await awaitRest(context, on)) ?? null, drained);
}

/** Whoever began the maintenance: it is asked for by name. */
async function restore(context: Context, { signal }: WorkContext): Promise<Performed> {
  const pveNode = await pveNodeOf(context);
  const left = await endMaintenance(context, handleOf(pveNode), signal);
  return ended(left, 'its HA maintenance is over');
}

export async function performOnNode(
  context: Context,
  work: Work,
  workContext: WorkContext,
): Promise<Performed> {
  const { kind } = work.action;
  if (kind !== 'node.drain' && kind !== 'node.restore') return powerOff(context, work, workContext);
  const run = remember(context, work.commandId, context.clock.monotonicMs());
  const performed = await (kind === 'node.drain' ? drain : restore)(context, workContext);
  conclude(context, run, performed.exitCode === 0);
  return performed;
}

/** Joins again after a restart of this process; it asks HA for nothing that it was not asked for. */
export async function attachToNode(
  context: Context,
  { action }: Work,
  { handle, signal }: { handle: string; signal: AbortSignal },
): Promise<Performed> {
  if (action.kind === 'node.drain') {
    const pveNode = await pveNodeOf(context);
    return ended((await awaitRest(context, { pveNode, signal })) ?? null, drained);
  }
  const detail = await awaitGoing(context, handle, signal);
  return { exitCode: null, detail, output: '' };
}

export async function observeNode(context: Context, work: Work): Promise<Observation> {
  const { kind } = work.action;
  if (kind !== 'node.drain' && kind !== 'node.restore') return unseen(`${work.node} still answers`);
  const answers = await context.host.ha();
  if (answers === null) return unseen('HA gave no usable answer');
  const pveNode = await pveNodeOf(context);
  const isMaintained = isInMaintenance(answers.manager, pveNode);
  const left = servicesLeft(answers, pveNode);
  const isWanted = kind === 'node.drain' ? isMaintained && left.length === 0 : !isMaintained;
  const mode = isMaintained ? 'in HA maintenance' : 'not in HA maintenance';
  const detail = left.length === 0 ? mode : `${mode}, with ${left.join(', ')} on it`;
  if (isWanted) return seen(detail);
  // While HA may still be moving things, "not yet" and "never" look the same.
  const run = context.runs.get(work.commandId);
  return run?.ended && !run.ended.isOk ? judged(false, detail) : unseen(detail);
}
