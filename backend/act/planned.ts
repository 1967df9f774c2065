/**
 * The first lines of a command: its row with the guards' verdicts, the opened audit entry, the
 * first line of history, and, once approved, the outbox line that makes the relay offer it.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import { textLengthMax } from '../../broker/contract/limits.ts';
import { appendEntry } from '../audit/entry.ts';
import type { Commands } from '../store/sql/schema.ts';
import type { Assigned, Wanted } from './executor.ts';
import { gatherFacts } from './facts.ts';
import { type Denial, denialOf } from './guard.ts';
import { noteStaleness, pauseAutomation } from './guard-control.ts';
import { evaluate } from './guards.ts';
import { addEvent, addHistory, kindOf, move, sha256, subjectOf } from './ledger.ts';
import { offerTtlMs } from './lifecycle.ts';
import { takeTokens } from './limiter.ts';
import type { Step } from './step.ts';
import { renewWakeTables } from './sync-content.ts';

export type Submission = {
  cluster: string;
  kind: CommandKind;
  node: string;
  guest?: string;
  args: unknown;
  origin: 'person' | 'token' | 'engine' | 'system';
  actor: string;
  /** Whose quota a new guest counts against; left out for who has none. */
  account?: string;
  reason?: string;
  decisionId?: string;
  idempotencyKey?: string;
  approved: boolean;
};

export type Request = { submission: Submission; wanted: Wanted; key: string | null; hash: string };

export const sentenceOf = ({ code, reason, wayOut }: Denial): string =>
  `${code}: ${reason}; ${wayOut}`;

export async function newRow(
  step: Step,
  { submission, wanted, key, hash }: Request,
  { executor, args }: Assigned,
  plannedTtlMs: number,
): Promise<Commands> {
  const { cluster, context, nowMs, epoch } = step;
  const targetKind = wanted.guest === null ? 'node' : 'guest';
  const targetId = wanted.guest ?? wanted.node;
  const target = { cluster: cluster.id, kind: targetKind, id: targetId } as const;
  const expires_at_ms = nowMs + plannedTtlMs;
  return {
    id: context.newId(),
    cluster: cluster.id,
    kind: wanted.kind,
    target_kind: targetKind,
    target_id: targetId,
    executor,
    args: JSON.stringify(args),
    generation: await step.rows.nextGeneration(target),
    simulated: cluster.simulated,
    origin: submission.origin,
    actor: submission.actor,
    reason: submission.reason?.slice(0, textLengthMax) ?? null,
    decision_id: submission.decisionId ?? null,
    idempotency_key: key,
    request_hash: hash,
    state: 'PLANNED',
    ver: 1,
    epoch,
    policy_hash: context.fleet().clusters.get(cluster.id)?.policyHash ?? null,
    guards: '[]',
    last_n: 0,
    witnesses: '[]',
    planned_at_ms: nowMs,
    expires_at_ms,
    deadline_at_ms: expires_at_ms,
    ...unset,
  };
}

const unset = {
  plan_id: null,
  parent_id: null,
  state_reason: null,
  facts_hash: null,
  target_boot_id: null,
  nonce: null,
  claim_journal_id: null,
  claim_incarnation: null,
  grant_signed: null,
  handle: null,
  result: null,
  approved_by: null,
  offered_at_ms: null,
  granted_at_ms: null,
  started_at_ms: null,
  heartbeat_at_ms: null,
  next_probe_at_ms: null,
  alarmed_at_ms: null,
  finished_at_ms: null,
} satisfies Partial<Commands>;

/** The row with its guards' verdicts, the first history line and the opened audit entry. */
export async function plan(step: Step, row: Commands): Promise<Denial | undefined> {
  const facts = await gatherFacts(step, 'PLANNED', row);
  const evaluation = evaluate('PLANNED', step.nowMs, facts);
  row.guards = JSON.stringify([evaluation]);
  row.facts_hash = sha256(JSON.stringify(facts));
  await step.rows.insertCommand(row);
  await pauseAutomation(step, row);
  await noteStaleness(step, facts);
  const { seq } = await appendEntry(step.rows, {
    chain: row.cluster,
    actor: row.actor,
    action: 'command.submitted',
    subject: subjectOf(row),
    phase: 'opened',
    detail: {
      kind: row.kind,
      target: row.target_id,
      executor: row.executor,
      args: JSON.parse(row.args) as unknown,
      origin: row.origin,
      reason: row.reason,
      decision: row.decision_id,
      factsHash: row.facts_hash,
    },
    atMs: step.nowMs,
  });
  await addHistory(step, row, { actor: row.actor, reason: row.reason, data: { auditSeq: seq } });
  addEvent(step, row);
  await renewWakeTables(step, evaluation, row.target_id);
  return denialOf(evaluation);
}

/**
 * PLANNED to QUEUED with the limiter's tokens and the outbox line that makes the relay offer it,
 * or to REJECTED where a limit is used up.
 */
export async function queue(step: Step, row: Commands, approvedBy: string): Promise<Commands> {
  const denial = await takeTokens(step, { ...row, kind: kindOf(row) });
  if (denial) return move(step, row, 'reject', { actor: 'limiter', reason: sentenceOf(denial) });
  const expires_at_ms = step.nowMs + offerTtlMs(kindOf(row));
  const queued = await move(step, row, 'queue', {
    actor: approvedBy,
    patch: { approved_by: approvedBy, expires_at_ms, deadline_at_ms: expires_at_ms },
  });
  await step.rows.insertOutbox({
    id: step.context.newId(),
    cluster: row.cluster,
    command_id: row.id,
    node: row.executor,
    message: 'offer',
    attempts: 0,
    due_at_ms: step.nowMs,
    created_at_ms: step.nowMs,
    published_at_ms: null,
    ver: 1,
  });
  return queued;
}
