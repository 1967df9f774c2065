/**
 * What executors and witnesses say moves the row along the table, and is always answered by a
 * verdict, or it would be repeated for ever. Any report may come twice, late, or in any order;
 * the state decides what it still means. Only the journal that claimed may prove "started" or
 * "not started": another journal of the same node has forgotten.
 */
import { type CommandState, isTerminal } from '../../broker/contract/command.ts';
import type { Message } from '../../broker/contract/messages.ts';
import type { Report } from '../../broker/contract/report.ts';
import type { Commands } from '../store/sql/schema.ts';
import { retryUnstarted } from './again.ts';
import { missingArrival } from './arrival.ts';
import { effortOf } from './facts.ts';
import { resultOf, tellLeft } from './left-undone.ts';
import type { Evaluation } from './guard.ts';
import { kindOf, move, note, readCommand, stateOf } from './ledger.ts';
import { cancellableStates, effectTimeoutMs, isPowerOff, silenceTimeoutMs } from './lifecycle.ts';
import { say, type Step } from './step.ts';
import { noteDenial } from './watch.ts';
import {
  executorCanSee,
  isProven,
  parseWitnesses,
  type Witness,
  withoutWitness,
  withWitness,
} from './witnesses.ts';

type Of<S extends Report['step']> = Extract<Report, { step: S }>;
type Said = { node: string; report: Report };

const actorOf = (node: string): string => `node:${node}`;

function contradict(step: Step, row: Commands, said: Said): Commands {
  step.context.counters.contradictions += 1;
  step.context.log.error(
    { commandId: row.id, state: row.state, node: said.node, step: said.report.step },
    'report contradicts the command and is not obeyed',
  );
  return row;
}

/**
 * A host that is gone before anybody said that its power-off began may have lost its mains; who
 * was told by it, by its goodbye or by its journal after the next boot, knows better.
 */
const isForeignLoss = (row: Commands, witnesses: readonly Witness[]): boolean =>
  row.kind === 'node.shutdown' &&
  row.started_at_ms === null &&
  !witnesses.some(({ kind }) => kind === 'boot');

/** Takes a witness's word into the row, and ends the command when it is proof enough. */
export async function witnessed(step: Step, row: Commands, witness: Witness): Promise<Commands> {
  const witnesses = withWitness(parseWitnesses(row.witnesses), witness);
  const patch = { witnesses: JSON.stringify(witnesses) };
  const isOpen = !isProven(kindOf(row), witnesses) || isForeignLoss(row, witnesses);
  if (isOpen) return note(step, row, patch);
  // Asked again by the sweep, until the telemetry of the new node has shown it.
  const isMove = row.kind === 'guest.migrate';
  if (isMove && (await missingArrival(step, row)) !== null) return note(step, row, patch);
  const actor = witness.kind === 'executor' ? actorOf(witness.by) : `witness:${witness.by}`;
  return move(step, row, 'succeed', { actor, reason: witness.detail || null, patch });
}

async function started(
  step: Step,
  row: Commands,
  node: string,
  report: Of<'started' | 'heartbeat'>,
): Promise<Commands> {
  return move(step, row, 'start', {
    actor: actorOf(node),
    data: { handle: report.handle },
    patch: {
      handle: report.handle,
      started_at_ms: step.nowMs,
      heartbeat_at_ms: step.nowMs,
      last_n: Math.max(row.last_n, report.n),
    },
  });
}

/** News of life moves a deadline, but cannot lead out of INDETERMINATE: that takes proof. */
const stillAlive = (step: Step, row: Commands, report: Of<'started' | 'heartbeat'>) =>
  note(step, row, {
    handle: report.handle ?? row.handle,
    started_at_ms: row.started_at_ms ?? step.nowMs,
    heartbeat_at_ms: step.nowMs,
    last_n: report.n,
    ...(stateOf(row) === 'RUNNING' ? { deadline_at_ms: step.nowMs + silenceTimeoutMs } : {}),
  });

async function onAlive(step: Step, row: Commands, said: Said): Promise<Commands> {
  const report = said.report as Of<'started' | 'heartbeat'>;
  const state = stateOf(row);
  if (state === 'GRANTED') return started(step, row, said.node, report);
  if (cancellableStates.includes(state)) return contradict(step, row, said);
  // A repeated old one says nothing about now.
  const isNews = report.n > row.last_n && (state === 'RUNNING' || state === 'INDETERMINATE');
  return isNews ? stillAlive(step, row, report) : row;
}

