/**
 * The guards of quorum and high availability (SAFETY Q1 to Q7). Losing quorum resets the
 * survivors, so everything unknown about votes denies. A standalone host has no quorum, and these
 * rows say so and pass. Pure.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { Fact } from '../decide/plan.ts';
import {
  type Guard,
  type GuardFacts,
  isFresh,
  judged,
  type NodeFact,
  type Says,
  type Verdict,
} from './guard.ts';
import { isPowerOff } from './lifecycle.ts';
import { countVotes, isVoting, type VoteCount } from './quorum.ts';

type Quorum = NonNullable<NodeFacts['quorum']>;

const standalone: Fact[] = [{ name: 'standalone', value: true }];
const qdeviceCommands =
  'add a QDevice: on a third machine `apt install corosync-qnetd`, on both nodes `apt install ' +
  'corosync-qdevice`, on one of them `pvecm qdevice setup <address of the third machine>`; then ' +
  '`pvecm status` shows 3 votes. Two hosts without a cluster need none of this';

const isMemberOf = (quorum: Quorum | null | undefined, node: string): boolean =>
  quorum?.members.some((member) => member.node === node) ?? false;

/** No votes of its own, sees no members, and nobody lists it as one. */
function isStandalone({ targetNode, power }: GuardFacts): boolean {
  if (!targetNode?.facts || !power) return false;
  const { id, facts, membersOnline } = targetNode;
  if (facts.quorum !== null || (membersOnline?.length ?? 0) > 1) return false;
  return !power.neighbours.some(
    (other) => isMemberOf(other.facts?.quorum, id) || other.membersOnline?.includes(id),
  );
}

/** Heard, not on its way out, and a member that says itself that it belongs to the quorum. */
const stayingNodes = ({ targetNode, power }: GuardFacts): NodeFact[] =>
  (power?.neighbours ?? []).filter(
    (node) =>
      isFresh(node) &&
      !power?.inDoubt.includes(node.id) &&
      node.facts?.quorum?.quorate === true &&
      isMemberOf(targetNode?.facts?.quorum, node.id),
  );

const votesGiven = ({ members, qdevice }: Quorum): number =>
  members.reduce((total, { votes }) => total + votes, qdevice?.votes ?? 0);

/** Two nodes that count differently cannot both be right, so neither is believed. */
function isContradicted(quorum: Quorum, staying: readonly NodeFact[]): boolean {
  const weights = new Map(quorum.members.map(({ node, votes }) => [node, votes]));
  return staying.some(({ facts }) => {
    const other = facts?.quorum;
    return (
      other?.expectedVotes !== quorum.expectedVotes ||
      other.quorumVotes !== quorum.quorumVotes ||
      other.members.length !== weights.size ||
      other.members.some(({ node, votes }) => weights.get(node) !== votes)
    );
  });
}

/** A voter counts while it is heard here and every node that stays sees it in its membership. */
function votesOf(facts: GuardFacts): VoteCount | null {
  const { targetNode, power } = facts;
  const quorum = targetNode?.facts?.quorum;
  if (!targetNode || !power || !quorum?.quorate) return null;
  const staying = stayingNodes(facts);
  if (isContradicted(quorum, staying)) return null;
  const sees = (node: string): boolean =>
    staying.every(({ membersOnline }) => membersOnline?.includes(node) ?? false);
  const count = countVotes({
    // The target's word about the device counts too: what it adds is needed by all.
    expectedVotes: Math.max(quorum.expectedVotes, votesGiven(quorum)),
    voters: quorum.members.map(({ node, votes, online }) => ({
      node,
      votes,
      isPresent: online && staying.some(({ id }) => id === node) && sees(node),
    })),
    leaving: new Set([targetNode.id, ...power.inDoubt]),
    qdeviceViews: staying.map((node) => node.facts?.quorum?.qdevice ?? null),
  });
  // Where corosync itself wants more than a majority, it is right.
  return { ...count, quorumVotes: Math.max(count.quorumVotes, quorum.quorumVotes) };
}

const unknownVotes: Says = {
  code: 'KR_QUORUM_UNKNOWN',
  reason: 'the votes of the cluster are not known',
  wayOut: 'wait until every node reports `pvecm status`; see the logs of their daemons',
};

const voteFacts = (count: VoteCount): Fact[] => [
  { name: 'expectedVotes', value: count.expectedVotes },
  { name: 'quorumVotes', value: count.quorumVotes },
  { name: 'remainingVotes', value: count.remainingVotes },
  { name: 'worstVotes', value: count.worstVotes },
  { name: 'qdeviceVotes', value: count.hasQdevice ? count.qdeviceVotes : null },
];

