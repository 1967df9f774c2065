/**
 * The guards of what a node holds for others: Ceph services, the only replica of a guest, and any
 * other role (SAFETY C1 to C3). A role nobody has heard of is somebody's reason to keep the node
 * on, and what is not known of Ceph or replication denies. Pure.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { Fact } from '../decide/plan.ts';
import { type Guard, type GuardFacts, judged, type Says } from './guard.ts';
import { isPowerOff } from './lifecycle.ts';

const unknownRoles: Says = {
  code: 'KR_ROLES_UNKNOWN',
  reason: 'it is not known what the node does for others',
  wayOut: 'use a driver that reports the roles of its node',
};

const isCeph = (role: string): boolean => role.startsWith('ceph');
const isReplica = (role: string): boolean => role === 'replication-target';

const rolesOf = ({ targetNode }: GuardFacts): readonly string[] | null =>
  targetNode?.facts?.roles ?? null;

/** The smallest number of monitors that is still a majority of all. */
const majority = (total: number): number => Math.floor(total / 2) + 1;

/** Ceph itself must say yes to each question; a missing answer is a no. */
function cephDenial(ceph: NodeFacts['ceph'], node: string): Says | null {
  const says = (reason: string, wayOut: string): Says => ({ code: 'KR_CEPH', reason, wayOut });
  if (!ceph) return says(`Ceph on node ${node} has told nothing of itself`, 'see `ceph -s` there');
  const { health, osdsOkToStop, monOkToStop, poolMinSize, hasMon, noout } = ceph;
  if (health !== 'HEALTH_OK') return says(`Ceph is ${health ?? 'in an unknown state'}`, 'heal it');
  if (osdsOkToStop !== true) {
    return says('`ceph osd ok-to-stop` does not say yes for its OSDs', 'wait, or add replicas');
  }
  if ((poolMinSize ?? 0) < 2) {
    return says(`a pool has min_size ${poolMinSize ?? 'unknown'}`, 'set min_size to 2 or more');
  }
  if (hasMon !== false) {
    const left = (ceph.monsInQuorum ?? 0) - 1;
    // One more may fail afterwards, as for the votes of the cluster itself.
    const isEnough = ceph.monsTotal !== null && left - 1 >= majority(ceph.monsTotal);
    if (monOkToStop !== true || !isEnough) {
      const total = ceph.monsTotal ?? 'an unknown number of';
      return says(`${left} of ${total} monitors would be left`, 'add monitors on other nodes');
    }
  }
  return noout === true
    ? null
    : says(
        `noout is not set for ${node}`,
        `run \`ceph osd set-group noout ${node}\` and unset it later`,
      );
}

const ceph: Guard = {
  id: 'ceph',
  appliesTo: isPowerOff,
  verdict(facts) {
    const roles = rolesOf(facts);
    const kept = roles?.filter(isCeph) ?? [];
    const { targetNode, limits } = facts;
    const inputs: Fact[] = [
      { name: 'roles', value: roles?.join(', ') ?? null },
      { name: 'ceph', value: limits.ceph },
      { name: 'health', value: targetNode?.facts?.ceph?.health ?? null },
      { name: 'monsInQuorum', value: targetNode?.facts?.ceph?.monsInQuorum ?? null },
    ];
    if (!roles) return judged('C1', inputs, unknownRoles);
    if (kept.length === 0) return judged('C1', inputs, null);
    if (limits.ceph === 'never') {
      return judged('C1', inputs, {
        code: 'KR_PROTECTED',
        reason: `node ${targetNode?.id} is ${kept.join(', ')}`,
        wayOut:
          'take its Ceph services elsewhere, or an administrator sets settings.ceph when-ok-to-stop',
      });
    }
    const denial = cephDenial(targetNode?.facts?.ceph ?? null, targetNode?.id ?? 'unknown');
    return judged('C1', inputs, denial);
  },
};

/** Jobs that copy to this node, and those among them whose guest has no other copy. */
function copiesOn({ targetNode, power }: GuardFacts) {
  const jobs = (power?.neighbours ?? []).flatMap(({ facts }) => facts?.replication ?? []);
  const here = jobs.filter(({ target }) => target === targetNode?.id);
  const only = here.filter(
    ({ guest }) => !jobs.some((job) => job.guest === guest && job.target !== targetNode?.id),
  );
  return { here, only };
}

const replication: Guard = {
  id: 'replication',
  appliesTo: isPowerOff,
  verdict(facts) {
    const roles = rolesOf(facts);
    const { here, only } = copiesOn(facts);
    const running = here.find((job) => job.running);
    const isTarget = roles?.some(isReplica) ?? false;
    const inputs: Fact[] = [
      { name: 'replicationTarget', value: roles && isTarget },
      { name: 'onlyCopies', value: only.map(({ guest }) => guest).join(', ') || null },
      { name: 'replicas', value: facts.limits.replicas },
    ];
    if (!roles) return judged('C2', inputs, unknownRoles);
    if (running) {
      return judged('C2', inputs, {
        code: 'KR_BUSY',
        reason: `guest ${running.guest} is being replicated to node ${facts.targetNode?.id}`,
        wayOut: 'wait until that run has ended',
      });
    }
    // A target whose jobs nobody has told of may hold the only copy of anything.
    const isOnly = only.length > 0 || (isTarget && here.length === 0);
    return judged(
      'C2',
      inputs,
      isOnly && facts.limits.replicas === 'awake'
        ? {
            code: 'KR_PROTECTED',
            reason: `node ${facts.targetNode?.id} is replication-target, and holds the only copy of ${only.map(({ guest }) => guest).join(', ') || 'guests nobody has named'}`,
            wayOut:
              'give those guests another target, or an administrator sets settings.replicas may-age',
          }
        : null,
    );
  },
};

const precious: Guard = {
  id: 'roles',
  appliesTo: isPowerOff,
  verdict(facts) {
    const roles = rolesOf(facts);
    const kept = roles?.filter((role) => !isCeph(role) && !isReplica(role)) ?? [];
    const inputs: Fact[] = [{ name: 'roles', value: roles?.join(', ') ?? null }];
    if (!roles) return judged('C3', inputs, unknownRoles);
    return judged(
      'C3',
      inputs,
      kept.length === 0
        ? null
        : {
            code: 'KR_PROTECTED',
            reason: `node ${facts.targetNode?.id} is ${kept.join(', ')}`,
            wayOut: 'move that role to another node first; a node that others need stays on',
          },
    );
  },
};

export const storageGuards: readonly Guard[] = [ceph, replication, precious];
