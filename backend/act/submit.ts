/**
 * A wish becomes a row: one transaction holds the replay check, the target's next generation, the
 * guards' verdicts, the command, its history, its outbox line and its audit entry. Under HOLD
 * there is no row at all.
 */
import { firstIssue } from '../../broker/contract/codec.ts';
import { type CommandKind, type CommandState, commandArgs } from '../../broker/contract/command.ts';
import { ClusterId, GuestId, NodeId } from '../../broker/contract/ids.ts';
import { ConflictError, UniqueViolation } from '../store/sql/errors.ts';
import { begin, needsWake, wakeOf } from './awaken.ts';
import { assign, type Wanted } from './executor.ts';
import { gatherFacts } from './facts.ts';
import { type Denial, denialOf, type Evaluation } from './guard.ts';
import { windowsOf } from './guard-surroundings.ts';
import { evaluate } from './guards.ts';
import { windowSays } from './guards-house.ts';
import { move, sha256, stateOf } from './ledger.ts';
import { approvalTtlMs, plannedTtlMs } from './lifecycle.ts';
import { newRow, plan, queue, type Request, sentenceOf, type Submission } from './planned.ts';
import { promise, rehearsePromise } from './quota-claims.ts';
import type { Refused } from '../refusal.ts';
import { answer, refuse } from './refusal.ts';
import { type Context, inStep, type Step } from './step.ts';
import { renewWakeTables } from './sync-content.ts';
import { levelFor, noteDenial } from './watch.ts';

/** `deniedBy`: the code of the guard that rejected it. */
export type Submitted =
  | { ok: true; id: string; state: CommandState; replayed: boolean; deniedBy?: string }
  | Refused;

const idempotencyKeyLengthMax = 255;

function checkShape(submission: Submission): Wanted {
  const { kind, node, guest, cluster, idempotencyKey } = submission;
  const invalid = (field: string, detail: string, wayOut: string): never =>
    refuse(400, 'KR_INVALID', { field, detail, wayOut });
  if (!ClusterId.safeParse(cluster).success) invalid('cluster', 'no cluster id', 'see clusters');
  if (!NodeId.safeParse(node).success) invalid('node', 'no node id', 'see GET /api/v1/nodes');
  if (kind.startsWith('guest.') && !GuestId.safeParse(guest).success) {
    invalid('guest', `${kind} needs a guest id`, 'see GET /api/v1/guests');
  }
  if (kind.startsWith('node.') && guest !== undefined) {
    invalid('guest', `${kind} is about a node`, 'leave guest out');
  }
  if ((idempotencyKey?.length ?? 0) > idempotencyKeyLengthMax) {
    invalid('Idempotency-Key', 'too long', `use at most ${idempotencyKeyLengthMax} characters`);
  }
  const args = commandArgs[kind].safeParse(submission.args ?? {});
  if (!args.success) {
    const { field, hint } = firstIssue(args.error, 'args');
    return invalid(field, hint, `see the arguments of ${kind} in /docs`);
  }
  return { kind, node, guest: guest ?? null, args: args.data };
}

const hashOf = (submission: Submission, wanted: Wanted): string => {
  const { kind, node, guest, args } = wanted;
  return sha256(JSON.stringify([submission.cluster, kind, node, guest, args]));
};

async function replay(step: Step, { key, hash }: Request): Promise<Submitted | undefined> {
  if (key === null) return undefined;
  const earlier = await step.rows.commandByKey(key);
  if (!earlier) return undefined;
  if (earlier.request_hash === hash) {
    return { ok: true, id: earlier.id, state: earlier.state as CommandState, replayed: true };
  }
  return refuse(409, 'KR_IDEMPOTENCY', {
    field: 'Idempotency-Key',
    detail: `the key was used for command ${earlier.id} with another body`,
    wayOut: 'use a new key for a new command',
  });
}

/** The engine asks every few seconds: outside of its window that leaves no row each time. */
function checkWindow(step: Step, kind: CommandKind): void {
  const says = windowSays({ windows: windowsOf(step), kind, nowMs: step.nowMs });
  if (says === null || kind === 'node.wake') return;
  const { code, reason, wayOut } = says;
  refuse(409, code, { field: 'kind', detail: reason, wayOut });
}

type Approval = { isApproved: boolean; ttlMs: number };

