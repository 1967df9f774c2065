/**
 * Between a command as the machine knows it and as the journal keeps it. Invariant: what comes
 * back after a restart never holds more permission than was written: a claim or a grant that had
 * not started is only an offer again, without its time to live. Pure.
 */
import assert from 'node:assert/strict';
import type { OpenCommand } from '../../broker/contract/presence.ts';
import type { Command, Moment } from './command-state.ts';
import type { CommandRecord } from './journal-format.ts';
import { firstResend, isDurable } from './reports.ts';

export function toRecord(command: Command, atMs: number): CommandRecord {
  assert(command.phase !== 'witness', 'a witness has nothing to remember');
  const { commandId, node, seenIncarnation, n } = command;
  const unconfirmed = command.unconfirmed.filter(isDurable);
  const nothing = { offer: null, grant: null, handle: null, bootId: null, outcome: null };
  const kept = { ...nothing, commandId, node, seenIncarnation, n, atMs, unconfirmed };
  switch (command.phase) {
    case 'started': {
      const { phase, grant, handle, bootId } = command;
      return { ...kept, phase, grant, handle, bootId };
    }
    case 'finished': {
      const { phase, grant, handle, bootId, outcome } = command;
      return { ...kept, phase, grant, handle, bootId, outcome };
    }
    case 'refused':
      return { ...kept, phase: command.phase, outcome: command.outcome };
    case 'received':
    case 'claiming':
    case 'granted':
    default:
      return { ...kept, phase: 'received', offer: command.offer };
  }
}

export function fromRecord(record: CommandRecord, at: Pick<Moment, 'nowMs' | 'ratio'>): Command {
  const { commandId, node, seenIncarnation, n, unconfirmed } = record;
  const resend = unconfirmed.length > 0 ? firstResend(at) : null;
  const common = { commandId, node, seenIncarnation, n, unconfirmed, resend };
  const { phase, offer, grant, handle, bootId, outcome } = record;
  switch (phase) {
    case 'received':
      assert(offer, 'a received command has its offer');
      return { ...common, phase, offer, voidAtMs: null };
    case 'started':
      assert(grant, 'a started command has its grant');
      return { ...common, phase, grant, handle, bootId, heartbeatAtMs: at.nowMs };
    case 'finished':
      assert(grant && outcome, 'a finished command has its grant and outcome');
      return { ...common, phase, grant, handle, bootId, outcome };
    case 'refused':
    default:
      assert(outcome, 'a refused command has its tombstone');
      return { ...common, phase: 'refused', outcome };
  }
}

/** Nothing more to do or to say: the journal alone remembers it. */
export const isSettled = (command: Command): boolean =>
  (command.phase === 'finished' || command.phase === 'refused') && command.unconfirmed.length === 0;

const urgency = ['started', 'finished', 'refused', 'received'] as const;

/** For the hello, what matters most first, since its list is bounded. */
export function openCommandsOf(commands: readonly Command[]): OpenCommand[] {
  const open = commands.flatMap((command): OpenCommand[] => {
    const { commandId, n, phase } = command;
    if (phase === 'witness') return [];
    const handle = phase === 'started' || phase === 'finished' ? command.handle : null;
    const isBefore = phase === 'received' || phase === 'claiming' || phase === 'granted';
    return [{ commandId, n, handle, phase: isBefore ? 'received' : phase }];
  });
  return open.sort((a, b) => urgency.indexOf(a.phase) - urgency.indexOf(b.phase));
}
