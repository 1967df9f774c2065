/**
 * The life of a command as data: every transition SAFETY 3.2 allows, and nothing else. What is
 * not in the table is refused; a terminal state has no row, so it never changes. Pure: deadlines
 * are durations, and whoever holds the store's clock adds them to its now.
 *
 *            plan        queue         offer         grant          start         finish
 *         o ------ PLANNED ---- QUEUED ---- OFFERED ------ GRANTED ------ RUNNING ------ VERIFYING
 *                     |           |  \________grant________/ | ^ regrant    |  \            |
 *                     +--- reject, cancel, expire ---+       | |  |         |   abort       |
 *                                    |               |       | +--+         |     \         |
 *                                    v               |       |              | CANCELLING    |
 *                          REJECTED CANCELLED        |       |              |     | finish  |
 *                          EXPIRED  (final)          |       |              |     +---------+
 *                             ^---- refuse ----------|-------+              |               |
 *                                                    +------- lose ---------+---------------+
 *                                                                           v
 *      SUCCEEDED (final) <---- succeed, resolve ----  INDETERMINATE (probe: stays)
 *      FAILED    (final) <---- fail, resolve -------
 *      GRANTED, RUNNING and VERIFYING succeed and fail as INDETERMINATE does.
 */
import {
  type CommandKind,
  type CommandState,
  commandStates,
  isTerminal,
  repeatableKinds,
} from '../../broker/contract/command.ts';
import { heartbeatIntervalMs } from '../../broker/contract/limits.ts';

export const triggers = [
  'queue',
  'reject',
  'cancel',
  'offer',
  'expire',
  'grant',
  'regrant',
  'start',
  'refuse',
  'finish',
  'abort',
  'lose',
  'succeed',
  'fail',
  'probe',
  'resolve-succeeded',
  'resolve-failed',
] as const;
export type Trigger = (typeof triggers)[number];

export type Transition = {
  /** Row of SAFETY 3.2. */
  id: string;
  from: CommandState;
  to: CommandState;
  trigger: Trigger;
  condition: string;
};

const rows = (
  id: string,
  from: readonly CommandState[],
  [trigger, to]: readonly [Trigger, CommandState],
  condition: string,
): Transition[] => from.map((state) => ({ id, from: state, to, trigger, condition }));

const beforeGrant = ['PLANNED', 'QUEUED', 'OFFERED'] as const;
const mayHaveHappened = ['GRANTED', 'RUNNING', 'VERIFYING', 'INDETERMINATE'] as const;

/** t1 is the insert of the row itself: nothing comes before PLANNED. */
export const transitions: readonly Transition[] = [
  ...rows('t2', ['PLANNED'], ['queue', 'QUEUED'], 'autonomy auto, or approved; limiter token'),
  ...rows('t3', beforeGrant, ['reject', 'REJECTED'], 'a guard or the executor refused'),
  ...rows('t4', beforeGrant, ['cancel', 'CANCELLED'], 'a person, HOLD, or superseded'),
  ...rows('t5', ['QUEUED'], ['offer', 'OFFERED'], 'the relay published it at least once'),
  ...rows('t6', ['QUEUED', 'OFFERED'], ['expire', 'EXPIRED'], 'store clock past expiry, no grant'),
  ...rows('t7', ['QUEUED', 'OFFERED'], ['grant', 'GRANTED'], 'claim; guards pass; target is free'),
  ...rows("t7'", ['GRANTED'], ['regrant', 'GRANTED'], 'the same claimant asks again'),
  ...rows('t7', ['GRANTED'], ['lose', 'INDETERMINATE'], 'no word within 30 s of the grant'),
  ...rows('t8', ['GRANTED'], ['start', 'RUNNING'], 'the executor journaled STARTED'),
  ...rows('t8', ['RUNNING'], ['lose', 'INDETERMINATE'], 'three heartbeats missing'),
  ...rows('t9', ['GRANTED'], ['refuse', 'REJECTED'], 'a tombstone "not started" is journaled'),
  ...rows('t10', ['RUNNING', 'CANCELLING'], ['finish', 'VERIFYING'], 'the executor finished'),
  ...rows('t10', ['VERIFYING'], ['lose', 'INDETERMINATE'], 'nobody saw the post-condition in time'),
  ...rows('t11', mayHaveHappened, ['succeed', 'SUCCEEDED'], 'enough witnesses'),
  ...rows('t12', mayHaveHappened, ['fail', 'FAILED'], 'proof of not started, or seen not to hold'),
  ...rows('t13', ['RUNNING'], ['abort', 'CANCELLING'], 'abort where the kind allows it'),
  ...rows('t13', ['CANCELLING'], ['lose', 'INDETERMINATE'], 'the abort did not end in 2 min'),
  ...rows('t14', ['INDETERMINATE'], ['probe', 'INDETERMINATE'], 'asked again, no proof yet'),
  ...rows('t15', ['INDETERMINATE'], ['resolve-succeeded', 'SUCCEEDED'], "an administrator's word"),
  ...rows('t15', ['INDETERMINATE'], ['resolve-failed', 'FAILED'], "an administrator's word"),
  ...rows('t16', ['PLANNED'], ['expire', 'EXPIRED'], 'nobody approved in time'),
];

const byPair = new Map(transitions.map((row) => [`${row.from} ${row.trigger}`, row]));

/** The one transition for this state and trigger, or undefined: refused. */
export const transitionOf = (from: CommandState, trigger: Trigger): Transition | undefined =>
  byPair.get(`${from} ${trigger}`);

/** True when `to` may directly follow `from`; the audit of a stored history asks this. */
export const mayFollow = (from: CommandState, to: CommandState): boolean =>
  transitions.some((row) => row.from === from && row.to === to);

