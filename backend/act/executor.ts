/**
 * Chooses who executes: the node itself, the node a guest is on, or for a wake the first way of an
 * awake neighbour, and after a failed one the next. It also resolves a wake's addresses from stored facts, so that
 * the row and the signed grant leave nothing to choose.
 */
import type { CommandArgs, CommandKind } from '../../broker/contract/command.ts';
import type { Nodes } from '../store/sql/schema.ts';
import { guestOf, readNode } from './facts.ts';
import { parseDriver, parseFacts } from './guard-node.ts';
import { refuse } from './refusal.ts';
import type { Step } from './step.ts';
import {
  broadcastsOf,
  type Candidate,
  macsOf,
  type WakerKind,
  type Way,
  waysTo,
} from './wake-ways.ts';

export type Wanted = { kind: CommandKind; node: string; guest: string | null; args: object };
export type Assigned = { executor: string; args: object };

/** A way that was tried before, as the row of its command names it. */
export type Tried = { executor: string; by: WakerKind | null };

/** Who is there now to wake this node. */
export async function wakeCandidates(step: Step, target: Nodes): Promise<Candidate[]> {
  const rows = await step.rows.neighbours({ cluster: target.cluster, id: target.id });
  return rows
    .filter(({ cluster, id }) => step.context.reach.isOnline(cluster, id))
    .map((row) => ({
      id: row.id,
      canWake: parseDriver(row)?.capabilities.includes('node.wake') ?? false,
      facts: parseFacts(row),
    }));
}

/** The first way that was tried least, so that a failing one is followed by the next. */
async function chooseWay(
  step: Step,
  target: Nodes,
  { waker, tried }: { waker: string | undefined; tried: readonly Tried[] },
): Promise<(Way & { isDeclared: boolean }) | undefined> {
  const candidates = await wakeCandidates(step, target);
  const timesTried = ({ executor, by }: Way): number =>
    tried.filter((one) => one.executor === executor && (one.by ?? by) === by).length;
  const way = waysTo({ id: target.id, facts: parseFacts(target) }, candidates)
    .filter(({ by }) => waker === undefined || by === waker)
    .toSorted((a, b) => timesTried(a) - timesTried(b))[0];
  const declared = candidates.find(({ id }) => id === way?.executor)?.facts?.wakers ?? null;
  return way && { ...way, isDeclared: declared !== null };
}

async function assignWake(
  step: Step,
  wanted: Wanted,
  { target, tried }: { target: Nodes; tried: readonly Tried[] },
): Promise<Assigned> {
  const { waker, ...given } = wanted.args as CommandArgs<'node.wake'>;
  const facts = parseFacts(target);
  const macs = given.macs ?? macsOf(facts);
  const broadcasts = given.broadcasts ?? broadcastsOf(facts).slice(0, 16);
  const way = await chooseWay(step, target, { waker, tried });
  // A daemon that named its wakers is told which one; any other has but one.
  const by = way?.isDeclared ? way.by : waker;
  const args = { ...given, ...(by && { waker: by }), ...(macs.length > 0 && { macs }), broadcasts };
  // Without a waker the row keeps its target as executor, and the guards say why it is refused.
  return { executor: way?.executor ?? target.id, args };
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
export async function assign(
  step: Step,
  wanted: Wanted,
  tried: readonly Tried[] = [],
): Promise<Assigned> {
  const node = await knownNode(step, wanted.node, 'node');
  const { kind, guest, args } = wanted;
  if (kind === 'node.wake') return assignWake(step, wanted, { target: node, tried });
  if (guest !== null && kind !== 'guest.create') checkGuest(step, wanted, guest);
  if (kind === 'guest.migrate') {
    const { targetNode } = args as CommandArgs<'guest.migrate'>;
    await knownNode(step, targetNode, 'args.targetNode');
  }
  return { executor: node.id, args };
}
