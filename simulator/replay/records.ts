/** Hosts and guests of a trace in the words of the wire, as a daemon on them would report. */
import { NodeFacts } from '../../broker/contract/facts.ts';
import { type GuestSample, silentNode } from '../../broker/contract/telemetry.ts';
import type { ClusterRecord, NodeRecord } from '../../backend/state/fleet.ts';
import { unmeasuredGuest } from '../../backend/state/reduce.ts';
import type { HostModel } from './specs.ts';

export type Seen = { sample: number; atMs: number; names: readonly string[] };

/** A cluster of a replay: nobody holds it, and its policy is given beside it. */
export const clusterAt = (id: string): ClusterRecord => ({
  id,
  simulated: true,
  timeScale: 1,
  hold: false,
  autonomy: {},
  policyHash: null,
  policyYaml: null,
});

/** `members`: the voters of its cluster; null where hosts stand alone. */
export type Lasting = { memoryBytes: number; members: readonly string[] | null };

const quorumOf = (members: readonly string[]) => ({
  quorate: true,
  expectedVotes: members.length,
  totalVotes: members.length,
  quorumVotes: Math.floor(members.length / 2) + 1,
  members: members.map((node) => ({ node, votes: 1, online: true })),
  qdevice: null,
});

/** What lasts of a host: its size, speed against `reference`, and watts. */
export function nodeAt(
  model: HostModel,
  reference: HostModel,
  { memoryBytes: memory, members }: Lasting,
): Pick<NodeRecord, 'facts' | 'values'> {
  return {
    facts: NodeFacts.parse({
      quorum: members && quorumOf(members),
      cpuCount: model.cores,
      memoryBytes: memory,
      singleThreadFactor: model.coreMips / reference.coreMips,
      wattsIdle: model.watts[0],
      wattsLoaded: model.watts.at(-1),
    }),
    values: {
      ...silentNode,
      cpuCount: model.cores,
      memoryTotalBytes: memory,
      memoryUsedBytes: 0,
    },
  };
}

export const guestAt = (
  id: string,
  load: { cpuCount: number; cpuRatio: number; memoryBytes: number; memoryUsedBytes: number },
): GuestSample => ({
  ...unmeasuredGuest(id),
  cpuRatio: load.cpuRatio,
  cpuCount: load.cpuCount,
  memoryUsedBytes: load.memoryUsedBytes,
  memoryTotalBytes: load.memoryBytes,
});