/** One row about votes: skips standalone hosts, denies where the votes are unknown. */
function voteRow(
  id: string,
  rule: string,
  says: (count: VoteCount, facts: GuardFacts) => Says | null,
) {
  const verdict = (facts: GuardFacts): Verdict => {
    if (isStandalone(facts)) return judged(rule, standalone, null);
    const count = votesOf(facts);
    const votes = count ? voteFacts(count) : [{ name: 'expectedVotes', value: null }];
    return judged(rule, votes, count ? says(count, facts) : unknownVotes);
  };
  return { id, appliesTo: isPowerOff, verdict } satisfies Guard;
}

const quorum = voteRow('quorum', 'Q1', ({ remainingVotes, quorumVotes }) =>
  remainingVotes >= quorumVotes
    ? null
    : {
        code: 'KR_QUORUM',
        reason: `${remainingVotes} votes would remain, ${quorumVotes} are needed`,
        wayOut: 'wake another node first, or wait until nodes in doubt are back',
      },
);

/**
 * One that nobody can read may be active, and one that lost its lock still feeds its watchdog. Only
 * a machine that sleeps as it was told has none: one that merely fell silent may be up.
 */
const isLrmAtRest = (node: NodeFact): boolean => {
  if (node.desired === 'asleep' && !node.online) return true;
  const { lrmState, watchdogOpen } = node.facts?.ha ?? {};
  const isActive = [undefined, null, 'active', 'lost_agent_lock'].includes(lrmState);
  return isFresh(node) && !isActive && watchdogOpen !== true;
};

const spare = voteRow('quorum-spare', 'Q2', ({ worstVotes, quorumVotes }, facts) => {
  const { limits, power, targetNode } = facts;
  if (worstVotes >= quorumVotes) return null;
  const lost = `after the loss of one more voter ${worstVotes} votes remain, ${quorumVotes} are needed`;
  if (limits.spareVoters > 0) {
    return {
      code: 'KR_QUORUM_SPARE',
      reason: lost,
      wayOut:
        'wake another node, or an administrator sets limits.spareVoters to 0 for this cluster',
    };
  }
  const members = [...(targetNode ? [targetNode] : []), ...(power?.neighbours ?? [])];
  const active = members.find((node) => !isLrmAtRest(node));
  return active
    ? {
        code: 'KR_QUORUM_SPARE',
        reason: `${lost}, and the HA manager of ${active.id} would or might reset it then`,
        wayOut: `wake another node, remove the HA resources, or bring ${active.id} back where it is not heard`,
      }
    : null;
});

const qdevice = voteRow('qdevice', 'Q3', ({ remainingVotes, qdeviceVotes, quorumVotes }, facts) =>
  remainingVotes - qdeviceVotes >= quorumVotes || facts.limits.spareVoters === 0
    ? null
    : {
        code: 'KR_QDEVICE',
        reason: `without the ${qdeviceVotes} votes of the QDevice ${remainingVotes - qdeviceVotes} remain, ${quorumVotes} are needed`,
        wayOut:
          'wake another node, or an administrator sets limits.spareVoters to 0 for this cluster',
      },
);

const twoNodes: Guard = {
  id: 'two-nodes',
  appliesTo: isPowerOff,
  verdict(facts) {
    if (isStandalone(facts)) return judged('Q4', standalone, null);
    const known = facts.targetNode?.facts?.quorum;
    const inputs: Fact[] = [
      { name: 'members', value: known?.members.length ?? null },
      { name: 'qdevice', value: known ? known.qdevice !== null : null },
    ];
    if (!known) return judged('Q4', inputs, unknownVotes);
    const isPair = known.members.length <= 2 && !isVoting(known.qdevice);
    return judged(
      'Q4',
      inputs,
      isPair
        ? {
            code: 'KR_TWO_NODES',
            reason: 'a cluster of two nodes without a QDevice loses quorum with either of them',
            wayOut: qdeviceCommands,
          }
        : null,
    );
  },
};

