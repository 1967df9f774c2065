/**
 * Votes, as corosync counts them (`pvecm status`) and as they were given out (corosync.conf).
 * `/cluster/status` knows none. What cannot be read is null: a guard that needs votes then denies.
 * Pure.
 */
import type { NodeFacts } from '../../../broker/contract/facts.ts';

type QuorumFacts = NonNullable<NodeFacts['quorum']>;

export type PvecmMember = {
  nodeId: number;
  votes: number;
  /** `A,V,NMW`: alive, voting, no master wins; NA, NV their absence, NR not registered. */
  qdeviceFlags: readonly string[];
  isLocal: boolean;
};

export type PvecmStatus = {
  isQuorate: boolean;
  expectedVotes: number;
  totalVotes: number;
  quorumVotes: number;
  members: readonly PvecmMember[];
  /** Votes of the quorum device now; null where the cluster has none. */
  qdeviceVotes: number | null;
};

/** `Quorum:  2 Activity blocked` is how a cluster without quorum spells its 2. */
const numberAfter = (text: string, label: string): number | null => {
  const found = new RegExp(`^\\s*${label}:\\s+(\\d+)\\b`, 'm').exec(text);
  return found ? Number(found[1]) : null;
};

const row = /^\s*(0x[0-9a-f]+|\d+)\s+(\d+)\s+(\S.*?)\s*$/i;
const flagList = /^(?:(?:A|NA|V|NV|MW|NMW|MNW|NR|Qdevice)(?:,|$))+$/;

function memberOf(line: string): PvecmMember | 'qdevice' | undefined {
  const [, id, votes, rest] = row.exec(line) ?? [];
  if (id === undefined || votes === undefined || rest === undefined) return undefined;
  const nodeId = Number(id);
  if (nodeId === 0) return 'qdevice';
  const [first = ''] = rest.split(/\s+/);
  const qdeviceFlags = flagList.test(first) ? first.split(',') : [];
  return { nodeId, votes: Number(votes), qdeviceFlags, isLocal: rest.endsWith('(local)') };
}

/** null when the text is not a whole status, as on a node without a cluster. */
export function parsePvecmStatus(text: string): PvecmStatus | null {
  const expectedVotes = numberAfter(text, 'Expected votes');
  const totalVotes = numberAfter(text, 'Total votes');
  const quorumVotes = numberAfter(text, 'Quorum');
  const quorate = /^\s*Quorate:\s+(Yes|No)\b/m.exec(text)?.[1];
  if (expectedVotes === null || totalVotes === null || quorumVotes === null || !quorate) {
    return null;
  }
  const table = text.slice(text.indexOf('Membership information'));
  const members: PvecmMember[] = [];
  let qdeviceVotes: number | null = null;
  for (const line of table.split('\n')) {
    const member = memberOf(line);
    if (member === 'qdevice') qdeviceVotes = Number(row.exec(line)?.[2]);
    else if (member !== undefined) members.push(member);
  }
  if (members.length === 0) return null;
  const isQuorate = quorate === 'Yes';
  return { isQuorate, expectedVotes, totalVotes, quorumVotes, members, qdeviceVotes };
}

export type ConfiguredNode = { name: string; nodeId: number; votes: number };

/** The `node { ... }` blocks of corosync.conf. */
export function parseCorosyncNodes(text: string): ConfiguredNode[] {
  return [...text.matchAll(/^\s*node\s*\{([^}]*)\}/gm)].flatMap(([, block = '']) => {
    const field = (name: string) => new RegExp(`^\\s*${name}:\\s*(\\S+)`, 'm').exec(block)?.[1];
    const name = field('name') ?? field('ring0_addr');
    const nodeId = Number(field('nodeid'));
    if (name === undefined || !Number.isInteger(nodeId)) return [];
    return [{ name, nodeId, votes: Number(field('quorum_votes') ?? 1) }];
  });
}

/** Whether corosync.conf names a quorum device, connected or not. */
export const namesQuorumDevice = (text: string): boolean => /^\s*device\s*\{/m.test(text);

function qdeviceOf(status: PvecmStatus): QuorumFacts['qdevice'] {
  if (status.qdeviceVotes === null) return null;
  const flags = status.members.find(({ isLocal }) => isLocal)?.qdeviceFlags ?? [];
  const alive = flags.includes('A');
  const voting = flags.includes('V');
  // Seen by this very look; an unknown age would make every guard take it for dead.
  return { votes: status.qdeviceVotes, alive, voting, seenAgeMs: 0 };
}

/** All of a status that a guard of votes may turn on, as one word. */
export const wordOf = ({ isQuorate, totalVotes, members, ...status }: PvecmStatus): string => {
  const flags = members.find(({ isLocal }) => isLocal)?.qdeviceFlags ?? [];
  return JSON.stringify([isQuorate, totalVotes, status.qdeviceVotes, ...flags]);
};

/** Who is online comes from the membership, what an absent node would vote from its block. */
export function quorumFacts(
  status: PvecmStatus,
  configured: readonly ConfiguredNode[],
  nodeId: (name: string) => string,
): QuorumFacts {
  return {
    quorate: status.isQuorate,
    expectedVotes: status.expectedVotes,
    totalVotes: status.totalVotes,
    quorumVotes: status.quorumVotes,
    members: configured.map((node) => {
      const seen = status.members.find((member) => member.nodeId === node.nodeId);
      return { node: nodeId(node.name), votes: seen?.votes ?? node.votes, online: !!seen };
    }),
    qdevice: qdeviceOf(status),
  };
}