/** An end implies a start whose own report may still be on the way. */
async function untilVerifying(step: Step, row: Commands, said: Said): Promise<Commands> {
  const report = said.report as Of<'finished'>;
  const actor = actorOf(said.node);
  let current = row;
  if (stateOf(current) === 'GRANTED') {
    current = await move(step, current, 'start', {
      actor,
      reason: 'known from its end',
      patch: { started_at_ms: step.nowMs, heartbeat_at_ms: step.nowMs },
    });
  }
  if (stateOf(current) === 'RUNNING' || stateOf(current) === 'CANCELLING') {
    const reason = report.detail || null;
    const patch = { result: resultOf(report), last_n: Math.max(row.last_n, report.n) };
    current = await move(step, current, 'finish', { actor, reason, patch });
  }
  return current;
}

async function onFinished(step: Step, row: Commands, said: Said): Promise<Commands> {
  const report = said.report as Of<'finished'>;
  let current = await untilVerifying(step, row, said);
  const state = stateOf(current);
  if (state !== 'VERIFYING' && state !== 'INDETERMINATE') return contradict(step, row, said);
  if (state === 'INDETERMINATE') {
    current = await note(step, current, { result: resultOf(report) });
  }
  return looked(step, current, said.node, report);
}

const isOverdue = (step: Step, row: Commands): boolean =>
  row.started_at_ms !== null &&
  step.nowMs - row.started_at_ms >= effectTimeoutMs(kindOf(row), effortOf(step, row));

/** The executor's own look at the world, where that can settle the command at all. */
async function looked(
  step: Step,
  row: Commands,
  node: string,
  { postcondition, detail }: Of<'finished' | 'probed'>,
): Promise<Commands> {
  if (postcondition === null) return row;
  if (!executorCanSee(kindOf(row))) {
    const isStillUp = !postcondition && isPowerOff(kindOf(row)) && isOverdue(step, row);
    if (!isStillUp) return row;
    const reason = 'the node still runs the boot it was to end';
    return move(step, row, 'fail', { actor: actorOf(node), reason });
  }
  if (postcondition) {
    return witnessed(step, row, { kind: 'executor', by: node, atMs: step.nowMs, detail });
  }
  const reason = detail || 'post-condition seen not to hold';
  return move(step, row, 'fail', { actor: actorOf(node), reason });
}

/** A durable tombstone: this id has not started and never will. */
async function neverStarted(
  step: Step,
  row: Commands,
  said: Said,
  { why, guards = row.guards }: { why: string; guards?: string },
): Promise<Commands> {
  const change = { actor: actorOf(said.node), reason: why, patch: { guards } };
  const state = stateOf(row);
  if (state === 'QUEUED' || state === 'OFFERED') return move(step, row, 'reject', change);
  if (state === 'GRANTED') {
    const refused = await move(step, row, 'refuse', change);
    await retryUnstarted(step, refused);
    return refused;
  }
  const isUnseen = state === 'INDETERMINATE' && row.started_at_ms === null;
  if (!isUnseen) return contradict(step, row, said);
  const failed = await move(step, row, 'fail', change);
  await retryUnstarted(step, failed);
  return failed;
}

/** Kept beside what this server's own guards said, with what the node judged by. */
function withNodes(row: Commands, atMs: number, said: Of<'refused'>): string {
  const { guard, code, reason, wayOut } = said;
  if (!guard) return row.guards;
  const denial = { rule: guard.rule, code, reason, wayOut };
  const facts = guard.facts.map(({ unit, ...fact }) =>
    unit === undefined ? fact : { ...fact, unit },
  );
  const verdicts = [{ id: guard.id, facts, denial }];
  const evaluation: Evaluation = { phase: 'NODE', atMs, verdicts };
  return JSON.stringify([...(JSON.parse(row.guards) as Evaluation[]), evaluation]);
}

/** The rules that server and node both keep; what a node could not tell in time is its trouble. */
const isJudgement = ({ guard, code }: Of<'refused'>): boolean =>
  /^[QVCSW]/.test(guard?.rule ?? '') && code !== 'KR_GUEST_FACTS' && !code.endsWith('_UNKNOWN');