const stable: Guard = {
  id: 'membership-stable',
  appliesTo: isPowerOff,
  verdict(facts) {
    if (isStandalone(facts)) return judged('Q5', standalone, null);
    const { targetNode, power, limits } = facts;
    const nodes = [targetNode, ...stayingNodes(facts)];
    const uptimes = nodes.map((node) => node?.uptimeMs ?? 0);
    const gone = (power?.neighbours ?? []).flatMap(({ offlineForMs }) => offlineForMs ?? []);
    // Who changed its mind about the votes just now, whichever way, is not believed yet.
    const counted = nodes.map((node) => node?.votesStableForMs ?? 0);
    const others = (power?.neighbours ?? []).flatMap(
      ({ votesStableForMs }) => votesStableForMs ?? [],
    );
    const changes = [...uptimes, ...gone, ...counted, ...others];
    const stableForMs = Math.min(power?.lastChangeAgoMs ?? Infinity, ...changes);
    const isStable = stableForMs >= limits.membershipStableMs;
    return judged(
      'Q5',
      [
        { name: 'stableForMs', value: Math.round(stableForMs), unit: 'ms' },
        { name: 'membershipStableMs', value: limits.membershipStableMs, unit: 'ms' },
      ],
      isStable
        ? null
        : {
            code: 'KR_MEMBERSHIP_UNSTABLE',
            reason: `the membership changed ${Math.round(stableForMs)} ms ago`,
            wayOut: `wait until it has stood for ${Math.round(limits.membershipStableMs)} ms`,
          },
    );
  },
};

const shutdownPolicies = ['conditional', 'migrate', 'freeze', 'failover'];
const restless = ['fence', 'recovery', 'migrate', 'relocate', 'error'];

function haDenial(ha: NodeFacts['ha'], node: string): Says | null {
  const off = `ha-manager crm-command node-maintenance enable ${node}`;
  const after = 'it outlives the sleep, so send `node.restore` after the wake';
  if (!ha) {
    return {
      code: 'KR_HA_UNKNOWN',
      reason: `the HA state of ${node} is not known`,
      wayOut: 'wait until its daemon reports `ha-manager status`',
    };
  }
  // Services, or a watchdog that is held, belie that nothing is managed.
  if (!ha.managed && ha.services.length === 0 && ha.watchdogOpen !== true) return null;
  const restlessService = ha.services.find(({ state }) => restless.includes(state));
  if (restlessService) {
    return {
      code: 'KR_HA_BUSY',
      reason: `HA service ${restlessService.sid} is in state ${restlessService.state}`,
      wayOut: 'wait until the HA manager has settled it, or repair it',
    };
  }
  if (ha.shutdownPolicy === null || !shutdownPolicies.includes(ha.shutdownPolicy)) {
    return {
      code: 'KR_HA_POLICY',
      reason: `HA shutdown_policy ${ha.shutdownPolicy ?? 'unknown'} was not understood`,
      wayOut: `set ha: shutdown_policy in datacenter.cfg to one of ${shutdownPolicies.join(', ')}`,
    };
  }
  if (ha.mode?.startsWith('disarm')) {
    return { code: 'KR_HA_DISARMED', reason: `HA is ${ha.mode}`, wayOut: 'arm HA again first' };
  }
  return ha.watchdogOpen === false
    ? null
    : {
        code: 'KR_HA_WATCHDOG',
        reason: `the HA watchdog of ${node} is ${ha.watchdogOpen ? 'open' : 'in an unknown state'}`,
        wayOut: `send \`node.drain\` (or run \`${off}\`) and wait until its HA services have left; ${after}`,
      };
}

const availability: Guard = {
  id: 'ha',
  appliesTo: isPowerOff,
  verdict(facts) {
    if (isStandalone(facts)) return judged('Q6', standalone, null);
    const ha = facts.targetNode?.facts?.ha ?? null;
    return judged(
      'Q6',
      [
        { name: 'haManaged', value: ha?.managed ?? null },
        { name: 'lrmState', value: ha?.lrmState ?? null },
        { name: 'watchdogOpen', value: ha?.watchdogOpen ?? null },
        { name: 'shutdownPolicy', value: ha?.shutdownPolicy ?? null },
      ],
      haDenial(ha, facts.targetNode?.id ?? 'unknown'),
    );
  },
};

const atRest = ['stopped', 'disabled', 'ignored'];

const services: Guard = {
  id: 'ha-services',
  appliesTo: isPowerOff,
  verdict(facts) {
    if (isStandalone(facts)) return judged('Q7', standalone, null);
    const ha = facts.targetNode?.facts?.ha;
    const left = ha?.services.filter(
      ({ node, state }) => node === facts.targetNode?.id && !atRest.includes(state),
    );
    return judged(
      'Q7',
      [{ name: 'haServicesLeft', value: left?.length ?? null }],
      left?.length === 0
        ? null
        : {
            code: 'KR_HA_SERVICES',
            reason: left
              ? `HA service ${left[0]?.sid} is still on the node; its shutdown may hang for ever`
              : 'it is not known which HA services are on the node',
            wayOut: 'migrate it; where none may take it, relax its affinity or wake such a node',
          },
    );
  },
};

export const quorumGuards: readonly Guard[] = [
  twoNodes,
  quorum,
  qdevice,
  spare,
  stable,
  availability,
  services,
];
