/**
 * What only time brings: expiry, silence, probes, the alarm, and the two witnesses of a power-off
 * that the server sees itself. Level-triggered: each round re-derives from rows and the store's
 * clock what is due, so a missed round or a restart costs time and nothing else.
 */
import { type CommandKind, isTerminal, type Probe } from '../../broker/contract/command.ts';
import { appendEntry } from '../audit/entry.ts';
import type { DueCommand } from '../store/command-store.ts';
import type { Commands } from '../store/sql/schema.ts';
import { nextWake } from './again.ts';
import { goOn, withdrawWakes } from './awaken.ts';
import { effortOf, readNode } from './facts.ts';
import { parseFacts } from './guard-node.ts';
import { addEvent, kindOf, move, note, stateOf, subjectOf } from './ledger.ts';
import { cancellableStates, effectTimeoutMs } from './lifecycle.ts';
import { membershipSettleMs, observePowerOff } from './power-off.ts';
import { lateReason } from './settling.ts';
import { type Context, inStep, say, type Step } from './step.ts';
import { waitsForNode } from './wake-first.ts';
import { executorCanSee, whereaboutsOf } from './witnesses.ts';

const batchRows = 1_000;
const probeMinMs = 5_000;
const probeMaxMs = 60_000;
const witnessesAsked = 2;

/** Rows with something due, what waits in the held clusters among them. */
export const readDue = ({ store }: Context, held: readonly string[]): Promise<DueCommand[]> =>
  store.reads.dueCommands(held, batchRows);

const silenceReasons: Partial<Record<Commands['state'], string>> = {
  GRANTED: 'no word from the executor since the grant',
  RUNNING: 'three heartbeats missing',
  VERIFYING: 'nobody has seen the post-condition in time',
  CANCELLING: 'the abort has not ended in time',
};

/** SAFETY t14: a person is told once; the command stays what it is. */
async function alarm(step: Step, row: Commands): Promise<Commands> {
  const alarmed = await note(step, row, { alarmed_at_ms: step.nowMs, deadline_at_ms: null });
  await appendEntry(step.rows, {
    chain: row.cluster,
    actor: 'sweep',
    action: 'command.alarmed',
    subject: subjectOf(row),
    phase: 'done',
    detail: { kind: row.kind, target: row.target_id, reason: row.state_reason },
    atMs: step.nowMs,
  });
  addEvent(step, alarmed);
  step.context.log.warn({ commandId: row.id, kind: row.kind }, 'command INDETERMINATE for 5 min');
  return alarmed;
}

/** What a person reads of a command that waited too long, by what it had waited for. */
function tooLate(row: Commands): string {
  if (waitsForNode(row)) return `its node was not ready in time; ${row.state_reason}`;
  return stateOf(row) === 'PLANNED'
    ? 'not approved in time'
    : lateReason(row, 'not claimed in time');
}

async function onDeadline(step: Step, row: Commands): Promise<Commands> {
  const state = stateOf(row);
  if (row.deadline_at_ms === null || row.deadline_at_ms > step.nowMs) return row;
  if (cancellableStates.includes(state)) {
    const expired = await move(step, row, 'expire', { actor: 'sweep', reason: tooLate(row) });
    await withdrawWakes(step, expired, 'sweep');
    return expired;
  }
  if (state === 'INDETERMINATE') return alarm(step, row);
  return move(step, row, 'lose', { actor: 'sweep', reason: silenceReasons[state] ?? null });
}

const probeOf = (row: Commands, role: Probe['role']): Probe => ({
  commandId: row.id,
  kind: row.kind as CommandKind,
  target: { kind: row.target_kind, id: row.target_id },
  args: JSON.parse(row.args) as Probe['args'],
  role,
});

async function whereabouts(step: Step, row: Commands): Promise<Pick<Probe, 'addresses'>> {
  const node = await readNode(step, row.target_id);
  return step.cluster.simulated === 1 ? {} : whereaboutsOf(node ? parseFacts(node) : null);
}

/** Other connected nodes of the cluster, a different pair each time they are asked. */
function witnessNodes(step: Step, row: Commands): string[] {
  const { context, cluster } = step;
  const nodes = [...(context.fleet().nodesByCluster.get(cluster.id)?.keys() ?? [])]
    .filter((node) => node !== row.target_id && context.reach.isOnline(cluster.id, node))
    .sort();
  const first = Math.floor(context.random.ratio() * nodes.length);
  return [...nodes.slice(first), ...nodes.slice(0, first)].slice(0, witnessesAsked);
}

/** Grows with the command's age, so that a long uncertainty is asked about seldom. */
function nextProbeMs(step: Step, row: Commands): number {
  const ageMs = step.nowMs - (row.granted_at_ms ?? row.planned_at_ms);
  const pauseMs = Math.min(probeMaxMs, Math.max(probeMinMs, ageMs / 4));
  return Math.round(step.nowMs + pauseMs * (0.75 + step.context.random.ratio() / 2));
}

async function probe(step: Step, row: Commands): Promise<Commands> {
  if (row.next_probe_at_ms === null || row.next_probe_at_ms > step.nowMs) return row;
  const { context, cluster } = step;
  const kind = kindOf(row);
  const isOverdue =
    row.started_at_ms !== null &&
    step.nowMs - row.started_at_ms >= effectTimeoutMs(kind, effortOf(step, row));
  const asksExecutor = executorCanSee(kind) || row.started_at_ms === null || isOverdue;
  if (asksExecutor && context.reach.isOnline(cluster.id, row.executor)) {
    say(step, 'probe', { node: row.executor, body: probeOf(row, 'executor') });
    context.counters.probes += 1;
  }
  // What a witness sees is its membership, and that is worth no more when asked than when told.
  const isSettled = step.nowMs - (row.granted_at_ms ?? step.nowMs) >= membershipSettleMs;
  if (kind === 'node.shutdown' && isSettled) {
    const where = await whereabouts(step, row);
    for (const node of witnessNodes(step, row)) {
      say(step, 'probe', { node, body: { ...probeOf(row, 'witness'), ...where } });
      context.asked.note(row.id, node);
      context.counters.probes += 1;
    }
  }
  return note(step, row, { next_probe_at_ms: nextProbeMs(step, row) });
}

/** Everything that is due for one command, in the order in which it could end it. */
async function tend(step: Step, row: Commands): Promise<void> {
  if (step.isHeld && cancellableStates.includes(stateOf(row))) {
    await move(step, row, 'cancel', { actor: 'hold', reason: 'HOLD' });
    return;
  }
  const seen = row.kind === 'node.shutdown' ? await observePowerOff(step, row) : row;
  if (isTerminal(stateOf(seen))) return;
  const timed = await onDeadline(step, seen);
  if (isTerminal(stateOf(timed))) return;
  if (waitsForNode(timed)) {
    await goOn(step, timed);
    return;
  }
  await probe(step, timed);
  if (timed.kind === 'node.wake' && stateOf(timed) === 'INDETERMINATE') await nextWake(step, timed);
}

/** All that is due in one cluster, in one transaction. */
export const sweepCluster = (
  context: Context,
  cluster: string,
  ids: readonly string[],
): Promise<void> =>
  inStep(context, cluster, async (step) => {
    const rows = await step.rows.commandsByIds(cluster, ids);
    for (const row of rows) if (!isTerminal(stateOf(row))) await tend(step, row);
  });
