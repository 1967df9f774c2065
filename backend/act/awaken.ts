/**
 * Carries a start on a sleeping node through its plan (wake-first.ts): sends the wake, looks whether
 * the node is ready, judges the start anew and queues it. All it knows stands in the rows of start
 * and wakes, so any backend goes on. It passes no guard: a wake or start that is refused ends it.
 */
import { commandStates } from '../../broker/contract/command.ts';
import type { CommandBrief } from '../store/command-store.ts';
import type { Commands } from '../store/sql/schema.ts';
import type { Wanted } from './executor.ts';
import { effortOf, gatherFacts, readNode } from './facts.ts';
import { denialOf, type Denial, type Evaluation, isFresh } from './guard.ts';
import { limitsOf } from './guard-limits.ts';
import { nodeFact } from './guard-node.ts';
import { evaluate } from './guards.ts';
import { addEvent, kindOf, move, note, readCommand, sha256 } from './ledger.ts';
import {
  cancellableStates,
  effectTimeoutMs,
  offerTtlMs,
  openStates,
  plannedTtlMs,
} from './lifecycle.ts';
import { lookAtTokens } from './limiter.ts';
import { sendPart } from './part.ts';
import { plan, queue, sentenceOf, type Submission } from './planned.ts';
import { isSettling } from './settling.ts';
import type { Step } from './step.ts';
import { isPlanned, nextStep, type WakeSeen, type WakeView } from './wake-first.ts';

/** No plan waits longer, however slowly its node boots. */
const planMaxMs = 50 * 60_000;
const reasonMax = 400;
/** What is so while a node sleeps or goes to sleep, and is what the plan is there to end. */
const bySleep: ReadonlySet<string> = new Set(['KR_EXECUTOR_OFFLINE', 'KR_NODE_LEAVING']);
const passes = ({ code }: Denial): boolean => bySleep.has(code);

export const wakeOf = (node: string): Wanted => ({
  kind: 'node.wake',
  node,
  guest: null,
  args: {},
});

const wakesOf = (step: Step, node: string, finishedAfterMs?: number): Promise<CommandBrief[]> =>
  step.rows.commandsOf(step.cluster.id, {
    kinds: ['node.wake'],
    target: { kind: 'node', id: node },
    ...(finishedAfterMs === undefined
      ? { states: openStates }
      : { states: commandStates, finishedAfterMs }),
  });

/**
 * Whether a person's start, or a token's, has to wait for its node: one that was switched off, or is
 * being woken. A node in maintenance is off because somebody wants it, and is not woken by the way.
 */
export async function needsWake(
  step: Step,
  { origin, approved }: Pick<Submission, 'origin' | 'approved'>,
  { kind, node }: Wanted,
): Promise<boolean> {
  const isAsked = approved && (origin === 'person' || origin === 'token');
  if (kind !== 'guest.start' || !isAsked) return false;
  const row = await readNode(step, node);
  if (!row || row.maintenance === 1 || isFresh(nodeFact(step, row))) return false;
  return row.desired === 'asleep' || (await wakesOf(step, node)).length > 0;
}

/** Every way to wake it, one after the other, and then its first sample. */
function planTtlMs(step: Step, row: Commands): number {
  const target = {
    ...row,
    kind: 'node.wake',
    target_kind: 'node' as const,
    target_id: row.executor,
  };
  const wakeMs = offerTtlMs('node.wake') + effectTimeoutMs('node.wake', effortOf(step, target));
  return Math.min(planMaxMs, limitsOf(step.cluster).wakeAttempts * wakeMs + plannedTtlMs);
}

async function seenOf(step: Step, row: Commands): Promise<WakeSeen[]> {
  const open = await wakesOf(step, row.executor);
  const over = await wakesOf(step, row.executor, row.planned_at_ms - 1);
  return [...new Map([...open, ...over].map((one) => [one.id, one])).values()]
    .toSorted((a, b) => a.generation - b.generation)
    .map(({ id, state, state_reason: reason, plan_id }) => ({
      id,
      state: state as WakeSeen['state'],
      reason,
      isOwn: plan_id === row.id,
    }));
}

/**
 * The sample must be younger than the wish, the hello than the boot: what the node said before it
 * fell asleep says nothing of what it can do now.
 */
async function missingOf(
  step: Step,
  row: Commands,
): Promise<Pick<WakeView, 'missing' | 'isHeard'>> {
  const stored = await readNode(step, row.executor);
  const node = stored && nodeFact(step, stored);
  const missing = `node ${row.executor} has not said hello and sent a sample yet`;
  if (!node || !isFresh(node)) return { missing, isHeard: false };
  const { factsAgeMs, sampleAgeMs, uptimeMs, driver } = node;
  const ageMs = step.nowMs - row.planned_at_ms;
  const isSampled = sampleAgeMs !== null && sampleAgeMs <= ageMs;
  const upMs = Math.max(ageMs, (sampleAgeMs ?? 0) + (uptimeMs ?? 0));
  if (!isSampled || (factsAgeMs ?? Infinity) > upMs) return { missing, isHeard: true };
  const can = driver?.capabilities.includes(kindOf(row)) ?? false;
  return {
    missing: can ? null : `node ${row.executor} does not offer ${row.kind} yet`,
    isHeard: true,
  };
}

