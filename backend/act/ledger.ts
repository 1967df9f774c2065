/**
 * The only place that changes the row of a command: a conditional UPDATE on (id, state, ver), its
 * history line, the target's mutex, and the audit entry, all in the caller's transaction. A move
 * that the table of lifecycle.ts does not hold is our bug and aborts the step.
 */
import { strict as assert } from 'node:assert';
import { createHash } from 'node:crypto';
import {
  type CommandKind,
  type CommandState,
  isTerminal,
  repeatableKinds,
} from '../../broker/contract/command.ts';
import { textLengthMax } from '../../broker/contract/limits.ts';
import { appendEntry } from '../audit/entry.ts';
import type { TargetKey } from '../store/command-store.ts';
import { ConflictError } from '../store/sql/errors.ts';
import type { Commands } from '../store/sql/schema.ts';
import { effortOf } from './facts.ts';
import { noteOutcome } from './guard-control.ts';
import {
  activeStates,
  cancellableStates,
  effectTimeoutMs,
  releasesTarget,
  timeoutMs,
  transitionOf,
  type Trigger,
} from './lifecycle.ts';
import type { Step } from './step.ts';

export const kindOf = (row: Commands): CommandKind => row.kind as CommandKind;
export const stateOf = (row: Commands): CommandState => row.state as CommandState;

export const targetOf = (
  row: Pick<Commands, 'cluster' | 'target_kind' | 'target_id'>,
): TargetKey => ({
  cluster: row.cluster,
  kind: row.target_kind,
  id: row.target_id,
});

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const short = (text: string): string => text.slice(0, textLengthMax);

/** By whom, and why; `patch` are further columns of the same UPDATE. */
export type Change = {
  actor: string;
  reason?: string | null;
  data?: object;
  patch?: Partial<Commands>;
};

/** Between the first probe and the report that usually comes first. */
const firstProbeAfterMs = 5_000;

function schedule(step: Step, row: Commands, to: CommandState): Partial<Commands> {
  if (cancellableStates.includes(to)) return {};
  const timeout = timeoutMs(to, effectTimeoutMs(kindOf(row), effortOf(step, row)));
  const probeAfterMs = to === 'VERIFYING' ? firstProbeAfterMs : 0;
  const isProbed = to === 'VERIFYING' || to === 'INDETERMINATE';
  return {
    deadline_at_ms: timeout === null ? null : step.nowMs + timeout,
    next_probe_at_ms: isProbed ? step.nowMs + probeAfterMs : null,
    ...(isTerminal(to) ? { finished_at_ms: step.nowMs } : {}),
  };
}

async function write(step: Step, row: Commands, patch: Partial<Commands>): Promise<Commands> {
  const set = { ...patch, epoch: step.epoch };
  const isOurs = await step.rows.updateCommand(row, set);
  if (!isOurs) throw new ConflictError(`command ${row.id} changed under us`);
  return { ...row, ...set, ver: row.ver + 1 };
}

/** Further facts about a command whose state stays: heartbeats, witnesses, probe times. */
export function note(step: Step, row: Commands, patch: Partial<Commands>): Promise<Commands> {
  assert(!isTerminal(stateOf(row)), `${row.id} is ${row.state} and never changes`);
  assert(patch.state === undefined, 'a state changes only by a transition');
  return write(step, row, patch);
}

export async function addHistory(
  step: Step,
  row: Pick<Commands, 'id' | 'ver' | 'state'>,
  { actor, reason, data }: Change,
): Promise<void> {
  await step.rows.insertHistory({
    command_id: row.id,
    ver: row.ver,
    state: row.state,
    at_ms: step.nowMs,
    actor,
    reason: reason ? short(reason) : null,
    epoch: step.epoch,
    data: data ? JSON.stringify(data) : null,
  });
}

/** What a person must see of a command, also of one that is over: its state stays what it is. */
export async function addAlarm(
  step: Step,
  row: Commands,
  { result, reason }: { result: string; reason: string },
): Promise<Commands> {
  const alarmed = await write(step, row, { alarmed_at_ms: step.nowMs, result });
  addEvent(step, alarmed, short(reason));
  return alarmed;
}

