/**
 * Second implementation of the node-local evaluation (SAFETY 2, principle): facts younger than 5 s,
 * read on the node itself, with a view of its own membership only.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { Case, Rule } from './case.ts';
import { q6Says } from './second-quorum.ts';
import { isByHand } from './second-power.ts';
import { lockedGuest, v1Says, v2Node, v3, v4, v6 } from './second-guests.ts';
import { c3Says, s1, s2 } from './second-scale.ts';
import { isDestructive, isKnown, kindOf, second, stopsNode, target } from './second-words.ts';

/**
 * Its own vote gone, and nobody counted whom its own membership does not show; and any one more
 * voter, the device included, may be lost unless an administrator said otherwise.
 */
function quorumSays({ quorum }: NodeFacts, node: string, spareVotes: number): string | null {
  if (quorum === null) return null;
  if (!quorum.quorate) return 'not quorate';
  const { qdevice } = quorum;
  const device =
    qdevice?.alive && qdevice.voting && (qdevice.seenAgeMs ?? Infinity) <= 30 * second
      ? qdevice.votes
      : 0;
  let votes = device;
  let expected = qdevice?.votes ?? 0;
  let heaviest = device;
  for (const member of quorum.members) {
    expected += member.votes;
    if (!member.online || member.node === node) continue;
    votes += member.votes;
    heaviest = Math.max(heaviest, member.votes);
  }
  const floor = Math.floor(Math.max(expected, quorum.expectedVotes) / 2) + 1;
  const needed = Math.max(floor, quorum.quorumVotes);
  if (votes < needed) return 'too few votes remain';
  if (spareVotes === 0) return null;
  return votes - heaviest >= needed ? null : 'no vote is spare';
}

function powerOffSays(question: Case): string | null {
  const { proposal, local, nodes, cluster } = question;
  const { facts } = local;
  if (facts === null) return 'no facts of its own';
  const inCluster = nodes.some(({ record }) => isKnown(record.facts?.quorum));
  if (inCluster && facts.quorum === null) return 'its membership cannot be read';
  const proofAssumed = cluster.simulated && cluster.wakeProof === 'assumed';
  const isManaged = target(question)?.managementWaker === true;
  const wakes =
    isByHand(question) ||
    isManaged ||
    facts.links?.some(({ wakeOnMagic }) => wakeOnMagic === true) === true;
  return (
    quorumSays(facts, proposal.node, cluster.spareVotes) ??
    (inCluster ? q6Says(facts, proposal.node) : null) ??
    v1Says(facts.runningGuests, local.guests, proposal.action.kind === 'node.shutdown') ??
    v2Node(facts) ??
    lockedGuest(local.guests) ??
    c3Says(facts) ??
    (proposal.action.kind === 'node.shutdown' && !proofAssumed && !wakes ? 'it cannot wake' : null)
  );
}

/** The same rules about one guest, read once more with what the node itself sees of it. */
function guestSays(question: Case): string | null {
  const { local: own, nodes, proposal } = question;
  const seen = nodes.map((node) =>
    node.record.node === proposal.node
      ? { ...node, guestFacts: own.guestFacts, record: { ...node.record, guests: own.guests } }
      : node,
  );
  const asSeen = { ...question, nodes: seen };
  return [v3, v4, v6, s1, s2].map((rule) => rule(asSeen)).find((says) => says !== null) ?? null;
}

export const local: Rule = (question) => {
  const kind = kindOf(question);
  if (kind === 'node.wake') return null;
  if (question.local.hold) return 'HOLD on the node';
  if (!isDestructive(question)) return null;
  if (question.local.ageMs >= 5 * second) return 'its facts are 5 s old';
  if (stopsNode(kind)) return powerOffSays(question);
  const { guest } = question.proposal;
  if (guest === null) return null;
  if (question.local.guests === null) return 'its guests cannot be read';
  const sample = question.local.guests.find(({ id }) => id === guest);
  if (!sample) return 'the guest is not here';
  return sample.lock === null ? guestSays(question) : 'the guest is locked';
};