/** A person approves by sending; the engine's wish waits unless autonomy says auto. */
async function approvalOf(step: Step, submission: Submission): Promise<Approval> {
  const { origin, kind, approved } = submission;
  if (origin !== 'engine') return { isApproved: approved, ttlMs: plannedTtlMs };
  const level = await levelFor(step, kind);
  if (level === 'observe' || level === 'recommend') {
    refuse(409, 'KR_AUTONOMY', {
      field: 'kind',
      detail: `autonomy of ${kind} in cluster ${step.cluster.id} is ${level}`,
      wayOut: 'an administrator raises it to approve or auto',
    });
  }
  checkWindow(step, kind);
  const isApproved = level === 'auto' && approved;
  return { isApproved, ttlMs: level === 'approve' ? approvalTtlMs : plannedTtlMs };
}

async function accept(step: Step, request: Request): Promise<Submitted> {
  const earlier = await replay(step, request);
  if (earlier) return earlier;
  if (step.isHeld) {
    refuse(409, 'KR_HOLD', {
      field: 'cluster',
      detail: `cluster ${step.cluster.id} is on hold`,
      wayOut: 'an administrator releases HOLD, then the command is sent again',
    });
  }
  const { submission, wanted } = request;
  const { isApproved, ttlMs } = await approvalOf(step, submission);
  const promised = await promise(step, request);
  const row = await newRow(step, request, await assign(step, wanted), ttlMs);
  if (await needsWake(step, submission, wanted)) {
    const begun = await begin(step, row);
    return { ok: true, id: begun.id, state: stateOf(begun), replayed: false };
  }
  const denial = await plan(step, row);
  await noteDenial(step, submission, denial);
  if (!denial && promised) await step.rows.putQuotaClaim({ ...promised, command_id: row.id });
  let last = row;
  if (denial) {
    last = await move(step, row, 'reject', { actor: 'guard', reason: sentenceOf(denial) });
  } else if (isApproved) {
    last = await queue(step, row, submission.actor);
  }
  const deniedBy = denial && { deniedBy: denial.code };
  return { ok: true, id: last.id, state: stateOf(last), replayed: false, ...deniedBy };
}

/** A cluster made a moment ago has no lease yet; whoever asks first takes it. */
export async function takeLease(context: Context, cluster: string): Promise<void> {
  if (context.lease.epochOf(cluster) !== undefined) return;
  await context.lease.refresh(cluster);
  if (context.lease.epochOf(cluster) !== undefined) return;
  if ((await context.store.reads.clusterIds()).includes(cluster)) return;
  refuse(404, 'KR_UNKNOWN_CLUSTER', {
    field: 'cluster',
    detail: `there is no cluster ${cluster}`,
    wayOut: 'name a cluster that GET /api/v1/clusters lists',
  });
}

export const submit = (context: Context, submission: Submission): Promise<Submitted> =>
  answer(async () => {
    const wanted = checkShape(submission);
    const { cluster, actor, idempotencyKey } = submission;
    const key = idempotencyKey === undefined ? null : `${actor}:${idempotencyKey}`;
    const request = { submission, wanted, key, hash: hashOf(submission, wanted) };
    await takeLease(context, cluster);
    return inStep(context, cluster, async (step) => {
      try {
        return await accept(step, request);
      } catch (error) {
        if (!(error instanceof UniqueViolation)) throw error;
        throw new ConflictError('the same key or target is being written', { cause: error });
      }
    });
  });

export type Rehearsed =
  | { ok: true; denial: Denial | null; verdicts: Evaluation['verdicts'] }
  | Refused;

/**
 * What guards would say of a proposal that is only shown, so that an engine that is watched is
 * judged like one that acts. No row, no token, no command, no promise.
 */
export const rehearse = (context: Context, submission: Submission): Promise<Rehearsed> =>
  answer(async () => {
    const asked = checkShape(submission);
    await takeLease(context, submission.cluster);
    return inStep(context, submission.cluster, async (step) => {
      // Of a plan that begins with a wake, what would be asked for now is the wake.
      const isPlan = await needsWake(step, submission, asked);
      const wanted = isPlan ? wakeOf(asked.node) : asked;
      await rehearsePromise(step, { wanted, submission });
      const { executor, args } = await assign(step, wanted);
      const facts = await gatherFacts(step, 'PLANNED', {
        id: submission.decisionId ?? '',
        kind: wanted.kind,
        target_kind: wanted.guest === null ? 'node' : 'guest',
        target_id: wanted.guest ?? wanted.node,
        executor,
        args: JSON.stringify(args),
        origin: submission.origin,
        plan_id: null,
      });
      const evaluation = evaluate('PLANNED', step.nowMs, facts);
      await renewWakeTables(step, evaluation, wanted.node);
      const denial = denialOf(evaluation);
      await noteDenial(step, submission, denial);
      return { ok: true, denial: denial ?? null, verdicts: evaluation.verdicts } as const;
    });
  });
