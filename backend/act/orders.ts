/**
 * What people may do to a command that exists: approve it, cancel it before it can have begun,
 * call a running migration back, and say how an uncertain one ended. Each is one step and one audit entry under their name.
 */
import type { CommandState } from '../../broker/contract/command.ts';
import { textLengthMax } from '../../broker/contract/limits.ts';
import { appendEntry } from '../audit/entry.ts';
import type { Commands } from '../store/sql/schema.ts';
import { withdrawWakes } from './awaken.ts';
import { kindOf, move, readCommand, stateOf, subjectOf } from './ledger.ts';
import { isAbortable, transitionOf, type Trigger } from './lifecycle.ts';
import type { Refused } from '../refusal.ts';
import { answer, refuse } from './refusal.ts';
import { type Context, inStep, say, type Step } from './step.ts';
import { queue } from './planned.ts';
import { takeLease } from './submit.ts';
import { waitsForNode } from './wake-first.ts';
import { parseWitnesses, withWitness } from './witnesses.ts';

export type StateAnswer = { ok: true; state: CommandState } | Refused;
export type Statement = { outcome: 'succeeded' | 'failed'; note: string; actor: string };

const unknownCommand = (id: string): never =>
  refuse(404, 'KR_UNKNOWN_COMMAND', {
    field: 'id',
    detail: `there is no command ${id}`,
    wayOut: 'see GET /api/v1/commands',
  });

function demand(row: Commands, trigger: Trigger, wayOut: string): void {
  if (transitionOf(stateOf(row), trigger)) return;
  const detail = `the command is ${row.state}`;
  refuse(409, 'KR_COMMAND_STATE', { field: 'id', detail, wayOut });
}

const onCommand = (
  context: Context,
  id: string,
  work: (step: Step, row: Commands) => Promise<Commands>,
): Promise<StateAnswer> =>
  answer(async () => {
    const { cluster } = (await context.store.reads.command(id)) ?? unknownCommand(id);
    await takeLease(context, cluster);
    return inStep(context, cluster, async (step) => {
      const row = (await readCommand(step, id)) ?? unknownCommand(id);
      return { ok: true, state: stateOf(await work(step, row)) };
    });
  });

/** The executor is told at once, and again with every heartbeat it sends. */
async function abort(step: Step, row: Commands, actor: string): Promise<Commands> {
  const reason = `called back by ${actor}`;
  const after = await move(step, row, 'abort', { actor, reason });
  const body = { commandId: row.id, n: Math.max(1, row.last_n), state: stateOf(after), reason };
  say(step, 'verdict', { node: row.executor, body });
  return after;
}

export const cancel = (context: Context, id: string, actor: string): Promise<StateAnswer> =>
  onCommand(context, id, async (step, row) => {
    if (stateOf(row) === 'RUNNING' && isAbortable(kindOf(row))) return abort(step, row, actor);
    const wayOut = 'only what has not been granted can be cancelled, and a migration that runs';
    demand(row, 'cancel', `${wayOut}; wait for its end`);
    const cancelled = await move(step, row, 'cancel', { actor, reason: `cancelled by ${actor}` });
    await withdrawWakes(step, cancelled, actor);
    return cancelled;
  });

export const approve = (context: Context, id: string, actor: string): Promise<StateAnswer> =>
  onCommand(context, id, async (step, row) => {
    demand(row, 'queue', 'only a planned command waits for approval');
    if (waitsForNode(row)) {
      refuse(409, 'KR_COMMAND_STATE', {
        field: 'id',
        detail: `the command is approved, and waits for node ${row.executor}`,
        wayOut: 'wait until the node is awake and ready, or cancel it',
      });
    }
    if (step.isHeld) {
      refuse(409, 'KR_HOLD', {
        field: 'id',
        detail: `cluster ${row.cluster} is on hold`,
        wayOut: 'an administrator releases HOLD, then the command is sent again',
      });
    }
    if (row.expires_at_ms <= step.nowMs) {
      return move(step, row, 'expire', { actor: 'act', reason: 'approved too late' });
    }
    const queued = await queue(step, row, actor);
    await appendEntry(step.rows, {
      chain: row.cluster,
      actor,
      action: 'command.approved',
      subject: subjectOf(row),
      phase: 'done',
      detail: { kind: row.kind, target: row.target_id },
      atMs: step.nowMs,
    });
    return queued;
  });

/** SAFETY t15: a person's word is a witness, kept under their name. */
export const resolve = (
  context: Context,
  id: string,
  { outcome, note, actor }: Statement,
): Promise<StateAnswer> =>
  onCommand(context, id, (step, row) => {
    if (note.trim() === '' || note.length > textLengthMax) {
      refuse(400, 'KR_INVALID', {
        field: 'note',
        detail: 'says nothing or too much',
        wayOut: `say in 1 to ${textLengthMax} characters what you saw`,
      });
    }
    demand(row, 'resolve-failed', 'only an INDETERMINATE command can be resolved');
    const witness = { kind: 'person', by: actor, atMs: step.nowMs, detail: note } as const;
    const trigger = outcome === 'succeeded' ? 'resolve-succeeded' : 'resolve-failed';
    const witnesses = JSON.stringify(withWitness(parseWitnesses(row.witnesses), witness));
    return move(step, row, trigger, { actor, reason: note, patch: { witnesses } });
  });

export type Confirmed = { ok: true } | Refused;

/** The way out of KR_NEW_JOURNAL: a person has looked at what the lost journal may have begun. */
export const confirmJournal = (
  context: Context,
  at: { cluster: string; node: string },
  actor: string,
): Promise<Confirmed> =>
  answer(async () => {
    await takeLease(context, at.cluster);
    return inStep(context, at.cluster, async ({ rows, nowMs }) => {
      const node = { cluster: at.cluster, id: at.node };
      if (!(await rows.updateNode(node, { journal_confirmed: 1 }))) {
        refuse(404, 'KR_UNKNOWN_NODE', {
          field: 'node',
          detail: `cluster ${at.cluster} has no node ${at.node}`,
          wayOut: 'see GET /api/v1/nodes',
        });
      }
      await appendEntry(rows, {
        chain: at.cluster,
        actor,
        action: 'node.journal-confirmed',
        subject: `node:${at.node}`,
        phase: 'done',
        detail: {},
        atMs: nowMs,
      });
      return { ok: true } as const;
    });
  });
