/**
 * When something is asked for again, always as a new command under a new id, in the step that found
 * out: what provably never started, and a wake whose node did not come, by the next way. Both are
 * bounded, audited and judged anew by every guard. Nothing that may have begun is ever repeated,
 * but a wake, which twice is the same as once.
 */
import { type CommandKind, commandStates } from '../../broker/contract/command.ts';
import { appendEntry } from '../audit/entry.ts';
import type { CommandBrief } from '../store/command-store.ts';
import type { Commands } from '../store/sql/schema.ts';
import { assign, type Tried, type Wanted } from './executor.ts';
import { isFresh } from './guard.ts';
import { quarantineNode } from './guard-control.ts';
import { limitsOf } from './guard-limits.ts';
import { nodeFact } from './guard-node.ts';
import { kindOf, move, sha256, subjectOf } from './ledger.ts';
import { isPowerOff, plannedTtlMs } from './lifecycle.ts';
import { lookAtTokens } from './limiter.ts';
import { newRow, plan, queue, sentenceOf, type Submission } from './planned.ts';
import { RefusedError } from './refusal.ts';
import type { Step } from './step.ts';
import type { WakerKind } from './wake-ways.ts';

const rootOf = (row: Pick<Commands, 'id' | 'parent_id'>): string => row.parent_id ?? row.id;

/** The first command and all that were sent again after it, oldest first. */
async function chainOf(step: Step, row: Commands): Promise<CommandBrief[]> {
  const target = { kind: row.target_kind, id: row.target_id };
  const filter = { kinds: [row.kind], states: commandStates, target };
  const rows = await step.rows.commandsOf(row.cluster, filter);
  return rows.filter((one) => rootOf(one) === rootOf(row));
}

const wantedOf = (row: Commands, args: object): Wanted => ({
  kind: kindOf(row),
  node: row.target_kind === 'node' ? row.target_id : row.executor,
  guest: row.target_kind === 'guest' ? row.target_id : null,
  args,
});

type Again = { wanted: Wanted; origin: Submission['origin']; actor: string; reason: string };

/** The new command, queued or refused by guards and limiter like any other. */
async function send(
  step: Step,
  row: Commands,
  { wanted, origin, actor, reason }: Again,
  tried: readonly Tried[],
): Promise<Commands> {
  const { kind, node, guest, args } = wanted;
  const submission: Submission = {
    cluster: row.cluster,
    kind,
    node,
    ...(guest === null ? {} : { guest }),
    args,
    origin,
    actor,
    reason,
    approved: true,
  };
  const hash = sha256(JSON.stringify([row.cluster, kind, node, guest, args]));
  const request = { submission, wanted, key: null, hash };
  const assigned = await assign(step, wanted, tried);
  const fresh = await newRow(step, request, assigned, plannedTtlMs);
  const again = { ...fresh, parent_id: rootOf(row), plan_id: row.plan_id };
  const denial = await plan(step, again);
  await appendEntry(step.rows, {
    chain: row.cluster,
    actor,
    action: 'command.again',
    subject: subjectOf(again),
    phase: 'done',
    detail: { after: row.id, first: rootOf(row), executor: again.executor, reason },
    atMs: step.nowMs,
  });
  if (!denial) {
    await step.rows.carryQuotaClaim(row.id, again.id);
    return queue(step, again, row.approved_by ?? actor);
  }
  return move(step, again, 'reject', { actor: 'guard', reason: sentenceOf(denial) });
}

/** What no longer makes sense, a guest that has left, is left alone. */
async function unlessRefused(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
  }
}

/** The tombstones that a daemon writes for what it had claimed when it died (command-state.ts). */
const tombstone = /^KR_(NOT_STARTED|NEVER_SEEN):/;

/** Proven not to have begun, and not because a guard of the node said no. */
const isUnstarted = ({ state, granted_at_ms, started_at_ms, state_reason }: Commands): boolean =>
  started_at_ms === null &&
  (state === 'FAILED' ||
    (state === 'REJECTED' && granted_at_ms !== null && tombstone.test(state_reason ?? '')));

/**
 * A durable tombstone says that it never started. The engine decides anew by itself, a power-off
 * is too dangerous to come late, and what is old is no longer what anyone wants.
 */
export async function retryUnstarted(step: Step, row: Commands): Promise<void> {
  if (row.kind === 'node.wake') return nextWake(step, row);
  const isYoung = step.nowMs - row.planned_at_ms < plannedTtlMs;
  const isLeft = row.origin === 'engine' || isPowerOff(kindOf(row)) || step.isHeld;
  if (!isUnstarted(row) || !isYoung || isLeft) return;
  const retried = (await chainOf(step, row)).length - 1;
  if (retried >= limitsOf(step.cluster).retries) return;
  const { origin, actor } = row;
  const reason = `again: ${row.id} never started`;
  const wanted = wantedOf(row, JSON.parse(row.args) as object);
  await unlessRefused(() => send(step, row, { wanted, origin, actor, reason }, []));
}

/** No way brought the node back: a person has to look, and nothing more is switched off here. */
async function giveUp(step: Step, row: Commands, tried: number): Promise<void> {
  const isNew = await quarantineNode(step, row.target_id);
  if (!isNew) return;
  const { cluster, context } = step;
  const detail = { command: row.id, tried };
  await appendEntry(step.rows, {
    chain: cluster.id,
    actor: 'act',
    action: 'wake.given-up',
    subject: `node:${row.target_id}`,
    phase: 'done',
    detail,
    atMs: step.nowMs,
  });
  context.log.error({ cluster: cluster.id, node: row.target_id, tried }, 'a node was not woken');
}

const isOver = (state: string): boolean => state === 'REJECTED' || state === 'EXPIRED';

/**
 * A wake missed its deadline, or never left: the next way is tried while the first stays in doubt,
 * since a machine that boots slowly may still come. Level-triggered: asked again, it does nothing.
 */
export async function nextWake(step: Step, row: Commands): Promise<void> {
  const { cluster } = step;
  const target = await step.rows.node({ cluster: cluster.id, id: row.target_id });
  if (step.isHeld || (target && isFresh(nodeFact(step, target)))) return;
  const chain = await chainOf(step, row);
  const last = chain.at(-1);
  // Somebody, or an earlier round, has gone on from here.
  if (!last || (last.id !== row.id && !isOver(last.state))) return;
  const { wakeAttempts } = limitsOf(cluster);
  if (chain.length >= wakeAttempts) return giveUp(step, row, chain.length);
  const kind: CommandKind = 'node.wake';
  const taker = { id: row.id, target_id: row.target_id, origin: 'system' as const, kind };
  if (await lookAtTokens(step, taker)) return;
  const tried = chain.map(({ executor, args }): Tried => {
    const { waker = null } = JSON.parse(args) as { waker?: WakerKind };
    return { executor, by: waker };
  });
  const { waker: _, ...args } = JSON.parse(row.args) as { waker?: string };
  const wanted = wantedOf(row, args);
  const reason = `the wake ${row.id} by ${row.executor} did not bring the node back`;
  await unlessRefused(() =>
    send(step, row, { wanted, origin: 'system', actor: row.actor, reason }, tried),
  );
}
