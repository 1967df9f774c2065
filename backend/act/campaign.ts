/**
 * A proving campaign: off, wake, rejoined, as often as asked, on one emptied node with a person at
 * hand. It sends ordinary commands under all other guards and is the one thing that may pass the
 * wake proof's own row, by name, and never for another node. This file holds what is next, as
 * data; it is derived from the row and the world anew each time, so a restart loses nothing. Pure.
 */
import type { CommandState } from '../../broker/contract/command.ts';
import { isTerminal } from '../../broker/contract/command.ts';
import type { Denial } from './guard.ts';
import { isUnderWay } from './lifecycle.ts';

export const cyclesMax = 10;
/** A changed kernel voids what was shown before it; that may happen to a campaign so often. */
const voidedMax = 3;
/** Asked for again after a refusal by guards at the grant, and after an offer nobody claimed. */
const attemptsMax = 10;

export type CampaignPhase = 'off' | 'wake' | 'rejoin';

export type Campaign = {
  id: string;
  cluster: string;
  node: string;
  waker: string;
  cycles: number;
  phase: CampaignPhase;
  /** Power-offs that were asked for. */
  attempts: number;
  /** Cycles that came to their end. */
  done: number;
  deadlineAtMs: number;
  /** Nothing is sent before. */
  nextAtMs: number;
  /** Nobody is at hand any more: the node is still woken, and not switched off again. */
  isCancelled: boolean;
  /** Witnesses saw it off in this cycle; only such a cycle shows anything. */
  isOffSeen: boolean;
};

export type View = {
  campaign: Campaign;
  nowMs: number;
  isHeld: boolean;
  /** The command of this phase; null before it was sent. */
  command: { state: CommandState; reason: string | null; grantedAtMs: number | null } | null;
  /** What stands against the next command now, asked without sending it. */
  denial: Denial | null;
  /** Successful cycles of this campaign that still count for what the node is today. */
  proven: number;
  /** It is back: its daemon speaks, and its cluster counts it. */
  hasRejoined: boolean;
  rejoinMaxMs: number;
  /** From the grant of the power-off until it must have been seen. */
  offMaxMs: number;
  /** So long a node that sleeps waits for what stands against its wake. */
  wakeMaxMs: number;
};

export type CampaignStep =
  | { do: 'wait'; why: string }
  | { do: 'send'; kind: 'node.shutdown' | 'node.wake' }
  | { do: 'enter'; phase: CampaignPhase; isOffSeen?: boolean }
  /** The cycle is complete. */
  | { do: 'prove'; bootMs: number }
  | {
      do: 'end';
      state: 'succeeded' | 'failed' | 'cancelled';
      why: string;
      isWakeFailure: boolean;
    };

const fail = (why: string, isWakeFailure = false): CampaignStep => ({
  do: 'end',
  state: 'failed',
  why,
  isWakeFailure,
});
const wait = (why: string): CampaignStep => ({ do: 'wait', why });
const end = (state: 'succeeded' | 'cancelled', why: string): CampaignStep => ({
  do: 'end',
  state,
  why,
  isWakeFailure: false,
});

function beforeOff({ campaign, nowMs, denial, proven, isHeld }: View): CampaignStep {
  if (proven >= campaign.cycles) return end('succeeded', `${proven} cycles proven`);
  if (campaign.isCancelled) return end('cancelled', 'cancelled; the node is awake');
  if (nowMs >= campaign.deadlineAtMs) return fail('its time is over; start it again');
  if (campaign.done >= campaign.cycles + voidedMax) {
    return fail('the node changed its kernel, firmware or card again and again');
  }
  if (campaign.attempts >= campaign.done + attemptsMax) {
    return fail('the node was asked to switch off too often without doing it');
  }
  if (isHeld) return wait('HOLD');
  if (denial) return wait(`${denial.reason}; ${denial.wayOut}`);
  if (nowMs < campaign.nextAtMs) return wait('a pause before the next cycle');
  return { do: 'send', kind: 'node.shutdown' };
}

