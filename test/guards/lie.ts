/** What every lie needs: whom it is about. The first node is the one the proposal names. */
import type { GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import type { Case, CaseNode } from './case.ts';
import type { Chance } from './chance.ts';

export type Lie = (question: Case, chance: Chance) => void;

export const anyNode = ({ nodes }: Case, chance: Chance): CaseNode => chance.pick(nodes);
export const otherNode = ({ nodes }: Case, chance: Chance): CaseNode =>
  nodes[nodes.length > 1 ? chance.whole(1, nodes.length - 1) : 0] as CaseNode;
export const firstNode = ({ nodes }: Case): CaseNode => nodes[0] as CaseNode;

/** Changes the facts of a node, which may be gone already. */
export function change(node: CaseNode | undefined, edit: (facts: NodeFacts) => void): void {
  if (node?.record.facts) edit(node.record.facts);
}

export function changeGuest(question: Case, edit: (facts: GuestFacts) => void): void {
  const facts = firstNode(question).guestFacts?.find(({ id }) => id === question.proposal.guest);
  if (facts) edit(facts);
}