export const openStates: readonly CommandState[] = commandStates.filter((state) =>
  transitions.some((row) => row.from === state),
);
/** Whether its end is still to come: neither over, nor given up as in doubt. */
export const isUnderWay = (state: CommandState): boolean =>
  !isTerminal(state) && state !== 'INDETERMINATE';
export const cancellableStates: readonly CommandState[] = beforeGrant;
/** From the grant on, an effect may exist: these count in every guard. */
export const activeStates: readonly CommandState[] = [...mayHaveHappened, 'CANCELLING'];

const powerOffKinds: ReadonlySet<CommandKind> = new Set(['node.shutdown', 'node.reboot']);
/** Kinds that take a node away from its cluster for a while or for good. */
export const isPowerOff = (kind: CommandKind): boolean => powerOffKinds.has(kind);

const harmlessKinds: ReadonlySet<CommandKind> = new Set([
  'node.wake',
  'node.restore',
  'guest.start',
  'guest.snapshot',
]);
/** Kinds that can take a service away; uncertainty about the executor bars these. */
export const isDestructive = (kind: CommandKind): boolean => !harmlessKinds.has(kind);

/** Kinds whose effect a hypervisor can call back half-way and leave everything as it was. */
export const isAbortable = (kind: CommandKind): boolean => kind === 'guest.migrate';

/**
 * Whether a command in this state lets another one have its target (SAFETY I7). The second one of
 * a repeatable kind equals the first, so silence about the first need not block it.
 */
export const releasesTarget = (kind: CommandKind, state: CommandState): boolean =>
  state === 'INDETERMINATE' ? repeatableKinds.has(kind) : !activeStates.includes(state);

/**
 * Whether it takes one of the places that a cluster has for commands at once. One of a repeatable
 * kind that is in doubt has given its target back, and its place with it.
 */
export const occupiesPlace = ({ kind, state }: { kind: CommandKind; state: CommandState }) =>
  state !== 'INDETERMINATE' || !repeatableKinds.has(kind);

const second = 1_000;
const minute = 60 * second;

export const plannedTtlMs = 10 * minute;
/** Autonomy `approve`: people sleep, and a policy may say otherwise. */
export const approvalTtlMs = 240 * minute;
export const grantedTimeoutMs = 30 * second;
/** Three heartbeats missed. */
export const silenceTimeoutMs = 3 * heartbeatIntervalMs;
export const alarmAfterMs = 5 * minute;
const abortTimeoutMs = 2 * minute;

/** How long an offer stands before it is too old to be what anyone still wants. */
export const offerTtlMs = (kind: CommandKind): number =>
  isPowerOff(kind) || kind === 'node.wake' ? minute : 5 * minute;

/** Three times the longest usual case, where nothing better is known of the command. */
const effectMs: Record<CommandKind, number> = {
  'node.shutdown': 15 * minute,
  'node.reboot': 15 * minute,
  // A wake proves itself by rejoining within ten minutes (SAFETY W1).
  'node.wake': 10 * minute,
  'node.drain': 60 * minute,
  'node.restore': 60 * minute,
  'guest.create': 30 * minute,
  'guest.delete': 10 * minute,
  'guest.start': 5 * minute,
  'guest.stop': 5 * minute,
  'guest.restart': 10 * minute,
  'guest.snapshot': 15 * minute,
  'guest.migrate': 15 * minute,
  'guest.scale': 5 * minute,
};

const effectMaxMs = 60 * minute;
/** A container of terabytes takes its time; no tool may act for longer. */
const migrateMaxMs = 24 * 60 * minute;

/** What is known of a command's size, for the time it may take. */
export type Effort = {
  stopTimeoutMs: number | null;
  migrateEstimateMs: number | null;
  /** Whether the estimate rests on migrations that were seen, not on what a policy assumes. */
  isMeasured?: boolean;
  /** How long the node was measured to take from the wake to its cluster. */
  bootEstimateMs?: number | null;
};

/** Time for the effect to be over and seen, from its start; also the grant's `timeoutMs`. */
export function effectTimeoutMs(kind: CommandKind, effort: Effort): number {
  const usual = effectMs[kind];
  if (kind === 'guest.stop') {
    return Math.min(effectMaxMs, Math.max(usual, (effort.stopTimeoutMs ?? 0) + 2 * minute));
  }
  if (kind === 'guest.migrate') {
    // Only a measured speed shortens the usual time: a move that is given up has copied in vain.
    const leastMs = effort.isMeasured && effort.migrateEstimateMs !== null ? 5 * minute : usual;
    return Math.min(migrateMaxMs, Math.max(leastMs, 3 * (effort.migrateEstimateMs ?? 0)));
  }
  if (kind === 'node.wake') {
    const bootMs = effort.bootEstimateMs ?? usual;
    return Math.min(usual, Math.max(3 * minute, 3 * bootMs));
  }
  return usual;
}

/** Time in a state before the sweep acts; null: the command's own expiry, or none at all. */
export function timeoutMs(state: CommandState, effectTimeout: number): number | null {
  switch (state) {
    case 'GRANTED':
      return grantedTimeoutMs;
    case 'RUNNING':
      return silenceTimeoutMs;
    case 'VERIFYING':
      return effectTimeout;
    case 'CANCELLING':
      return abortTimeoutMs;
    case 'INDETERMINATE':
      return alarmAfterMs;
    case 'PLANNED':
    case 'QUEUED':
    case 'OFFERED':
    case 'SUCCEEDED':
    case 'FAILED':
    case 'REJECTED':
    case 'CANCELLED':
    case 'EXPIRED':
      return null;
    default:
      return state satisfies never;
  }
}
