/**
 * The guards of what a node does when it is to be switched off: its roles, guests and work, and
 * who else is on the way out. The dangerous direction, so anything unknown denies. Pure.
 */
import { type Guard, type GuardFacts, judged, type NodeFact, type Says } from './guard.ts';
import { isPowerOff } from './lifecycle.ts';

const protectedNode: Guard = {
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

const emptyNode: Guard = {
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

const powerOffInFlight: Guard = {
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

const unknownRoles: Says = {
  code: 'KR_ROLES_UNKNOWN',
  reason: 'it is not known what the node does for others',
  wayOut: 'use a driver that reports the roles of its node',
};

/** Roles by rule; a role nobody has heard of is somebody's reason to keep the node on. */
const roleRow = (
  id: string,
  rule: string,
  is: (role: string) => boolean,
  wayOut: string,
): Guard => ({
  id,
  appliesTo: isPowerOff,
  verdict({ targetNode }: GuardFacts) {
    const roles = targetNode?.facts?.roles ?? null;
    const kept = roles?.filter(is) ?? [];
    const precious: Says = {
      code: 'KR_PROTECTED',
      reason: `node ${targetNode?.id} is ${kept.join(', ')}`,
      wayOut,
    };
    const says = kept.length > 0 ? precious : null;
    const inputs = [{ name: 'roles', value: roles?.join(', ') ?? null }];
    return judged(rule, inputs, roles ? says : unknownRoles);
  },
});

const isCeph = (role: string): boolean => role.startsWith('ceph');
const isReplica = (role: string): boolean => role === 'replication-target';

const ceph = roleRow('ceph', 'C1', isCeph, 'take its Ceph services elsewhere; such nodes stay on');
const replication = roleRow(
  'replication',
  'C2',
  isReplica,
  'give the replicated guests another target, or stop them',
);
const precious = roleRow(
  'roles',
  'C3',
  (role) => !isCeph(role) && !isReplica(role),
  'move that role to another node first; a node that others need stays on',
);

function busyDenial(node: NodeFact | null): Says | null {
  const busy = node?.facts?.busy;
  if (!node || !busy || !node.lockedGuests) {
    return {
      code: 'KR_BUSY_UNKNOWN',
      reason: `it is not known what node ${node?.id ?? 'unknown'} is busy with`,
      wayOut: 'use a driver that reports tasks and locks of its node',
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
    const group = targetNode?.facts?.powerGroup ?? null;
    const other = power?.neighbours.find(
      ({ id, facts }) =>
        group !== null && facts?.powerGroup === group && power.inDoubt.includes(id),
    );
    return judged(
      'W5',
      [
        { name: 'powerGroup', value: group },
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

export const powerGuards: readonly Guard[] = [
  protectedNode,
  ceph,
  replication,
  precious,
  emptyNode,
  atWork,
  powerOffInFlight,
  powerGroup,
];
