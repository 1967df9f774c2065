/**
 * The guards of power: what may be switched off and what can be woken. Switching off is the
 * dangerous direction, so anything unknown denies; waking is the cheap one. Pure.
 */
import type { Fact } from '../decide/plan.ts';
import { type Guard, judged, type NodeFact, type Says } from './guard.ts';
import { isPowerOff } from './lifecycle.ts';

export const protectedNode: Guard = {
  id: 'protected',
  appliesTo: isPowerOff,
  verdict: ({ targetNode }) =>
    judged(
      'C3',
      [
        { name: 'protected', value: targetNode?.protected ?? null },
        { name: 'protectedReason', value: targetNode?.protectedReason ?? null },
      ],
      targetNode && !targetNode.protected
        ? null
        : {
            code: 'KR_PROTECTED',
            reason: `node ${targetNode?.id ?? 'unknown'} is protected: ${targetNode?.protectedReason ?? 'marked as such'}`,
            wayOut: 'move what makes it precious elsewhere; protected nodes stay on',
          },
    ),
};

function emptyNodeDenial(node: NodeFact | null): Says | null {
  const name = node?.id ?? 'unknown';
  if (!node || node.runningGuests === null || node.sampleAgeMs === null) {
    return {
      code: 'KR_GUESTS_UNKNOWN',
      reason: `it is not known which guests run on node ${name}`,
      wayOut: 'wait for a sample of the node that lists its guests',
    };
  }
  if (node.sampleAgeMs > node.freshMs) {
    return {
      code: 'KR_STALE',
      reason: `the newest sample of node ${name} is ${Math.round(node.sampleAgeMs)} ms old, fresh is up to ${node.freshMs} ms`,
      wayOut: 'wait for a fresh sample',
    };
  }
  if (node.runningGuests === 0) return null;
  return {
    code: 'KR_GUESTS_RUNNING',
    reason: `${node.runningGuests} guests run on node ${name}`,
    wayOut: 'migrate or stop them first',
  };
}

export const emptyNode: Guard = {
  id: 'empty-node',
  appliesTo: isPowerOff,
  verdict: ({ targetNode }) =>
    judged(
      'V1',
      [
        { name: 'runningGuests', value: targetNode?.runningGuests ?? null },
        { name: 'sampleAgeMs', value: targetNode?.sampleAgeMs ?? null, unit: 'ms' },
        { name: 'freshMs', value: targetNode?.freshMs ?? null, unit: 'ms' },
      ],
      emptyNodeDenial(targetNode),
    ),
};

export const powerOffInFlight: Guard = {
  id: 'power-off-in-flight',
  appliesTo: isPowerOff,
  verdict: ({ powerOffs, powerOffsMax }) =>
    judged(
      'I7',
      [
        { name: 'powerOffsInFlight', value: powerOffs.length },
        { name: 'powerOffsMax', value: powerOffsMax },
        { name: 'first', value: powerOffs[0]?.id ?? null },
      ],
      powerOffs.length < powerOffsMax
        ? null
        : {
            code: 'KR_POWER_OFF_IN_FLIGHT',
            reason: `${powerOffs[0]?.kind} of ${powerOffs[0]?.target} is ${powerOffs[0]?.state}; at most ${powerOffsMax} at once`,
            wayOut: 'wait until it has ended, or resolve it when it is INDETERMINATE',
          },
    ),
};

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
