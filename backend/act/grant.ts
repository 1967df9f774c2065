/**
 * A claim becomes a grant, or does not: the row, the target's mutex, the guards on fresh facts,
 * the signature and the audit entry are one transaction, so the store alone decides between
 * cancel and start. Answers are a grant, a verdict that ends it, or silence; after silence the
 * executor asks again when it is offered again.
 */
import { strict as assert } from 'node:assert';
import {
  type Allowance,
  type CommandKind,
  type CommandState,
  type GrantContent,
  isTerminal,
} from '../../broker/contract/command.ts';
import type { Message } from '../../broker/contract/messages.ts';
import { appendEntry } from '../audit/entry.ts';
import type { Commands } from '../store/sql/schema.ts';
import { allowancesIn, allowancesOf } from './allowances.ts';
import { effortOf, gatherFacts, readNode } from './facts.ts';
import { type Denial, denialOf, type Evaluation } from './guard.ts';
import { limitsOf } from './guard-limits.ts';
import { readUnderWay } from './guard-surroundings.ts';
import { evaluate } from './guards.ts';
import { kindOf, move, note, readCommand, sha256, stateOf, subjectOf, targetOf } from './ledger.ts';
import { effectTimeoutMs, isPowerOff, occupiesPlace } from './lifecycle.ts';
import { isSettling, lateReason, settlingCode } from './settling.ts';
import { say, type Step, timeScaleOf } from './step.ts';
import { sentenceOf } from './planned.ts';
import { noteDenial } from './watch.ts';

type Claim = Message<'claim'>;

/** Only a simulated cluster may have so many at once; it is not counted there. */
const unlimited = 1_000;

/** Verdicts name the report they settle; for a claim, which has no number, it is the first. */
function end(step: Step, claim: Claim, state: CommandState, reason: string | null): void {
  const { node, session, body } = claim;
  const verdict = { commandId: body.commandId, n: 1, state, reason };
  say(step, 'verdict', { node, session, body: verdict });
}

function silence(step: Step, claim: Claim, why: string): void {
  step.context.counters.silentClaims += 1;
  const { commandId } = claim.body;
  step.context.log.debug({ commandId, node: claim.node, why }, 'claim left unanswered');
}

type Permission = { nonce: string; allows: Allowance[] };

function signGrant(step: Step, row: Commands, { nonce, allows }: Permission): string {
  const { cluster, context, epoch } = step;
  const content = {
    v: 1,
    type: 'grant',
    cluster: cluster.id,
    node: row.executor,
    commandId: row.id,
    kind: kindOf(row),
    target: { kind: row.target_kind, id: row.target_id },
    args: JSON.parse(row.args) as GrantContent['args'],
    generation: row.generation,
    epoch,
    nonce,
    simulated: cluster.simulated === 1,
    timeoutMs: effectTimeoutMs(kindOf(row), effortOf(step, row)),
    timeScale: timeScaleOf(cluster),
    policyHash: row.policy_hash,
    ...(allows.length > 0 ? { allows } : {}),
  } satisfies GrantContent;
  return JSON.stringify(context.signer.sign(content));
}

const sendGrant = (step: Step, { node, session }: Claim, signed: string): void =>
  say(step, 'grant', { node, session, body: JSON.parse(signed) });

/**
 * The mutex: free, or held by an INDETERMINATE power-off of the very node that is to be woken,
 * which never bars a wake.
 */
async function takeTarget(step: Step, row: Commands): Promise<boolean> {
  const key = targetOf(row);
  const target = await step.rows.target(key);
  assert(target, `${row.id} has no target`);
  const { active, ver } = target;
  const isUncertainPowerOff =
    active?.state === 'INDETERMINATE' && isPowerOff(active.kind as CommandKind);
  const isFree =
    target.active_command === null || (row.kind === 'node.wake' && isUncertainPowerOff);
  if (!isFree) return false;
  return step.rows.updateTarget(key, { active_command: row.id }, { ver });
}

async function targetBootId(step: Step, row: Commands): Promise<string | null> {
  if (row.target_kind !== 'node') return null;
  return (await readNode(step, row.target_id))?.boot_id ?? null;
}

async function auditGrant(step: Step, row: Commands): Promise<void> {
  await appendEntry(step.rows, {
    chain: row.cluster,
    actor: 'act',
    action: 'command.granted',
    subject: subjectOf(row),
    phase: 'done',
    detail: {
      kind: row.kind,
      target: row.target_id,
      executor: row.executor,
      epoch: step.epoch,
      nonce: row.nonce,
      journalId: row.claim_journal_id,
      factsHash: row.facts_hash,
      grantHash: sha256(row.grant_signed ?? ''),
    },
    atMs: step.nowMs,
  });
}

/**
 * What was queued before a restart was allowed by a server that knew more: it is not refused for
 * what this one has not heard yet. It stays what it is, is offered and claimed again, and its own
 * deadline ends the wait; whoever reads it meanwhile sees what it waits for.
 */
async function waitForFacts(
  step: Step,
  row: Commands,
  { claim, denial }: { claim: Claim; denial: Denial },
): Promise<void> {
  const state_reason = `${settlingCode}: this server has just started; ${denial.code} so far`;
  if (row.state_reason !== state_reason) await note(step, row, { state_reason });
  silence(step, claim, denial.code);
}

