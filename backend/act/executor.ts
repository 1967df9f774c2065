/**
 * Chooses who executes: the node itself, the node a guest is on, or for a wake the first awake
 * neighbour that can send, by id. It also resolves a wake's addresses from stored facts, so that
 * the row and the signed grant leave nothing to choose.
 */
import type { CommandArgs, CommandKind } from '../../broker/contract/command.ts';
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { Nodes } from '../store/sql/schema.ts';
import { guestOf, readNode } from './facts.ts';
import { parseDriver, parseFacts } from './guard-node.ts';
import { refuse } from './refusal.ts';
import type { Step } from './step.ts';

export type Wanted = { kind: CommandKind; node: string; guest: string | null; args: object };
export type Assigned = { executor: string; args: object };

const broadcastsOf = (facts: NodeFacts | null): string[] => [
  ...new Set((facts?.links ?? []).flatMap(({ broadcast }) => broadcast ?? [])),
];

/** Links that answer a magic packet; where no link says so, every link is worth a packet. */
function macsOf(facts: NodeFacts | null): string[] {
  const links = facts?.links ?? [];
  const armed = links.filter(({ wakeOnMagic }) => wakeOnMagic === true);
  return [...new Set((armed.length > 0 ? armed : links).map(({ mac }) => mac))].slice(0, 16);
}

/** Unknown broadcasts do not exclude: a directed packet may still be routed. */
function isNeighbour(candidate: string[], target: string[]): boolean {
  if (candidate.length === 0 || target.length === 0) return true;
  return candidate.some((broadcast) => target.includes(broadcast));
}

async function chooseWaker(step: Step, target: Nodes): Promise<string | undefined> {
  const { cluster, context } = step;
  const domain = broadcastsOf(parseFacts(target));
  const rows = await step.rows.neighbours(target);
  return rows
    .filter(({ id }) => context.reach.isOnline(cluster.id, id))
    .filter((row) => parseDriver(row)?.capabilities.includes('node.wake'))
    .find((row) => isNeighbour(broadcastsOf(parseFacts(row)), domain))?.id;
}

async function assignWake(step: Step, wanted: Wanted, target: Nodes): Promise<Assigned> {
  const given = wanted.args as CommandArgs<'node.wake'>;
  const facts = parseFacts(target);
  const macs = given.macs ?? macsOf(facts);
  const broadcasts = given.broadcasts ?? broadcastsOf(facts).slice(0, 16);
  const resolved = { ...given, ...(macs.length > 0 ? { macs } : {}), broadcasts };
  // Without a waker the row keeps its target as executor, and the guards say why it is refused.
  return { executor: (await chooseWaker(step, target)) ?? target.id, args: resolved };
}

async function knownNode(step: Step, node: string, field: string): Promise<Nodes> {
  const row = await readNode(step, node);
  if (row) return row;
  return refuse(404, 'KR_UNKNOWN_NODE', {
    field,
    detail: `cluster ${step.cluster.id} has no node ${node}`,
    wayOut: 'name a node that GET /api/v1/nodes lists for this cluster',
  });
}

function checkGuest(step: Step, wanted: Wanted, guest: string): void {
  const where = guestOf(step.context, step.cluster.id, guest)?.node;
  if (where === undefined) {
    refuse(404, 'KR_UNKNOWN_GUEST', {
      field: 'guest',
      detail: `cluster ${step.cluster.id} has no guest ${guest}`,
      wayOut: 'name a guest that GET /api/v1/guests lists for this cluster',
    });
  }
  if (where !== wanted.node) {
    refuse(409, 'KR_GUEST_ELSEWHERE', {
      field: 'node',
      detail: `guest ${guest} is on node ${where}, not on ${wanted.node}`,
      wayOut: `send it with node ${where}`,
    });
  }
}

/** Who does it, with which arguments; refuses what no node or guest of the cluster could mean. */
export async function assign(step: Step, wanted: Wanted): Promise<Assigned> {
  const node = await knownNode(step, wanted.node, 'node');
  const { kind, guest, args } = wanted;
  if (kind === 'node.wake') return assignWake(step, wanted, node);
  if (guest !== null && kind !== 'guest.create') checkGuest(step, wanted, guest);
  if (kind === 'guest.migrate') {
    const { targetNode } = args as CommandArgs<'guest.migrate'>;
    await knownNode(step, targetNode, 'args.targetNode');
  }
  return { executor: node.id, args };
}