/** A guard of the node contradicts the engine as much as one of ours does (SAFETY A1). */
async function onRefused(step: Step, row: Commands, said: Said): Promise<Commands> {
  const report = said.report as Of<'refused'>;
  const { code, reason, wayOut, guard } = report;
  const why = [`${code}: ${reason}`, wayOut].filter(Boolean).join('; ');
  const guards = withNodes(row, step.nowMs, report);
  const after = await neverStarted(step, row, said, { why, guards });
  if (guard && stateOf(after) === 'REJECTED' && isJudgement(report)) {
    const denial = { rule: guard.rule, code, reason, wayOut };
    await noteDenial(step, { kind: kindOf(row), origin: row.origin }, denial);
  }
  return after;
}

async function onExecutorProbed(step: Step, row: Commands, said: Said): Promise<Commands> {
  const report = said.report as Of<'probed'>;
  const state = stateOf(row);
  if (report.started === false) {
    return neverStarted(step, row, said, { why: 'the executor proves that it never started' });
  }
  // While it still works, a post-condition may hold from before: a restart's guest runs.
  const isOver = state === 'VERIFYING' || state === 'INDETERMINATE';
  return isOver ? looked(step, row, said.node, report) : row;
}

async function onWitnessProbed(step: Step, row: Commands, said: Said): Promise<Commands> {
  const { postcondition, detail } = said.report as Of<'probed'>;
  const state = stateOf(row);
  if (state !== 'VERIFYING' && state !== 'INDETERMINATE') return row;
  const witness = { kind: 'probe', by: said.node, atMs: step.nowMs, detail } as const;
  if (postcondition === true) return witnessed(step, row, witness);
  const before = parseWitnesses(row.witnesses);
  const after = withoutWitness(before, witness);
  // It saw the effect and now does not: its earlier word counts no more.
  if (after.length === before.length) return row;
  return note(step, row, { witnesses: JSON.stringify(after) });
}

/** Whether this journal may speak about the command's start. */
function isOfClaimant(row: Commands, said: Said): boolean {
  return row.claim_journal_id === null || row.claim_journal_id === said.report.journalId;
}

/** Only who carried it out knows what it could not take back, and the command may be over by then. */
async function heard(step: Step, row: Commands, said: Said): Promise<Commands> {
  const after = await apply(step, row, said);
  const isExecutors = said.node === row.executor && isOfClaimant(row, said);
  const { report } = said;
  return isExecutors && report.step === 'finished' ? tellLeft(step, after, report) : after;
}

function unasked(step: Step, row: Commands, { node }: Said): Commands {
  step.context.counters.unaskedAnswers += 1;
  step.context.log.warn({ commandId: row.id, node }, 'word of a witness that nobody had asked');
  return row;
}

async function apply(step: Step, row: Commands, said: Said): Promise<Commands> {
  const { report, node } = said;
  if (isTerminal(stateOf(row))) return row;
  if (report.step === 'probed' && report.role === 'witness') {
    // To take a word back needs no question: that is the careful direction.
    const isAsked = report.postcondition !== true || step.context.asked.has(row.id, node);
    if (!isAsked) return unasked(step, row, said);
    // The executor's own look under another name would be one witness counted twice.
    return node === row.executor ? row : onWitnessProbed(step, row, said);
  }
  if (node !== row.executor || !isOfClaimant(row, said)) return row;
  switch (report.step) {
    case 'accepted':
      return row;
    case 'started':
    case 'heartbeat':
      return onAlive(step, row, said);
    case 'finished':
      return onFinished(step, row, said);
    case 'refused':
      return onRefused(step, row, said);
    case 'probed':
      return onExecutorProbed(step, row, said);
    default:
      return report satisfies never;
  }
}

export async function onReport(step: Step, message: Message<'report'>): Promise<void> {
  const { node, session, body: report } = message;
  const row = await readCommand(step, report.commandId);
  const after = row && (await heard(step, row, { node, report }));
  const state: CommandState = after ? stateOf(after) : 'REJECTED';
  const reason = after ? after.state_reason : 'KR_UNKNOWN_COMMAND: the server has no such command';
  const verdict = { commandId: report.commandId, n: report.n, state, reason };
  say(step, 'verdict', { node, session, body: verdict });
}
