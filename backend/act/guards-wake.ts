/**
 * The guards of waking: never turn off what has not been proven to wake again (SAFETY W1 to W4),
 * and what a wake itself needs. Pure.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { Fact } from '../decide/plan.ts';
import { type Guard, type GuardFacts, isFresh, judged, type NodeFact, type Says } from './guard.ts';
import { isPowerOff } from './lifecycle.ts';

const proofsMin = 3;
const proofMaxAgeMs = 30 * 86_400_000;
const wakersUsual = 2;

const isSleep = (kind: CommandKind): boolean => kind === 'node.shutdown';

export const wakeable: Guard = {
  id: 'wakeable',
  appliesTo: (kind) => kind === 'node.wake',
  verdict({ wake, targetNode }) {
    const facts: Fact[] = [
      { name: 'macs', value: wake?.macs ?? null },
      { name: 'targetOnline', value: targetNode?.online ?? null },
    ];
    if (targetNode?.online) {
      return judged('W1', facts, {
        code: 'KR_ALREADY_AWAKE',
        reason: `node ${targetNode.id} is awake`,
        wayOut: 'nothing needs to be done',
      });
    }
    return judged(
      'W1',
      facts,
      wake && wake.macs > 0
        ? null
        : {
            code: 'KR_NO_WAKER',
            reason: 'no network address of the target is known',
            wayOut: 'start its daemon once while it is awake, or name args.macs',
          },
    );
  },
};

const proven: Guard = {
  id: 'wake-proof',
  appliesTo: isSleep,
  verdict({ power, limits, origin }) {
    const { succeeded = 0, youngestAgeMs = null } = power?.wakeProofs ?? {};
    const facts: Fact[] = [
      { name: 'wakeProof', value: limits.wakeProof },
      { name: 'origin', value: origin },
      { name: 'provenCycles', value: succeeded },
      { name: 'youngestProofAgeMs', value: youngestAgeMs, unit: 'ms' },
    ];
    const isProven =
      succeeded >= proofsMin && youngestAgeMs !== null && youngestAgeMs <= proofMaxAgeMs;
    // With a person at hand it is the very cycle that proves it; nobody else may try.
    const isPassed = limits.wakeProof === 'assumed' || isProven || origin === 'person';
    return judged(
      'W1',
      facts,
      isPassed
        ? null
        : {
            code: 'KR_WAKE_UNPROVEN',
            reason: `${succeeded} of ${proofsMin} cycles of sleep and wake are proven, the youngest at most 30 days old`,
            wayOut: 'prove it with a person at hand: kernreaktor prove-wake <node> --cycles 3',
          },
    );
  },
};

const broadcastsOf = (facts: NodeFacts | null): string[] =>
  (facts?.links ?? []).flatMap(({ broadcast }) => broadcast ?? []);

const wakersFor = ({ targetNode, power }: GuardFacts): NodeFact[] => {
  const domain = broadcastsOf(targetNode?.facts ?? null);
  return (power?.neighbours ?? []).filter(
    (node) =>
      isFresh(node) &&
      !power?.inDoubt.includes(node.id) &&
      (node.driver?.capabilities.includes('node.wake') ?? false) &&
      broadcastsOf(node.facts).some((broadcast) => domain.includes(broadcast)),
  );
};

const armed: Guard = {
  id: 'wake-path',
  appliesTo: isSleep,
  verdict(facts) {
    const { targetNode, power, limits } = facts;
    const isArmed = targetNode?.facts?.links?.some(({ wakeOnMagic }) => wakeOnMagic === true);
    const wakers = wakersFor(facts).length;
    // In a house of two machines there is only one other to wake it.
    const needed = Math.min(wakersUsual, power?.neighbours.length ?? wakersUsual);
    const inputs: Fact[] = [
      { name: 'wakeOnMagic', value: isArmed ?? null },
      { name: 'awakeWakers', value: wakers },
      { name: 'wakersNeeded', value: needed },
      { name: 'wakeProof', value: limits.wakeProof },
    ];
    if (limits.wakeProof === 'assumed') return judged('W2', inputs, null);
    const disarmed: Says = {
      code: 'KR_WAKE_DISARMED',
      reason: `no network link of node ${targetNode?.id ?? 'unknown'} is known to answer a magic packet`,
      wayOut:
        'run `ethtool -s <link> wol g`, make it permanent, and enable Wake-on-LAN in the BIOS',
    };
    const alone: Says = {
      code: 'KR_NO_WAKER',
      reason: `${wakers} awake nodes in its broadcast domain could wake it, ${needed} are needed`,
      wayOut: 'keep more nodes with capability node.wake awake in its network',
    };
    if (!isArmed) return judged('W2', inputs, disarmed);
    return judged('W2', inputs, wakers > 0 && wakers >= needed ? null : alone);
  },
};

const quarantine: Guard = {
  id: 'wake-quarantine',
  appliesTo: isPowerOff,
  verdict({ targetNode, power, nowMs }) {
    const barred = [targetNode, ...(power?.neighbours ?? [])].find(
      (node) => (node?.quarantinedUntilMs ?? 0) > nowMs,
    );
    return judged(
      'W3',
      [{ name: 'quarantined', value: barred?.id ?? null }],
      barred
        ? {
            code: 'KR_WAKE_FAILED',
            reason: `node ${barred.id} was not woken when it should; nothing more is switched off here`,
            wayOut:
              'find out why, then an administrator lifts it: PATCH the cluster with frozen false',
          }
        : null,
    );
  },
};

const cycles: Guard = {
  id: 'power-cycles',
  appliesTo: isPowerOff,
  verdict({ targetNode, power, limits }) {
    const uptimeMs = targetNode?.uptimeMs ?? null;
    const cyclesToday = power?.cyclesToday ?? null;
    const inputs: Fact[] = [
      { name: 'uptimeMs', value: uptimeMs, unit: 'ms' },
      { name: 'minUptimeMs', value: limits.minUptimeMs, unit: 'ms' },
      { name: 'cyclesToday', value: cyclesToday },
      { name: 'powerCyclesPerDay', value: limits.powerCyclesPerDay },
    ];
    if ((uptimeMs ?? 0) < limits.minUptimeMs) {
      return judged('W4', inputs, {
        code: 'KR_UP_TOO_SHORT',
        reason: `the node is up for ${uptimeMs ?? 'an unknown number of'} ms, less than ${limits.minUptimeMs} ms`,
        wayOut: 'wait; machines are not switched off soon after they were switched on',
      });
    }
    return judged(
      'W4',
      inputs,
      cyclesToday !== null && cyclesToday < limits.powerCyclesPerDay
        ? null
        : {
            code: 'KR_TOO_MANY_CYCLES',
            reason: `the node was switched off ${cyclesToday ?? 'unknown'} times within a day`,
            wayOut: `wait; at most ${limits.powerCyclesPerDay} times a day`,
          },
    );
  },
};

export const sleepGuards: readonly Guard[] = [quarantine, proven, armed, cycles];
