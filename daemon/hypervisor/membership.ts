/**
 * Watches, at every look that anybody takes, whether the members of the cluster are the same, and
 * says for how long they have been. Corosync tells who is there and never since when, and its word
 * is seconds old (SAFETY Q5). What went before this process counts for nothing.
 */
import type { Clock } from '../../broker/contract/ports.ts';
import type { Description, Hypervisor } from './port.ts';

/** Nobody promises an order, and another one is no change. */
const sorted = (nodes: readonly string[]): string[] => [...nodes].sort();

/** All of a membership that a power-off is judged by. */
const votesKey = ({ facts: { quorum } }: Description): string =>
  JSON.stringify(
    quorum && [
      quorum.quorate,
      quorum.totalVotes,
      quorum.quorumVotes,
      quorum.qdevice?.voting ?? null,
      sorted(quorum.members.filter(({ online }) => online).map(({ node }) => node)),
    ],
  );

type Seen = { key: string; sinceMs: number };

export function watchMembers(driver: Hypervisor, clock: Clock): Hypervisor {
  const seen = new Map<string, Seen>();
  function note(source: string, key: string): number {
    const nowMs = clock.monotonicMs();
    const before = seen.get(source);
    const now = before?.key === key ? before : { key, sinceMs: nowMs };
    seen.set(source, now);
    return now.sinceMs;
  }
  return {
    ...driver,
    async sample(node) {
      const sample = await driver.sample(node);
      note(
        `members of ${node}`,
        JSON.stringify(sample.membersOnline && sorted(sample.membersOnline)),
      );
      return sample;
    },
    async describe(node, asked) {
      const description = await driver.describe(node, asked);
      if (description.facts.quorum === null) return description;
      const votesSinceMs = note(`votes of ${node}`, votesKey(description));
      const membersSinceMs = seen.get(`members of ${node}`)?.sinceMs ?? Infinity;
      const sinceMs = Math.max(votesSinceMs, membersSinceMs);
      const membersStableForMs = Math.max(0, clock.monotonicMs() - sinceMs);
      return { ...description, membersStableForMs };
    },
  };
}