function duringOff(view: View): CampaignStep {
  const { command, nowMs, offMaxMs } = view;
  if (!command) return beforeOff(view);
  const { state, reason, grantedAtMs } = command;
  if (!isTerminal(state)) {
    // It may lie there asleep, and nobody must be left to find that out: it is woken all the same.
    const isOverdue = grantedAtMs !== null && nowMs - grantedAtMs > offMaxMs;
    if (isOverdue) return { do: 'enter', phase: 'wake', isOffSeen: false };
    return wait(`the node switches off: ${state}`);
  }
  if (state === 'SUCCEEDED') return { do: 'enter', phase: 'wake', isOffSeen: true };
  // Nothing has happened yet in these; guards may pass later.
  if (state === 'REJECTED' || state === 'EXPIRED') return { do: 'enter', phase: 'off' };
  if (state === 'CANCELLED') return end('cancelled', reason ?? 'its power-off was cancelled');
  return fail(`its power-off failed: ${reason ?? 'no reason kept'}`);
}

const unseen =
  'nobody saw it off in time; let another daemon in its network, or its cluster, be a witness, and begin again';

function beforeWake({ campaign, isHeld, nowMs, denial, wakeMaxMs }: View): CampaignStep {
  if (isHeld) return wait('HOLD: the node stays asleep until it is released');
  if (nowMs < campaign.nextAtMs) return wait('a pause, so that it is really off');
  if (denial === null) return { do: 'send', kind: 'node.wake' };
  if (denial.code === 'KR_ALREADY_AWAKE') {
    const woken = 'it was awake before its wake was sent: by hand, or by itself; begin again';
    return fail(campaign.isOffSeen ? woken : `it is awake, and ${unseen}`);
  }
  if (nowMs - campaign.nextAtMs > wakeMaxMs) {
    return fail(`it sleeps and could not be woken, switch it on by hand: ${denial.reason}`);
  }
  return wait(`${denial.reason}; ${denial.wayOut}`);
}

function duringWake(view: View): CampaignStep {
  const { campaign, command } = view;
  if (!command) return beforeWake(view);
  const { state, reason, grantedAtMs } = command;
  if (state === 'SUCCEEDED') return { do: 'enter', phase: 'rejoin' };
  if (isUnderWay(state)) return wait(`the node is being woken: ${state}`);
  // Before the grant nothing was sent, so nothing was shown about the way.
  if (grantedAtMs === null) return { do: 'enter', phase: 'wake' };
  return fail(`it was not woken by ${campaign.waker}: ${reason ?? state}`, true);
}

function duringRejoin({ campaign, command, nowMs, hasRejoined, rejoinMaxMs }: View): CampaignStep {
  const sentAtMs = command?.grantedAtMs ?? null;
  if (sentAtMs === null) return fail('the wake of this cycle is not on record');
  const bootMs = nowMs - sentAtMs;
  if (bootMs > rejoinMaxMs) {
    const minutes = Math.round(rejoinMaxMs / 60_000);
    return fail(`it woke and did not rejoin its cluster within ${minutes} minutes`, true);
  }
  if (!hasRejoined) return wait('it is awake and has yet to rejoin');
  return campaign.isOffSeen ? { do: 'prove', bootMs } : fail(`it is awake again, but ${unseen}`);
}

/** What is to be done now; one thing, and the same thing for the same view. */
export function nextStep(view: View): CampaignStep {
  switch (view.campaign.phase) {
    case 'off':
      return duringOff(view);
    case 'wake':
      return duringWake(view);
    case 'rejoin':
      return duringRejoin(view);
    default:
      return view.campaign.phase satisfies never;
  }
}

/**
 * Denials that time alone lifts, or another command of the cluster: a campaign begins all the
 * same and waits. Every other one refuses it, with its way out.
 */
const passing: ReadonlySet<string> = new Set([
  'KR_UP_TOO_SHORT',
  'KR_LIMITER',
  'KR_MEMBERSHIP_UNSTABLE',
  'KR_POWER_OFF_IN_FLIGHT',
  'KR_STARTING',
  'KR_SNAPSHOT',
  'KR_TOO_MANY_CYCLES',
  'KR_WINDOW',
  'KR_WAKE_TABLE',
  'KR_COMMANDS_MAX',
]);
export const passesWithTime = ({ code }: Denial): boolean => passing.has(code);