async function busyOf(step: Step, node: string): Promise<string | null> {
  const target = await step.rows.target({ cluster: step.cluster.id, kind: 'node', id: node });
  const active = target?.active;
  // A wake may follow a power-off in doubt, and a wake is what is awaited anyway.
  const isOther = active && active.kind !== 'node.wake' && active.state !== 'INDETERMINATE';
  return isOther ? `${active.kind} ${active.id}` : null;
}

const viewOf = async (step: Step, row: Commands): Promise<WakeView> => ({
  node: row.executor,
  ...(await missingOf(step, row)),
  busy: await busyOf(step, row.executor),
  wakes: await seenOf(step, row),
  wakesMax: limitsOf(step.cluster).wakeAttempts,
});

/** Whoever looks at the start sees what it waits for; written only when that has changed. */
async function waitFor(step: Step, row: Commands, why: string): Promise<Commands> {
  const state_reason = why.slice(0, reasonMax);
  if (row.state_reason === state_reason) return row;
  const waiting = await note(step, row, { state_reason });
  addEvent(step, waiting);
  return waiting;
}

/** What was asked for this start alone, and has not begun, is asked for no more. */
export async function withdrawWakes(step: Step, row: Commands, actor: string): Promise<void> {
  if (!isPlanned(row)) return;
  for (const { id, state, isOwn } of await seenOf(step, row)) {
    const wake = isOwn && cancellableStates.includes(state) && (await readCommand(step, id));
    if (wake) await move(step, wake, 'cancel', { actor, reason: `its start ${row.id} has ended` });
  }
}

async function fail(step: Step, row: Commands, why: string): Promise<Commands> {
  const wayOut = 'see that command, or switch the node on by hand; then send it again';
  const reason = `KR_WAKE_FAILED: guest ${row.target_id} was not started: ${why}`;
  const failed = await move(step, row, 'reject', {
    actor: 'act',
    reason: `${reason.slice(0, reasonMax)}; ${wayOut}`,
  });
  await withdrawWakes(step, failed, 'act');
  return failed;
}

async function wake(step: Step, row: Commands): Promise<Commands> {
  const { id, actor, executor } = row;
  const taker = { id, target_id: executor, origin: 'system' as const, kind: 'node.wake' as const };
  const spent = await lookAtTokens(step, taker);
  if (spent) return waitFor(step, row, `wake: ${spent.reason}`);
  const sent = await sendPart(step, {
    wanted: wakeOf(executor),
    // Of the system, like every wake that follows from something: it pauses no automation.
    origin: 'system',
    actor,
    reason: `start ${id} of guest ${row.target_id}`.slice(0, reasonMax),
    planId: id,
  });
  if (sent.state !== 'REJECTED') {
    return waitFor(step, row, `wake: ${sent.id} of node ${executor} is ${sent.state}`);
  }
  return fail(step, row, `the wake ${sent.id} of node ${executor}: ${sent.state_reason}`);
}

/** Its first verdicts were about a node that slept; those of now stand in the row instead. */
async function start(step: Step, row: Commands): Promise<Commands> {
  const facts = await gatherFacts(step, 'PLANNED', row);
  const evaluation = evaluate('PLANNED', step.nowMs, facts);
  const denial = denialOf(evaluation);
  if (denial && (isSettling(facts) || passes(denial))) {
    return waitFor(step, row, `ready: ${sentenceOf(denial)}`);
  }
  const spent = await lookAtTokens(step, { ...row, kind: kindOf(row) });
  if (!denial && spent) return waitFor(step, row, `ready: ${spent.reason}`);
  const judged = await note(step, row, {
    guards: JSON.stringify([evaluation]),
    facts_hash: sha256(JSON.stringify(facts)),
    next_probe_at_ms: null,
  });
  if (!denial) return queue(step, judged, row.approved_by ?? row.actor);
  return move(step, judged, 'reject', { actor: 'guard', reason: sentenceOf(denial) });
}

/** Level-triggered: looked at in every round of the sweep, it does what is due and nothing else. */
export async function goOn(step: Step, row: Commands): Promise<Commands> {
  const next = nextStep(await viewOf(step, row));
  switch (next.do) {
    case 'wait':
      return waitFor(step, row, next.why);
    case 'wake':
      return wake(step, row);
    case 'start':
      return start(step, row);
    case 'fail':
      return fail(step, row, next.why);
    default:
      return next satisfies never;
  }
}

/** The start as a plan, with its wake on the way; REJECTED where either can never be. */
export async function begin(step: Step, fresh: Commands): Promise<Commands> {
  const untilMs = step.nowMs + planTtlMs(step, fresh);
  const row: Commands = {
    ...fresh,
    plan_id: fresh.id,
    approved_by: fresh.actor,
    expires_at_ms: untilMs,
    deadline_at_ms: untilMs,
    // Due in every round, until it is queued or over.
    next_probe_at_ms: step.nowMs,
  };
  await plan(step, row);
  const [{ verdicts }] = JSON.parse(row.guards) as [Evaluation];
  const lasting = verdicts.find(({ denial }) => denial !== null && !passes(denial))?.denial;
  if (!lasting) return goOn(step, row);
  return move(step, row, 'reject', { actor: 'guard', reason: sentenceOf(lasting) });
}
