/**
 * The guards of what a node does when it is to be switched off: its guests and work, and who else
 * is on the way out. The dangerous direction, so anything unknown denies. Pure.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import {
  areFactsFresh,
  type Guard,
  type GuardFacts,
  judged,
  type NodeFact,
  type OtherCommand,
  type Says,
} from './guard.ts';
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

function emptyNodeDenial(node: NodeFact | null, kind: CommandKind): Says | null {
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
  if (!areFactsFresh(node)) {
    return {
      code: 'KR_STALE',
      reason: `what node ${name} said of itself is ${node.factsAgeMs === null ? 'of an unknown time' : `${Math.round(node.factsAgeMs / 60_000)} min old`}`,
      wayOut: 'wait for its next hello; see the log of its daemon',
    };
  }
  // Its executor shuts these down cleanly and starts them after the wake.
  const parked = kind === 'node.shutdown' ? (node.parkableGuests ?? 0) : 0;
  const left = node.runningGuests - parked;
  if (left === 0) return null;
  return {
    code: 'KR_GUESTS_RUNNING',
    reason: `${left} guests run on node ${name}`,
    wayOut: 'migrate or stop them first; one tagged kr_park is shut down and started by us',
  };
}

/** A guest that is on its way in or about to start does not show in any sample yet. */
const comingTo = ({ underWay, targetNode }: GuardFacts): OtherCommand | undefined =>
  underWay.find(
    ({ kind, executor, destination }) =>
      kind.startsWith('guest.') && (executor === targetNode?.id || destination === targetNode?.id),
  );

const emptyNode: Guard = {
  id: 'empty-node',
  appliesTo: isPowerOff,
  verdict(facts) {
    const { targetNode } = facts;
    const coming = comingTo(facts);
    return judged(
      'V1',
      [
        { name: 'runningGuests', value: targetNode?.runningGuests ?? null },
        { name: 'parkableGuests', value: targetNode?.parkableGuests ?? null },
        { name: 'guestCommand', value: coming?.id ?? null },
        { name: 'sampleAgeMs', value: targetNode?.sampleAgeMs ?? null, unit: 'ms' },
        { name: 'freshMs', value: targetNode?.freshMs ?? null, unit: 'ms' },
      ],
      emptyNodeDenial(targetNode, facts.kind) ??
        (coming
          ? {
              code: 'KR_GUESTS_MOVING',
              reason: `${coming.kind} of guest ${coming.target} on node ${targetNode?.id} is ${coming.state}`,
              wayOut: 'wait until it has ended, or resolve it when it is INDETERMINATE',
            }
          : null),
    );
  },
};

const powerOffInFlight: Guard = {
  id: 'power-off-in-flight',
  appliesTo: isPowerOff,
  verdict({ powerOffs, powerOffsMax }) {
    // One in doubt bars all others, however many a large cluster may have at once.
    const doubtful = powerOffs.find(({ state }) => state === 'INDETERMINATE');
    const first = doubtful ?? powerOffs[0];
    return judged(
      'I7',
      [
        { name: 'powerOffsInFlight', value: powerOffs.length },
        { name: 'powerOffsMax', value: powerOffsMax },
        { name: 'first', value: first?.id ?? null },
      ],
      powerOffs.length < powerOffsMax && !doubtful
        ? null
        : {
            code: 'KR_POWER_OFF_IN_FLIGHT',
            reason: `${first?.kind} of ${first?.target} is ${first?.state}; at most ${powerOffsMax} at once`,
            wayOut: 'wait until it has ended, or resolve it when it is INDETERMINATE',
          },
    );
  },
};

function busyDenial(node: NodeFact | null): Says | null {
  const busy = node?.facts?.busy;
  if (!node || !busy || !node.lockedGuests) {
    return {
      code: 'KR_BUSY_UNKNOWN',
      reason: `it is not known what node ${node?.id ?? 'unknown'} is busy with`,
      wayOut: 'use a driver that reports tasks and locks of its node',
    };
  }
  const silent = busy.find(({ what }) => what === 'ups-silent');
  if (silent) {
    return {
      code: 'KR_UPS_SILENT',
      reason: `UPS ${silent.detail} of node ${node.id} does not say whether it is on battery`,
      wayOut: `see \`upsc ${silent.detail}\`; or take it out of upsmon.conf when it is gone for good`,
    };
  }
  if (busy[0]) {
    return {
      code: 'KR_BUSY',
      reason: `${busy[0].what} is at work on node ${node.id}`,
      wayOut: 'wait until it has ended',
    };
  }
  if (node.lockedGuests[0] !== undefined) {
    return {
      code: 'KR_LOCKED',
      reason: `guest ${node.lockedGuests[0]} of node ${node.id} is locked`,
      wayOut: 'wait until its backup, clone or snapshot has ended; unlock only what you know',
    };
  }
  if (node.facts?.upsOnBattery !== true) return null;
  return {
    code: 'KR_ON_BATTERY',
    reason: `the UPS of node ${node.id} runs on battery`,
    wayOut: 'wait for mains power, or let the UPS daemon shut the node down',
  };
}

const atWork: Guard = {
  id: 'node-busy',
  appliesTo: isPowerOff,
  verdict: ({ targetNode }) =>
    judged(
      'V2',
      [
        { name: 'busy', value: targetNode?.facts?.busy?.length ?? null },
        { name: 'lockedGuests', value: targetNode?.lockedGuests?.length ?? null },
        { name: 'upsOnBattery', value: targetNode?.facts?.upsOnBattery ?? null },
      ],
      busyDenial(targetNode),
    ),
};

const powerGroup: Guard = {
  id: 'power-group',
  appliesTo: isPowerOff,
  verdict({ targetNode, power }) {
    const { powerGroup: group = null, rack = null } = targetNode?.facts ?? {};
    const other = power?.neighbours.find(
      ({ id, facts }) =>
        ((group !== null && facts?.powerGroup === group) ||
          (rack !== null && facts?.rack === rack)) &&
        power.inDoubt.includes(id),
    );
    return judged(
      'W5',
      [
        { name: 'powerGroup', value: group },
        { name: 'rack', value: rack },
        { name: 'inDoubt', value: power?.inDoubt.join(', ') ?? null },
      ],
      other || !power
        ? {
            code: 'KR_POWER_GROUP',
            reason: `node ${other?.id ?? 'unknown'} of the same power supply or rack is on its way out`,
            wayOut: 'wait until its power command has ended, or resolve it',
          }
        : null,
    );
  },
};

export const powerGuards: readonly Guard[] = [emptyNode, atWork, powerOffInFlight, powerGroup];
