/**
 * Whether those that stay awake are enough without a node: to keep a majority of the votes, to wake
 * it again, and to take all guests when one more fails. The guards judge again by fresh facts and
 * are the last word; this keeps the engine from asking in vain, and from emptying a node that could
 * not sleep. A standalone host has no votes and needs no reserve. Pure.
 */
import { type Model, nodeRole, type Situation } from './model.ts';

/** Nodes of which some may go, counted once for all that ask whether one more may. */
export type Pool = {
  /** Places of nodes that are awake and stay so. */
  readonly members: ReadonlySet<number>;
  remove(place: number): void;
  /** Members that can wake others by more than a magic packet. */
  readonly others: ReadonlySet<number>;
};

/** A BMC and a magic packet fail for different reasons, so that one node with both is enough. */
const hasOtherMeans = (model: Model, place: number): boolean =>
  model.nodes[place]!.facts?.wakers?.some(({ by }) => by.some((means) => means !== 'wol')) === true;

function poolOf(model: Model, isIn: (place: number) => boolean): Pool {
  const members = new Set<number>();
  const others = new Set<number>();
  model.nodes.forEach(({ activeKind }, place) => {
    if (model.role[place] !== nodeRole.awake || activeKind !== null || !isIn(place)) return;
    members.add(place);
    if (hasOtherMeans(model, place)) others.add(place);
  });
  const remove = (place: number): void => {
    members.delete(place);
    others.delete(place);
  };
  return { members, others, remove };
}

export const poolAwake = (model: Model): Pool => poolOf(model, () => true);

/** Those among them that will still run guests: what is empty may go before. */
export const poolInUse = (model: Model): Pool =>
  poolOf(model, (place) => model.guestsOf[place]!.length > 0 && model.draining[place] === 0);

/** How many of the pool stay when one goes. */
export const stayingWithout = ({ members }: Pick<Pool, 'members'>, place: number): number =>
  members.size - Number(members.has(place));

type Going = { place: number; pool: Pool };

function votesShort(model: Model, { place, pool }: Going, spare: number): string | null {
  const quorum = model.nodes[place]!.facts?.quorum;
  if (!quorum) return null;
  const votesOf = new Map(quorum.members.map(({ node, votes }) => [node, votes]));
  const votes: number[] = [];
  for (const other of pool.members) {
    if (other !== place) votes.push(votesOf.get(model.nodes[other]!.node) ?? 0);
  }
  const { qdevice } = quorum;
  if (qdevice?.alive === true && qdevice.voting) votes.push(qdevice.votes);
  votes.sort((a, b) => b - a);
  const left = votes.slice(spare).reduce((sum, one) => sum + one, 0);
  if (left >= quorum.quorumVotes) return null;
  const after = spare === 0 ? '' : ` after the loss of ${spare} more`;
  return `${left} votes would be left${after}, ${quorum.quorumVotes} are needed`;
}

function wakersShort(model: Model, { place, pool }: Going, least: number): string | null {
  const others = model.nodes.length - 1;
  const isEasy = stayingWithout({ members: pool.others }, place) > 0;
  const needed = isEasy ? 1 : Math.min(least, others);
  const staying = stayingWithout(pool, place);
  if (staying >= needed) return null;
  return `${staying} awake nodes would be left to wake it, ${needed} are needed`;
}

const memoryOf = (model: Model, place: number): number => {
  const { values, facts } = model.nodes[place]!;
  return values?.memoryTotalBytes ?? facts?.memoryBytes ?? 0;
};

/** Fewer nodes count a sleeping one as their reserve where nobody chose. */
const awakeReserveNodes = 4;

function reserveShort(model: Model, { place, pool }: Going, situation: Situation) {
  const { reserve } = situation.policy.save;
  const isAlone = !model.nodes[place]!.facts?.quorum;
  if (reserve === undefined || reserve === 'none' || isAlone) return null;
  const isSmall = model.nodes.length < awakeReserveNodes;
  const mode = reserve === 'usual' ? (isSmall ? 'wakeable' : 'awake') : reserve;
  const places =
    mode === 'wakeable'
      ? model.nodes.map((_, other) => other)
      : [...pool.members].filter((other) => other !== place);
  const sizes = places.map((other) => memoryOf(model, other));
  const left = sizes.reduce((sum, one) => sum + one, 0) - Math.max(0, ...sizes);
  const needed = model.memory.reduce((sum, one) => sum + one, 0);
  if (needed <= left) return null;
  const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(1);
  return `${gib(left)} GiB would be left for ${gib(needed)} GiB of guests if one more failed`;
}

/** Why those that stay are too few, and what would change it, or null. */
export function tooFew(
  model: Model,
  going: Going,
  situation: Situation,
): readonly [reason: string, flip: string] | null {
  const { awakeMin, spareVoters = 0, wakersMin = 0 } = situation.policy.save;
  if (stayingWithout(going.pool, going.place) < awakeMin) {
    const nodes = awakeMin === 1 ? '1 node is' : `${awakeMin} nodes are`;
    return [`${nodes} to stay awake`, 'another node is awake'];
  }
  const votes = votesShort(model, going, spareVoters);
  if (votes !== null) return [votes, 'another voter is awake'];
  const short = wakersShort(model, going, wakersMin) ?? reserveShort(model, going, situation);
  return short === null ? null : [short, 'another node is awake'];
}
