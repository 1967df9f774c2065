/**
 * A command that is part of a larger thing somebody asked for: a proving campaign, a plan. Under
 * the name of who asked, approved with it, and judged by every guard and limit like any other.
 */
import type { Commands } from '../store/sql/schema.ts';
import { assign, type Wanted } from './executor.ts';
import { move, sha256 } from './ledger.ts';
import { plannedTtlMs } from './lifecycle.ts';
import { newRow, plan, queue, sentenceOf, type Submission } from './planned.ts';
import type { Step } from './step.ts';

export type Part = Pick<Submission, 'actor' | 'origin'> & {
  wanted: Wanted;
  reason: string;
  planId: string;
};

/** Queued, or REJECTED with the reason. */
export async function sendPart(step: Step, part: Part): Promise<Commands> {
  const { wanted, origin, actor, reason, planId } = part;
  const { kind, node, args } = wanted;
  const cluster = step.cluster.id;
  const submission: Submission = {
    cluster,
    kind,
    node,
    args,
    origin,
    actor,
    reason,
    approved: true,
  };
  const hash = sha256(JSON.stringify([cluster, kind, node, args]));
  const request = { submission, wanted, key: null, hash };
  const fresh = await newRow(step, request, await assign(step, wanted), plannedTtlMs);
  const command = { ...fresh, plan_id: planId };
  const denial = await plan(step, command);
  if (!denial) return queue(step, command, actor);
  return move(step, command, 'reject', { actor: 'guard', reason: sentenceOf(denial) });
}