async function grant(step: Step, row: Commands, claim: Claim): Promise<void> {
  const { nonce, journalId, incarnation, maxEpoch } = claim.body;
  const facts = await gatherFacts(step, 'GRANT', row, maxEpoch);
  const evaluation = evaluate('GRANT', step.nowMs, facts);
  const guards = JSON.stringify([...(JSON.parse(row.guards) as Evaluation[]), evaluation]);
  const patch = { guards, facts_hash: sha256(JSON.stringify(facts)) };
  const denial = denialOf(evaluation);
  if (denial && isSettling(facts)) return waitForFacts(step, row, { claim, denial });
  if (denial) {
    await noteDenial(step, { kind: kindOf(row), origin: row.origin }, denial);
    const reason = sentenceOf(denial);
    const rejected = await move(step, row, 'reject', { actor: 'guard', reason, patch });
    return end(step, claim, stateOf(rejected), reason);
  }
  if (!(await takeTarget(step, row))) return silence(step, claim, 'target busy');
  const signed = signGrant(step, row, { nonce, allows: allowancesOf(facts) });
  const granted = await move(step, row, 'grant', {
    actor: 'act',
    data: { journalId, incarnation },
    patch: {
      ...patch,
      nonce,
      claim_journal_id: journalId,
      claim_incarnation: incarnation,
      grant_signed: signed,
      granted_at_ms: step.nowMs,
      target_boot_id: await targetBootId(step, row),
    },
  });
  await auditGrant(step, granted);
  step.context.counters.grants += 1;
  sendGrant(step, claim, signed);
}

/**
 * The answer was lost on the way. The same permission is signed for the newest nonce; the
 * deadline stays where the first grant put it, so a grant cannot be stretched by asking.
 */
async function regrant(step: Step, row: Commands, claim: Claim): Promise<void> {
  const { nonce, journalId, incarnation } = claim.body;
  if (row.claim_journal_id !== journalId) {
    step.context.log.warn(
      { commandId: row.id, node: claim.node },
      'claim of a granted command by another journal refused',
    );
    const reason = 'KR_OTHER_CLAIMANT: granted to another journal of this node';
    return end(step, claim, 'REJECTED', reason);
  }
  if (step.isHeld) return silence(step, claim, 'HOLD');
  if (row.nonce === nonce && row.grant_signed !== null && row.epoch === step.epoch) {
    return sendGrant(step, claim, row.grant_signed);
  }
  const signed = signGrant(step, row, { nonce, allows: allowancesIn(row.grant_signed) });
  await move(step, row, 'regrant', {
    actor: 'act',
    patch: { nonce, grant_signed: signed, claim_incarnation: incarnation },
  });
  step.context.counters.regrants += 1;
  sendGrant(step, claim, signed);
}

/**
 * Whether the cluster has as much at work as it may; what people asked for waits for its turn,
 * a wake never does.
 */
async function isFull(step: Step, row: Commands): Promise<boolean> {
  const { commandsAtOnce } = limitsOf(step.cluster);
  if (row.kind === 'node.wake' || commandsAtOnce >= unlimited) return false;
  const others = await readUnderWay(step, 'GRANT', row.id);
  return others.filter(occupiesPlace).length >= commandsAtOnce;
}

async function grantWaiting(step: Step, row: Commands, claim: Claim): Promise<void> {
  if (row.expires_at_ms <= step.nowMs) {
    const reason = lateReason(row, 'claimed too late');
    const expired = await move(step, row, 'expire', { actor: 'act', reason });
    return end(step, claim, stateOf(expired), expired.state_reason);
  }
  if (step.isHeld) {
    const cancelled = await move(step, row, 'cancel', { actor: 'hold', reason: 'HOLD' });
    return end(step, claim, stateOf(cancelled), cancelled.state_reason);
  }
  const node = await readNode(step, claim.node);
  // Its hello is on the way or lost; what we know of its journal must come from that first.
  if (node?.journal_id !== claim.body.journalId) return silence(step, claim, 'journal unknown');
  // Nor which boot it is in: that of an earlier start would make its next hello look like proof.
  if (node.incarnation < claim.body.incarnation) return silence(step, claim, 'start unknown');
  // It claimed and left; after its return it claims again, and a refusal now would be final.
  if (!step.context.reach.isOnline(claim.cluster, claim.node)) {
    return silence(step, claim, 'executor gone');
  }
  if (await isFull(step, row)) return silence(step, claim, 'enough is under way');
  return grant(step, row, claim);
}

export async function onClaim(step: Step, claim: Claim): Promise<void> {
  const row = await readCommand(step, claim.body.commandId);
  if (!row || row.executor !== claim.node) {
    return end(step, claim, 'REJECTED', 'KR_UNKNOWN_COMMAND: not a command for this node');
  }
  const state = stateOf(row);
  if (isTerminal(state)) return end(step, claim, state, row.state_reason);
  if (state === 'QUEUED' || state === 'OFFERED') return grantWaiting(step, row, claim);
  if (state === 'GRANTED') return regrant(step, row, claim);
  return silence(step, claim, `state ${state}`);
}
