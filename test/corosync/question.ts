/**
 * The product's rows about votes, asked about real nodes: facts are parsed from what corosync says
 * on each node by the Proxmox driver's own parser. Server rows and the node's own row are asked
 * apart, since each must be right alone.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';
import { evaluate } from '../../backend/act/guards.ts';
import { nodeGuards } from '../../daemon/command/guards-node.ts';
import {
  parseCorosyncNodes,
  parsePvecmStatus,
  quorumFacts,
} from '../../daemon/hypervisor/proxmox/quorum.ts';
import { facts, node, noHa, nodeFacts, power, realLimits } from '../backend/act/guard-samples.ts';

export type Answer = { server: boolean; local: boolean };

const voteRows = new Set(['two-nodes', 'quorum', 'qdevice', 'quorum-spare']);

type LocalFacts = Parameters<(typeof nodeGuards)[number]['verdict']>[0];

const localFacts = ({ name, facts: nodeFactsSeen }: Seen): LocalFacts => ({
  node: name,
  wanted: {
    commandId: '01990000-0000-7000-8000-00000000000a',
    kind: 'node.shutdown',
    target: { kind: 'node', id: name },
    args: {},
    epoch: 1,
  },
  grant: null,
  driver: null,
  nodeFacts: nodeFactsSeen,
  guests: [],
  runningGuests: 0,
  uptimeMs: 3_600_000,
  membersStableForMs: 3_600_000,
  guestSample: null,
  maxEpoch: 1,
  policy: { ok: true, policy: { allow: null, protected: false } },
  isHeldHere: false,
  isHeldByServer: false,
  isObserveOnly: false,
  wakers: 0,
  isTargetBusy: false,
  quarantined: null,
  hasReserve: true,
});

type Seen = { name: string; facts: NodeFacts; membersOnline: string[] };

/** null where corosync said nothing whole. */
export function seen(name: string, status: string, config: string): Seen | null {
  const parsed = parsePvecmStatus(status);
  if (!parsed) return null;
  const quorum = quorumFacts(parsed, parseCorosyncNodes(config), (id) => id);
  const membersOnline = quorum.members.flatMap((member) => (member.online ? [member.node] : []));
  return { name, facts: nodeFacts({ quorum, ha: noHa }), membersOnline };
}

/** May this node go, of those that are on, with so many voters to spare? */
export function mayGo(target: Seen, on: readonly Seen[], spareVoters: 0 | 1): Answer {
  const factOf = (one: Seen) =>
    node(one.name, { facts: one.facts, membersOnline: one.membersOnline });
  const { verdicts } = evaluate(
    'GRANT',
    0,
    facts('node.shutdown', {
      limits: { ...realLimits, spareVoters },
      target: { kind: 'node', id: target.name },
      executor: factOf(target),
      targetNode: factOf(target),
      power: power({ neighbours: on.filter((one) => one !== target).map(factOf) }),
    }),
  );
  const own = nodeGuards.find(({ id }) => id === 'votes');
  if (!own) throw new Error('the node has a row about votes');
  return {
    server: verdicts.every(({ id, denial }) => denial === null || !voteRows.has(id)),
    local: own.verdict(localFacts(target)) === null,
  };
}
