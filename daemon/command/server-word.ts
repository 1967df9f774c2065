/**
 * What the server asks and says of a command, as transitions of machine.ts: probe, verdict, sync.
 * Invariant: its word alone never starts anything; it only ends what has not started, or asks. An
 * id it believes granted that this journal has never seen gets a tombstone: without one a late
 * grant could still start it after the server took our silence for proof. Pure.
 */
import { type CommandState as ServerState, isTerminal } from '../../broker/contract/command.ts';
import type { Report, Verdict } from '../../broker/contract/report.ts';
import {
  type Command,
  common,
  type Effect,
  type Input,
  interrupted,
  type Moment,
  neverSeen,
  over,
  refuse,
  repeatOutcome,
  type Step,
  unseen,
} from './command-state.ts';
import { addReport, numbered, withoutReport } from './reports.ts';

export function probed(
  command: Command | undefined,
  { probe, reach }: Extract<Input, { type: 'probed' }>,
  at: Moment,
): Step | undefined {
  if (probe.role === 'witness') {
    const base: Command = command ?? { ...unseen(at, 0), phase: 'witness' };
    return { command: base, effects: [{ type: 'observe', probe, ...(reach && { reach }) }] };
  }
  if (!command) return refuse(unseen(at, at.incarnation), neverSeen, at);
  switch (command.phase) {
    case 'witness':
      return refuse(common(command), neverSeen, at);
    case 'received':
    case 'claiming':
      return refuse(common(command), interrupted, at);
    case 'granted':
      return undefined;
    case 'refused':
      return repeatOutcome(command, at);
    case 'started':
      return { command, effects: [{ type: 'observe', probe }] };
    case 'finished':
    default: {
      const { command: repeated, effects } = repeatOutcome(command, at);
      return { command: repeated, effects: [...effects, { type: 'observe', probe }] };
    }
  }
}

export function observed(
  command: Command,
  { role, postcondition, detail }: Extract<Input, { type: 'observed' }>,
  at: Moment,
): Step {
  const { phase } = command;
  const isBegun = phase === 'started' || phase === 'finished';
  const started = phase === 'witness' ? null : isBegun;
  const report = numbered(command, at, { step: 'probed', role, started, postcondition, detail });
  const others = command.unconfirmed.filter((one) => one.step !== 'probed' || one.role !== role);
  const next = {
    ...command,
    ...addReport({ ...common(command), unconfirmed: others }, report, at),
  };
  const effects: Effect[] = [{ type: 'report', report }];
  return { command: next, effects: isBegun ? [{ type: 'journal' }, ...effects] : effects };
}

/** The server may call it over before it hears what is left to a person, who must be told. */
const isOwed = (report: Report): boolean => report.step === 'finished' && report.left !== undefined;

export function judged(command: Command, verdict: Verdict, at: Moment): Step | undefined {
  const isOver = isTerminal(verdict.state);
  const { phase } = command;
  const isUnstarted = phase === 'received' || phase === 'claiming' || phase === 'granted';
  if (isUnstarted && isOver) return refuse(common(command), over, at, true);
  const unheard = withoutReport(command.unconfirmed, verdict.n);
  const unconfirmed = isOver ? unheard.filter(isOwed) : unheard;
  if (unconfirmed.length === command.unconfirmed.length) return undefined;
  const resend = unconfirmed.length === 0 ? null : command.resend;
  const isFinal = phase === 'finished' || phase === 'refused';
  return {
    command: { ...command, unconfirmed, resend },
    effects: isFinal ? [{ type: 'journal' }] : [],
  };
}

/** From the grant on the server must assume an effect; only these need a word from us. */
const mayHaveHappened: ReadonlySet<ServerState> = new Set([
  'GRANTED',
  'RUNNING',
  'VERIFYING',
  'CANCELLING',
  'INDETERMINATE',
] as const);

export function synced(
  command: Command | undefined,
  state: ServerState | 'absent',
  at: Moment,
): Step | undefined {
  const isOver = state === 'absent' || isTerminal(state);
  const isActive = state !== 'absent' && mayHaveHappened.has(state);
  if (!command) return isActive ? refuse(unseen(at, at.incarnation), neverSeen, at) : undefined;
  switch (command.phase) {
    case 'witness':
      return isActive ? refuse(common(command), neverSeen, at) : undefined;
    case 'received':
    case 'claiming':
      if (isOver) return refuse(common(command), over, at, true);
      if (!isActive || command.voidAtMs !== null) return undefined;
      return refuse(common(command), interrupted, at);
    case 'granted':
    case 'started':
      return undefined;
    case 'finished':
    case 'refused':
    default: {
      if (isOver && command.unconfirmed.some((report) => !isOwed(report))) {
        const unconfirmed = command.unconfirmed.filter(isOwed);
        const resend = unconfirmed.length === 0 ? null : command.resend;
        const settled: Command = { ...command, unconfirmed, resend };
        return { command: settled, effects: [{ type: 'journal' }] };
      }
      const isBehind = state === 'GRANTED' || state === 'RUNNING' || command.phase === 'refused';
      return isActive && isBehind ? repeatOutcome(command, at) : undefined;
    }
  }
}
