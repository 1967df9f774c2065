/**
 * One step of the command protocol: one transaction that first passes the fence of its cluster's
 * lease, so that a deposed backend changes nothing and the steps of a cluster happen one after
 * another in the store. What it says to nodes and listeners leaves only after the commit, and may
 * be lost: every message of the protocol is repeated or asked for again.
 */
import { z } from 'zod';
import type { CommandState } from '../../broker/contract/command.ts';
import { encode, type Outgoing } from '../../broker/contract/codec.ts';
import type { Bodies } from '../../broker/contract/messages.ts';
import type { Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import type { ServerToNode } from '../../broker/contract/topics.ts';
import type { ServerLink } from '../../broker/port.ts';
import type { Fleet } from '../state/fleet.ts';
import type { CommandRows, CommandStore } from '../store/command-store.ts';
import type { Clusters } from '../store/sql/schema.ts';
import type { ScaleRule } from '../decide/guest-policy.ts';
import type { Window } from '../decide/windows.ts';
import type { Load } from './guard.ts';
import type { Identity } from './house.ts';
import type { Asked } from './asked.ts';
import { type Lease, NotLeader } from './lease.ts';
import type { Reach } from './reach.ts';
import type { Signer } from './signer.ts';

export type CommandEvent = {
  id: string;
  cluster: string;
  kind: string;
  state: CommandState;
  atMs: number;
  reason: string | null;
  /** The target, or the node that acts on a guest. */
  node: string;
  guest: string | null;
};

export type Counters = {
  /** Messages dropped because too many waited; their senders repeat them. */
  droppedMessages: number;
  /** Messages for clusters another backend leads. */
  foreignMessages: number;
  grants: number;
  regrants: number;
  /** Claims left unanswered: target busy, HOLD, unknown journal. */
  silentClaims: number;
  offers: number;
  probes: number;
  /** Witnesses' words on what nobody had asked them. */
  unaskedAnswers: number;
  /** Reports that contradict the row; logged, never obeyed. */
  contradictions: number;
  failedPublishes: number;
};

/**
 * `copyBytesPerSecond`: how fast the network and the disks copy a guest. `sizes`: which guests
 * automation may scale, and between which sizes.
 */
export type PolicyWords = {
  windows: readonly Window[];
  copyBytesPerSecond: number;
  sizes: readonly ScaleRule[];
};

export type Context = {
  store: CommandStore;
  link: ServerLink;
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
  signer: Signer;
  lease: Lease;
  reach: Reach;
  asked: Asked;
  fleet: () => Fleet;
  /** Up to where the metrics store is durable for a node. */
  watermark: (cluster: string, node: string) => { incarnation: number; seq: number };
  /** How often a node is asked to sample. */
  intervalMs: (cluster: string, node: string) => number;
  /** What a policy's text says to this part; null where it cannot be read. */
  policyOf: (policyYaml: string) => PolicyWords | null;
  /** The machines our own parts run on, as this process can tell. */
  identities: readonly Identity[];
  /** The busiest of a node's past, null where the metrics store cannot say. */
  loadOf: (at: { cluster: string; node: string }, windowMs: number) => Promise<Load | null>;
  /** Bytes of memory a guest used over the stored past, p99; null where the store cannot say. */
  memoryP99Of: (at: { cluster: string; guest: string }) => Promise<number | null>;
  emit: (event: CommandEvent) => void;
  counters: Counters;
};

export type Step = {
  context: Context;
  rows: CommandRows;
  cluster: Clusters;
  /** HOLD of this cluster or of everything. */
  isHeld: boolean;
  epoch: number;
  /** The store's time at the start of the step. */
  nowMs: number;
  events: CommandEvent[];
  outgoing: Outgoing[];
};

/** How often as fast as ours the time of its world runs: 1 for every real cluster. */
export const timeScaleOf = (row: Pick<Clusters, 'simulated' | 'time_scale'>): number =>
  row.simulated === 1 ? row.time_scale : 1;

export const HoldAll = z.object({
  all: z.boolean(),
  reason: z.string().nullable(),
  by: z.string().nullable(),
  atMs: z.number().nullable(),
});
export type HoldAll = z.infer<typeof HoldAll>;
export const parseHold = (value: string | null): HoldAll =>
  value === null
    ? { all: false, reason: null, by: null, atMs: null }
    : HoldAll.parse(JSON.parse(value));

function demandEpoch({ lease }: Context, cluster: string): number {
  const epoch = lease.epochOf(cluster);
  if (epoch === undefined) throw new NotLeader(`the lease of cluster ${cluster} is not held`);
  return epoch;
}

async function openStep(context: Context, rows: CommandRows, id: string): Promise<Step> {
  const { lease } = context;
  const epoch = demandEpoch(context, id);
  // Nobody takes over, and no other step of this cluster begins, before this one has ended.
  if (!(await rows.passFence({ cluster: id, owner: lease.owner, epoch }))) {
    lease.drop(id);
    throw new NotLeader(`another backend took over cluster ${id}`);
  }
  const opened = await rows.openCluster(id);
  if (!opened) throw new NotLeader(`cluster ${id} has no row`);
  const { cluster, hold, nowMs } = opened;
  return {
    context,
    rows,
    cluster,
    isHeld: cluster.hold === 1 || parseHold(hold).all,
    epoch,
    nowMs,
    events: [],
    outgoing: [],
  };
}

/** Publishes without waiting for anyone's patience: what is lost here is repeated. */
export function publishAll(context: Context, outgoing: readonly Outgoing[]): void {
  for (const message of outgoing) {
    context.link.publish(message).catch((error: unknown) => {
      context.counters.failedPublishes += 1;
      context.log.debug({ topic: message.topic, err: error }, 'publish failed');
    });
  }
}

export async function inStep<T>(
  context: Context,
  cluster: string,
  work: (step: Step) => Promise<T>,
): Promise<T> {
  // Spares the store a transaction that could only find this out.
  demandEpoch(context, cluster);
  const { step, result } = await context.store.transaction(async (rows) => {
    const step = await openStep(context, rows, cluster);
    return { step, result: await work(step) };
  });
  publishAll(context, step.outgoing);
  for (const event of step.events) context.emit(event);
  return result;
}

/** The session a message is meant for where none is known: no daemon has this one. */
const noSession = '00000000-0000-0000-0000-000000000000';

export type To = { node: string; session?: string | null };

export function messageTo<N extends ServerToNode>(
  context: Context,
  name: N,
  to: To & { cluster: string; body: Bodies[N] },
): Outgoing {
  const { cluster, node, body } = to;
  const session = to.session ?? context.reach.contact(cluster, node).session ?? noSession;
  return encode(name, {
    v: 1,
    id: context.newId(),
    cluster,
    node,
    session,
    seq: 0,
    sentAtMs: Math.trunc(context.clock.wallMs()),
    body,
  });
}

/** Queues a message that leaves when the step has committed. */
export function say<N extends ServerToNode>(step: Step, name: N, to: To & { body: Bodies[N] }) {
  const cluster = step.cluster.id;
  step.outgoing.push(messageTo(step.context, name, { ...to, cluster }));
}
