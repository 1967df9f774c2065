/**
 * Second implementation of SAFETY 2.1, Q1 to Q7, written from its text alone. Whatever is not
 * known to be there counts as gone; whoever contradicts another makes both unusable.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { Case, CaseNode, Rule } from './case.ts';
import { isStandalone } from './second-standalone.ts';
import {
  aliveGuests,
  isAutomatic,
  isFresh,
  isKnown,
  kindOf,
  mayStillHappen,
  minute,
  second,
  stopsNode,
  sum,
  target,
} from './second-words.ts';

type Quorum = NonNullable<NodeFacts['quorum']>;

const reportsOf = (question: Case): { node: CaseNode; quorum: Quorum }[] =>
  question.nodes
    .filter(isFresh)
    .flatMap((node) =>
      node.record.facts?.quorum ? [{ node, quorum: node.record.facts.quorum }] : [],
    );

const applies = (question: Case): boolean => stopsNode(kindOf(question)) && !isStandalone(question);

type Votes = { needed: number; byNode: Map<string, number>; device: number };

const votesOfMembers = (quorum: Quorum): number => sum(quorum.members.map(({ votes }) => votes));

function needed(reports: readonly Quorum[]): number {
  const expected = reports.map((quorum) =>
    Math.max(quorum.expectedVotes, votesOfMembers(quorum) + (quorum.qdevice?.votes ?? 0)),
  );
  const stated = reports.map(({ quorumVotes }) => quorumVotes);
  return Math.max(...stated, ...expected.map((votes) => Math.floor(votes / 2) + 1));
}

function mayBeGone(question: Case, id: string): boolean {
  if (id === question.proposal.node) return true;
  return question.commands.some(
    (command) => command.node === id && mayStillHappen(command) && stopsNode(command.kind),
  );
}

/** What surely votes once the target is off, and what is needed; a text when nobody can tell. */
function votesAfter(question: Case): Votes | string {
  const own = target(question);
  if (!own || !isFresh(own) || !own.record.facts?.quorum) return 'the target tells no quorum';
  if (!own.record.facts.quorum.quorate) return 'the target is not quorate';
  // Whoever is not quorate is cut off: it has no vote for us, and no word about the others.
  const reports = reportsOf(question).filter(({ quorum }) => quorum.quorate);
  const words = reports.map(({ quorum }) => quorum);
  const weights = new Map<string, number>();
  for (const { members } of words) {
    for (const { node, votes } of members) {
      if ((weights.get(node) ?? votes) !== votes) return `reports differ on the votes of ${node}`;
      weights.set(node, votes);
    }
  }
  if (new Set(words.map(({ expectedVotes }) => expectedVotes)).size !== 1) {
    return 'reports differ on the expected votes';
  }
  const byNode = new Map<string, number>();
  for (const { node } of reports) {
    const id = node.record.node;
    const seenByAll = words.every(({ members }) =>
      members.some((member) => member.node === id && member.online),
    );
    if (seenByAll && !mayBeGone(question, id)) byNode.set(id, weights.get(id) ?? 0);
  }
  const remaining = reports.filter(({ node }) => byNode.has(node.record.node));
  const device = deviceVotes(remaining.map(({ quorum }) => quorum));
  return { needed: needed(words), byNode, device };
}

/** Counts only when every remaining node saw it alive and voting within 30 s. */
function deviceVotes(remaining: readonly Quorum[]): number {
  const seen = remaining.map(({ qdevice }) => qdevice);
  const counts = seen.every(
    (device) =>
      device?.alive === true &&
      device.voting &&
      device.seenAgeMs !== null &&
      device.seenAgeMs <= 30 * second,
  );
  return counts && seen.length > 0 ? Math.min(...seen.map((device) => device?.votes ?? 0)) : 0;
}

const total = ({ byNode, device }: Votes): number => sum([...byNode.values()]) + device;

export const q1: Rule = (question) => {
  if (!applies(question)) return null;
  const votes = votesAfter(question);
  if (typeof votes === 'string') return votes;
  return total(votes) >= votes.needed ? null : `${total(votes)} votes of ${votes.needed} remain`;
};

