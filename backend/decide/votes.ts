/**
 * Whether a node may go to sleep as far as quorum goes: those awake must hold a majority without
 * it, and more where policy wants some to be spare. The guards judge again by fresh votes and are
 * the last word; this keeps the engine from asking in vain. A standalone host has no votes.
 */
import { type Model, nodeRole } from './model.ts';

/**
 * Why the votes of the others are too few without a node, or null.
 * @param spare how many more voters may fail after it is gone
 */
export function mayLoseVotes(model: Model, place: number, spare: number): string | null {
  const quorum = model.nodes[place]!.facts?.quorum;
  if (!quorum) return null;
  const votesOf = new Map(quorum.members.map(({ node, votes }) => [node, votes]));
  const staying: number[] = [];
  model.nodes.forEach(({ node, activeKind }, other) => {
    const stays = other !== place && model.role[other] === nodeRole.awake && activeKind === null;
    if (stays) staying.push(votesOf.get(node) ?? 0);
  });
  const { qdevice } = quorum;
  if (qdevice?.alive === true && qdevice.voting) staying.push(qdevice.votes);
  staying.sort((a, b) => b - a);
  const left = staying.slice(spare).reduce((sum, votes) => sum + votes, 0);
  if (left >= quorum.quorumVotes) return null;
  const after = spare === 0 ? '' : ` after the loss of ${spare} more`;
  return `${left} votes would be left${after}, ${quorum.quorumVotes} are needed`;
}
