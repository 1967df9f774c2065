/**
 * The votes that are left when a node goes (SAFETY Q1 to Q3). Pessimistic on purpose: whoever is
 * leaving, unreachable or in doubt has no vote, while its vote still counts in what is expected.
 * A quorum device is one component, whatever its votes, and counts only while it is seen voting
 * by every node that stays. Pure, and without a word about power or commands.
 */

type Voter = { node: string; votes: number; isPresent: boolean };

export type QdeviceView = {
  votes: number;
  alive: boolean;
  voting: boolean;
  seenAgeMs: number | null;
};

type VoteQuestion = {
  /** As votequorum says; what the members add up to wins where that is more. */
  expectedVotes: number;
  voters: readonly Voter[];
  /** The target and everyone else who is or may be on the way out. */
  leaving: ReadonlySet<string>;
  /** What each node that stays sees of the quorum device; null where it sees none. */
  qdeviceViews: readonly (QdeviceView | null)[];
};

export type VoteCount = {
  expectedVotes: number;
  quorumVotes: number;
  /** When the target and all doubtful ones are gone. */
  remainingVotes: number;
  /** After that, one more component fails: the heaviest one. */
  worstVotes: number;
  hasQdevice: boolean;
  /** 0 where there is none or it is not counted. */
  qdeviceVotes: number;
};

const qdeviceFreshMs = 30_000;

export const isVoting = (view: QdeviceView | null): boolean =>
  view !== null &&
  view.alive &&
  view.voting &&
  view.votes > 0 &&
  view.seenAgeMs !== null &&
  view.seenAgeMs <= qdeviceFreshMs;

const sum = (votes: readonly number[]): number => votes.reduce((total, one) => total + one, 0);

export function countVotes(question: VoteQuestion): VoteCount {
  const { voters, leaving, qdeviceViews, expectedVotes } = question;
  const devices = qdeviceViews.flatMap((view) => (view ? [view.votes] : []));
  const hasQdevice = devices.length > 0;
  const isQdeviceCounted = hasQdevice && qdeviceViews.every(isVoting);
  const expected = Math.max(
    expectedVotes,
    sum(voters.map(({ votes }) => votes)) + Math.max(0, ...devices),
  );
  const staying = voters
    .filter(({ node, isPresent }) => isPresent && !leaving.has(node))
    .map(({ votes }) => votes);
  const qdeviceVotes = isQdeviceCounted ? Math.min(...devices) : 0;
  const components = [...staying, qdeviceVotes];
  const remainingVotes = sum(components);
  return {
    expectedVotes: expected,
    quorumVotes: Math.floor(expected / 2) + 1,
    remainingVotes,
    worstVotes: remainingVotes - Math.max(...components),
    hasQdevice,
    qdeviceVotes,
  };
}
