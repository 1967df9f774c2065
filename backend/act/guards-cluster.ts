/**
 * The guards of time and control over a whole cluster (SAFETY T1 to T3, A1, B1): what is stale,
 * too young or frozen is left alone. They bind whatever may take a service away; waking and
 * starting stay possible. Pure.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import { type Guard, type GuardFacts, isFresh, judged, type Says } from './guard.ts';
import { isDestructive, isPowerOff } from './lifecycle.ts';

const clockOffsetMaxMs = 2_000;
const staleRatio = 0.2;

/** Frozen means observe only: the engine does nothing but wake, nobody switches anything off. */
const isBoundByFreeze = ({ kind, origin }: GuardFacts): boolean =>
  isPowerOff(kind) || (origin === 'engine' && kind !== 'node.wake');

const notWake = (kind: CommandKind): boolean => kind !== 'node.wake';

export const isMostlyStale = (
  { expected, stale }: GuardFacts['awake'],
  staleNodesMin: number,
): boolean => stale >= Math.max(staleNodesMin, expected * staleRatio);

const stale: Guard = {
  id: 'stale-nodes',
  appliesTo: notWake,
  verdict(facts) {
    const { awake, limits } = facts;
    const isDenied = isBoundByFreeze(facts) && isMostlyStale(awake, limits.staleNodesMin);
    return judged(
      'T1',
      [
        { name: 'expectedAwake', value: awake.expected },
        { name: 'staleNodes', value: awake.stale },
      ],
      isDenied
        ? {
            code: 'KR_STALE',
            reason: `${awake.stale} of ${awake.expected} nodes that should be awake are not heard`,
            wayOut:
              'bring them back, or put them in maintenance; the cluster is only observed till then',
          }
        : null,
    );
  },
};

const frozen: Guard = {
  id: 'frozen',
  appliesTo: notWake,
  verdict(facts) {
    const { frozenUntilMs, frozenReason } = facts.cluster;
    const isFrozen = (frozenUntilMs ?? 0) > facts.nowMs;
    return judged(
      'B1',
      [
        { name: 'frozenUntilMs', value: frozenUntilMs },
        { name: 'frozenReason', value: frozenReason },
      ],
      isFrozen && isBoundByFreeze(facts)
        ? {
            code: 'KR_FROZEN',
            reason: `the cluster is frozen: ${frozenReason ?? 'no reason kept'}`,
            wayOut:
              'look into it, then an administrator lifts it: PATCH the cluster with frozen false',
          }
        : null,
    );
  },
};

/** What is decided by a sample needs one of now; power-offs have a row of their own for it. */
const fresh: Guard = {
  id: 'fresh',
  appliesTo: (kind) => isDestructive(kind) && kind !== 'guest.create' && !isPowerOff(kind),
  verdict({ executor }) {
    const ageMs = executor?.sampleAgeMs ?? null;
    return judged(
      'T1',
      [
        { name: 'sampleAgeMs', value: ageMs, unit: 'ms' },
        { name: 'freshMs', value: executor?.freshMs ?? null, unit: 'ms' },
      ],
      executor && isFresh(executor)
        ? null
        : {
            code: 'KR_STALE',
            reason: `the newest sample of node ${executor?.id ?? 'unknown'} is ${ageMs === null ? 'missing' : `${Math.round(ageMs)} ms old`}`,
            wayOut: 'wait for a fresh sample; see the log of its daemon',
          },
    );
  },
};

function clockDenial({ executor }: GuardFacts): Says | null {
  const offset = executor?.clockOffsetMs ?? null;
  if (offset !== null && Math.abs(offset) <= clockOffsetMaxMs) return null;
  return {
    code: 'KR_CLOCK',
    reason:
      offset === null
        ? `the clock of node ${executor?.id ?? 'unknown'} was not compared with ours yet`
        : `the clock of node ${executor?.id} is ${Math.round(offset)} ms away from ours`,
    wayOut: offset === null ? 'wait for its next sample' : 'repair its time synchronisation',
  };
}

const clock: Guard = {
  id: 'clock',
  appliesTo: isDestructive,
  verdict: (facts) =>
    judged(
      'T2',
      [{ name: 'clockOffsetMs', value: facts.executor?.clockOffsetMs ?? null, unit: 'ms' }],
      clockDenial(facts),
    ),
};

/** Time alone does not make the picture whole; a hold of nothing is a world that never waits. */
function startupDenial({ listeningForMs, limits, awake }: GuardFacts): Says | null {
  if (listeningForMs < limits.startupHoldMs) {
    return {
      code: 'KR_STARTING',
      reason: `this server started ${Math.round(listeningForMs)} ms ago and is still looking`,
      wayOut: `send it again ${Math.ceil((limits.startupHoldMs - listeningForMs) / 1_000)} s from now`,
    };
  }
  if (awake.unheard === 0 || limits.startupHoldMs === 0) return null;
  return {
    code: 'KR_SNAPSHOT',
    reason: `${awake.unheard} of ${awake.expected} nodes that should be awake have not been heard since this server started`,
    wayOut: 'bring them back, or put them in maintenance; then the picture is whole',
  };
}

const startup: Guard = {
  id: 'startup',
  appliesTo: isDestructive,
  verdict(facts) {
    const { listeningForMs, limits, awake } = facts;
    return judged(
      'T3',
      [
        { name: 'listeningForMs', value: Math.round(listeningForMs), unit: 'ms' },
        { name: 'startupHoldMs', value: limits.startupHoldMs, unit: 'ms' },
        { name: 'unheardNodes', value: awake.unheard },
      ],
      startupDenial(facts),
    );
  },
};

const paused: Guard = {
  id: 'manual-pause',
  // Wakes too: who switched a node off by hand may have a hand in it.
  appliesTo: () => true,
  verdict: ({ pausedUntilMs, origin, nowMs, target }) =>
    judged(
      'A1',
      [
        { name: 'pausedUntilMs', value: pausedUntilMs },
        { name: 'origin', value: origin },
      ],
      origin === 'engine' && (pausedUntilMs ?? 0) > nowMs
        ? {
            code: 'KR_PAUSED',
            reason: `a person acted on ${target.kind} ${target.id}; automation leaves it alone for now`,
            wayOut: 'wait until the pause is over, or send the command yourself',
          }
        : null,
    ),
};

const neverAutomatic: Guard = {
  id: 'never-automatic',
  appliesTo: (kind) => kind === 'guest.delete',
  verdict: ({ origin, target }) =>
    judged(
      'A1',
      [{ name: 'origin', value: origin }],
      origin === 'engine'
        ? {
            code: 'KR_NEVER_AUTOMATIC',
            reason: `guest ${target.id} would be deleted, and nothing is deleted automatically`,
            wayOut: 'a person deletes it',
          }
        : null,
    ),
};

export const clusterGuards: readonly Guard[] = [
  frozen,
  stale,
  fresh,
  startup,
  clock,
  paused,
  neverAutomatic,
];
