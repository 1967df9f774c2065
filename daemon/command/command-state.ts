/**
 * What the executor knows of one command, what can happen to it and what it may ask for: the
 * vocabulary of machine.ts, where the diagram stands. Invariant: a state holds exactly what its
 * phase needs, so that an impossible one cannot be written. Pure.
 */
import type {
  Claim,
  CommandState as ServerState,
  GrantContent,
  Offer,
  Probe,
} from '../../broker/contract/command.ts';
import type { GuardFact, Report, Verdict } from '../../broker/contract/report.ts';
import type { Observation } from '../hypervisor/port.ts';
import { firstResend, numbered } from './reports.ts';

export type Repeat = { attempt: number; atMs: number };

type Common = {
  commandId: string;
  node: string;
  /** The start of the daemon in which the id was first seen. */
  seenIncarnation: number;
  n: number;
  /** Reports without a verdict, each repeated until it has one. */
  unconfirmed: readonly Report[];
  resend: Repeat | null;
};

type Received = {
  phase: 'received';
  offer: Offer;
  /** null after a restart. */ voidAtMs: number | null;
};
type Claiming = {
  phase: 'claiming';
  offer: Offer;
  voidAtMs: number;
  nonce: string;
  bootId: string | null;
  claimedAtMs: number;
  repeat: Repeat;
};
type Granted = { phase: 'granted'; offer: Offer; grant: GrantContent };
type Begun = { grant: GrantContent; handle: string | null; bootId: string | null };
type Started = { phase: 'started'; heartbeatAtMs: number } & Begun;
type Finished = { phase: 'finished'; outcome: Report } & Begun;
type Refused = { phase: 'refused'; outcome: Report };
type Witness = { phase: 'witness' };

export type Command = Common &
  (Received | Claiming | Granted | Started | Finished | Refused | Witness);
export type In<P extends Command['phase']> = Extract<Command, { phase: P }>;

export type Refusal = {
  code: string;
  reason: string;
  wayOut: string;
  /** Which guard of this node refused it, by which rule, and on what facts. */
  guard?: { id: string; rule: string; facts: GuardFact[] };
};
export type Outcome = {
  exitCode: number | null;
  postcondition: boolean | null;
  detail: string;
  output: string;
  /** What a person must still do; the server raises an alarm for it. */
  left?: string[];
};

export type Input =
  | { type: 'offered'; offer: Offer }
  /** The guards have looked. */
  | { type: 'checked'; denial: Refusal | null; bootId: string | null }
  /** Signature, addressee and epoch are already checked. */
  | { type: 'granted'; grant: GrantContent }
  | { type: 'handle'; handle: string }
  | { type: 'ended'; outcome: Outcome }
  | { type: 'probed'; probe: Probe; reach?: Observation }
  | { type: 'observed'; role: Probe['role']; postcondition: boolean | null; detail: string }
  | { type: 'verdict'; verdict: Verdict }
  /** What a signed sync says of it. */
  | { type: 'synced'; state: ServerState | 'absent' }
  | { type: 'online' }
  | { type: 'due' };

/** What the machine may not find out by itself. */
export type Moment = {
  commandId: string;
  node: string;
  /** Monotonic. */
  nowMs: number;
  ratio: number;
  /** Fresh, for a claim that needs one. */
  nonce: string;
  journalId: string;
  incarnation: number;
};

/** Done in order; whatever follows `journal` waits until it is durable. */
export type Effect =
  | { type: 'journal' }
  | { type: 'check' }
  | { type: 'claim' }
  | { type: 'perform' }
  | { type: 'observe'; probe: Probe; reach?: Observation }
  | { type: 'report'; report: Report };

export type Step = { command: Command; effects: Effect[] };

export const common = (command: Command): Common => {
  const { commandId, node, seenIncarnation, n, unconfirmed, resend } = command;
  return { commandId, node, seenIncarnation, n, unconfirmed, resend };
};

export const unseen = (at: Moment, seenIncarnation: number): Common => ({
  commandId: at.commandId,
  node: at.node,
  seenIncarnation,
  n: 0,
  unconfirmed: [],
  resend: null,
});

/** The tombstone: this id never started and never will. Silent when the server knows already. */
export function refuse(base: Common, refusal: Refusal, at: Moment, isSilent = false): Step {
  const outcome = numbered(base, at, { step: 'refused', ...refusal });
  const unconfirmed = isSilent ? [] : [outcome];
  const resend = isSilent ? null : firstResend(at);
  const command: Command = {
    ...base,
    n: outcome.n,
    unconfirmed,
    resend,
    phase: 'refused',
    outcome,
  };
  const reports: Effect[] = isSilent ? [] : [{ type: 'report', report: outcome }];
  return { command, effects: [{ type: 'journal' }, ...reports] };
}

/** A server that still asks has not heard, or has forgotten, how it ended. */
export function repeatOutcome(command: In<'finished' | 'refused'>, at: Moment): Step {
  const others = command.unconfirmed.filter((report) => report.n !== command.outcome.n);
  return {
    command: {
      ...command,
      unconfirmed: [...others, command.outcome],
      resend: firstResend(at),
    },
    effects: [{ type: 'report', report: command.outcome }],
  };
}

export const neverSeen: Refusal = {
  code: 'KR_NEVER_SEEN',
  reason: 'the journal of this executor holds no start of this command',
  wayOut: 'submit the command again',
};
export const over: Refusal = {
  code: 'KR_SETTLED',
  reason: 'the server called the command over before it started',
  wayOut: 'submit the command again if it is still wanted',
};
export const interrupted: Refusal = {
  code: 'KR_NOT_STARTED',
  reason: 'the executor restarted, or was asked for the outcome, before the command started',
  wayOut: 'submit the command again',
};
export const expired: Refusal = {
  code: 'KR_OFFER_EXPIRED',
  reason: 'no valid grant came before the offer was void',
  wayOut: 'submit the command again; check the connection between server and node',
};

/** When `due` has something to do; null: only a message moves it. */
export function nextDueMs(command: Command, isOnline: boolean): number | null {
  const times: number[] = [];
  if (command.phase === 'received' || command.phase === 'claiming') {
    if (command.voidAtMs !== null) times.push(command.voidAtMs);
  }
  if (isOnline) {
    if (command.phase === 'claiming') times.push(command.repeat.atMs);
    if (command.phase === 'started') times.push(command.heartbeatAtMs);
    if (command.resend) times.push(command.resend.atMs);
  }
  return times.length === 0 ? null : Math.min(...times);
}

export const claimOf = (
  command: In<'claiming'>,
  rest: Pick<Claim, 'journalId' | 'incarnation' | 'maxEpoch'>,
): Claim => {
  const { commandId, nonce, bootId } = command;
  return { commandId, nonce, bootId, ...rest };
};