/** Nothing spare only by an administrator's word, and never while an LRM is or may be active. */
function spareIsWaived(question: Case): boolean {
  const idle = question.nodes
    .filter(({ record }) => record.desired === 'awake' || record.online)
    .every(({ record }) => isKnown(record.facts?.ha) && record.facts.ha.lrmState !== null);
  const active = question.nodes.some(({ record }) => {
    const { lrmState, watchdogOpen } = record.facts?.ha ?? {};
    return lrmState === 'active' || lrmState === 'lost_agent_lock' || watchdogOpen === true;
  });
  return question.cluster.spareVotes === 0 && idle && !active;
}

export const q2: Rule = (question) => {
  if (!applies(question) || spareIsWaived(question)) return null;
  const votes = votesAfter(question);
  if (typeof votes === 'string') return votes;
  const largest = Math.max(0, ...votes.byNode.values());
  return total(votes) - largest >= votes.needed ? null : 'the loss of one more node ends quorum';
};

/** The device is one component, whatever the number of its votes. */
export const q3: Rule = (question) => {
  if (!applies(question) || spareIsWaived(question)) return null;
  const votes = votesAfter(question);
  if (typeof votes === 'string') return votes;
  return total(votes) - votes.device >= votes.needed ? null : 'the loss of the device ends quorum';
};

export const q4: Rule = (question) => {
  const quorum = target(question)?.record.facts?.quorum;
  if (!applies(question) || !isAutomatic(question) || !quorum) return null;
  const device = quorum.qdevice;
  const votes = device !== null && device.alive && device.voting && device.votes > 0;
  return quorum.members.length <= 2 && !votes ? 'two nodes without a voting device' : null;
};

export const q5: Rule = (question) => {
  if (!applies(question)) return null;
  const { votesStableMs } = question.cluster;
  if (votesStableMs === null || votesStableMs < minute) return 'votes not stable for 60 s';
  const recent = question.commands.some(
    ({ kind, finishedAgoMs }) =>
      ['node.shutdown', 'node.reboot', 'node.wake'].includes(kind) &&
      finishedAgoMs !== null &&
      finishedAgoMs < minute,
  );
  return recent ? 'less than 60 s since the last change of power' : null;
};

const unsettled = ['fence', 'recovery', 'migrate', 'error'];
const atRest = ['stopped', 'disabled', 'ignored'];
const understoodPolicies = ['freeze', 'failover', 'conditional', 'migrate'];

/** Shared with the local view, which has facts of its own node only. */
export function q6Says(facts: NodeFacts, id: string): string | null {
  const { ha } = facts;
  if (!ha) return 'HA cannot be read';
  // Services, or a watchdog that is held, belie that nothing is managed: then all is asked.
  if (!ha.managed && ha.services.length === 0 && ha.watchdogOpen !== true) return null;
  if ([ha.mode, ha.lrmState].some((word) => word === 'disarming' || word === 'disarmed')) {
    return 'HA is being disarmed';
  }
  const policy = ha.shutdownPolicy;
  if (policy === null || !understoodPolicies.includes(policy)) return 'shutdown policy unknown';
  if (ha.services.some(({ state }) => unsettled.includes(state))) return 'a service is unsettled';
  if (ha.services.some(({ node, state }) => node === id && !atRest.includes(state)))
    return 'HA services are left on the node';
  // Maintenance itself is the first part of the effect; what it must have led to is asked here.
  return ha.watchdogOpen === false ? null : 'the LRM holds the watchdog';
}

export const q6: Rule = (question) => {
  const node = target(question);
  if (!applies(question)) return null;
  if (!node?.record.facts) return 'no facts';
  const own = q6Says(node.record.facts, node.record.node);
  if (own !== null) return own;
  const services = question.nodes.flatMap(({ record }) => record.facts?.ha?.services ?? []);
  return services.some(({ state }) => unsettled.includes(state)) ? 'a service is unsettled' : null;
};

/** Maintenance hangs for ever on an HA guest that may go nowhere. */
export const q7: Rule = (question) => {
  if (!stopsNode(kindOf(question)) && kindOf(question) !== 'node.drain') return null;
  const node = target(question);
  const samples = node?.record.guests;
  if (!node || !samples) return 'guests cannot be read';
  const awake = question.nodes
    .filter((other) => isFresh(other) && other !== node)
    .map(({ record }) => record.node);
  const stuck = aliveGuests(samples)
    .filter(({ haState }) => haState !== null)
    .find(({ id }) => {
      const allowed = node.guestFacts?.find((facts) => facts.id === id)?.allowedNodes;
      return !allowed?.some((name) => awake.includes(name));
    });
  return stuck ? `HA guest ${stuck.id} has nowhere to go` : null;
};