export function addEvent(step: Step, row: Commands, reason = row.state_reason): void {
  const { id, cluster, kind, target_kind: targetKind, target_id: target, executor } = row;
  const isGuest = targetKind === 'guest';
  const at = { node: isGuest ? executor : target, guest: isGuest ? target : null };
  step.events.push({ id, cluster, kind, state: stateOf(row), atMs: step.nowMs, reason, ...at });
}

/**
 * Gives the target back. A wake may have taken it from an INDETERMINATE power-off, which then
 * holds it again: only proof or a person's word frees it from that one.
 */
async function release(step: Step, row: Commands): Promise<void> {
  const target = targetOf(row);
  const uncertain = await step.rows.commandsOf(row.cluster, { states: ['INDETERMINATE'], target });
  const [heir] = uncertain
    .filter(({ id, kind }) => id !== row.id && !repeatableKinds.has(kind as CommandKind))
    .sort((a, b) => a.generation - b.generation);
  const patch = { active_command: heir?.id ?? null };
  await step.rows.updateTarget(target, patch, { active_command: row.id });
}

/** What people want of a node, as far as commands have said it. */
async function wish(step: Step, row: Commands, from: CommandState): Promise<void> {
  const to = stateOf(row);
  const kind = kindOf(row);
  const hasFailed = (to === 'REJECTED' || to === 'FAILED') && activeStates.includes(from);
  const isOff = kind === 'node.shutdown' && to === 'GRANTED';
  const isOn =
    (kind === 'node.wake' && to === 'GRANTED') || (kind === 'node.shutdown' && hasFailed);
  if (!isOff && !isOn) return;
  const node = { cluster: row.cluster, id: row.target_id };
  await step.rows.updateNode(node, { desired: isOff ? 'asleep' : 'awake' });
}

async function openedSeqOf(step: Step, id: string): Promise<number | null> {
  const first = await step.rows.history(id, 1);
  const data = JSON.parse(first?.data ?? '{}') as { auditSeq?: number };
  return data.auditSeq ?? null;
}

export const subjectOf = (row: Pick<Commands, 'id'>): string => `command:${row.id}`;

async function closeAudit(step: Step, row: Commands, actor: string): Promise<void> {
  await appendEntry(step.rows, {
    chain: row.cluster,
    actor,
    action: `command.${row.state.toLowerCase()}`,
    subject: subjectOf(row),
    phase: 'closed',
    openedSeq: await openedSeqOf(step, row.id),
    detail: {
      kind: row.kind,
      target: row.target_id,
      reason: row.state_reason,
      witnesses: JSON.parse(row.witnesses) as unknown,
      epoch: step.epoch,
    },
    atMs: step.nowMs,
  });
}

export async function move(
  step: Step,
  row: Commands,
  trigger: Trigger,
  change: Change,
): Promise<Commands> {
  const from = stateOf(row);
  const transition = transitionOf(from, trigger);
  assert(transition, `${row.id}: no transition ${trigger} from ${from}`);
  const to = transition.to;
  const reason = change.reason === undefined ? null : change.reason && short(change.reason);
  const moved = await write(step, row, {
    ...(trigger === 'regrant' ? {} : schedule(step, row, to)),
    state: to,
    state_reason: reason,
    ...change.patch,
  });
  await addHistory(step, moved, { ...change, reason });
  if (cancellableStates.includes(from) && !cancellableStates.includes(to)) {
    await step.rows.dropOutbox(row.id);
  }
  if (activeStates.includes(from) && releasesTarget(kindOf(row), to)) await release(step, moved);
  await wish(step, moved, from);
  if (to !== from) await noteOutcome(step, moved);
  addEvent(step, moved);
  if (isTerminal(to)) await closeAudit(step, moved, change.actor);
  return moved;
}

/** A command of this cluster as it stands now, inside the step. */
export async function readCommand(step: Step, id: string): Promise<Commands | undefined> {
  const row = await step.rows.command(id);
  return row?.cluster === step.cluster.id ? row : undefined;
}
