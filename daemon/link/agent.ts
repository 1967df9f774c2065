/**
 * What the parts of the link share: one connection's state and that of every node it speaks for,
 * and the one way to put a message on the wire. Nothing here waits or decides.
 */
import { encode, type Outgoing } from '../../broker/contract/codec.ts';
import type { Bodies, Envelope } from '../../broker/contract/messages.ts';
import type { Cancel, Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import type { Telemetry } from '../../broker/contract/telemetry.ts';
import type { NodeToServer } from '../../broker/contract/topics.ts';
import type { DaemonClient, DaemonClientOptions } from '../../broker/client.ts';
import type { ExecutorPort } from '../command/executor-port.ts';
import type { Hypervisor } from '../hypervisor/port.ts';
import type { DiskOutbox } from './disk-outbox.ts';
import type { Marks } from './marks.ts';
import type { Outbox, OutboxLimits } from './outbox.ts';
import type { Reach } from './reach.ts';
import type { Replay } from './replay.ts';

export type LinkSettings = {
  url: string;
  cluster: string;
  /** Client id and user name are `<cluster>/<daemon>`. */
  daemon: string;
  secret: string;
  /** SHA-256 of the CA to believe, for mqtts and wss. */
  caSha256: string | null;
  intervalMs: number;
  ring: OutboxLimits;
  /** One stored sample per node is sent again this often, so that live ones pass unhindered. */
  replayEveryMs: number;
  /** Until the first beat at an interval; without it each node draws one, so that none are in step. */
  phaseMs?: (intervalMs: number) => number;
};

/** CPU time and memory of the whole process; only where the process is the daemon's own. */
export type Usage = () => { cpuMs: number; memoryBytes: number };

export type LinkDeps = {
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
  hypervisor: Hypervisor;
  executor: ExecutorPort;
  openClient: (options: DaemonClientOptions) => DaemonClient;
  /** Absent: what outgrows the ring is dropped and counted. */
  disk?: DiskOutbox;
  /** Absent: a gap between two starts is not noticed. */
  marks?: Marks;
  usage?: Usage;
  /** Absent: this daemon is no witness in its network. */
  reach?: Reach;
};

export type LinkCounters = {
  samples: number;
  sent: number;
  replayed: number;
  /** Beats skipped because the sample before was still being taken. */
  skippedBeats: number;
  failedSamples: number;
  /** Samples that no longer exist anywhere here and were not confirmed. */
  dropped: number;
  rejectedMessages: number;
  sessions: number;
};

export const noCounters = (): LinkCounters => ({
  samples: 0,
  sent: 0,
  replayed: 0,
  skippedBeats: 0,
  failedSamples: 0,
  dropped: 0,
  rejectedMessages: 0,
  sessions: 0,
});

export type NodeState = {
  readonly node: string;
  readonly incarnation: number;
  /** Of the newest sample taken. */
  seq: number;
  intervalMs: number;
  dueAtMs: number;
  isSampling: boolean;
  cancelBeat: Cancel;
  readonly replay: Replay;
  /** Receipts reach up to here, from whatever server: nothing of it is kept any more. */
  confirmedSeq: number;
  /** The description in the last hello, to tell when it changed. */
  described: string;
  /** Who is here, in which state and lock, by the newest sample; null before one could tell. */
  guestsSeen: string | null;
  /** When the newest sample was taken, unix ms; at a start, that of the run before. */
  sampledAtMs: number | null;
  markedAtMs: number;
  /** As the newest sample told them. */
  versions: Telemetry['versions'] | null;
  /** What the quorum device said at the last look; undefined before the first. */
  deviceVote: string | null | undefined;
  helloAtMs: number;
  aliveAtMs: number;
};

export type Agent = {
  readonly settings: LinkSettings;
  readonly deps: LinkDeps;
  readonly nodes: ReadonlyMap<string, NodeState>;
  readonly outbox: Outbox;
  readonly counters: LinkCounters;
  /** Drawn before each attempt to connect, since the will must name it. */
  session: string;
  client: DaemonClient | undefined;
  isStopped: boolean;
  /** Longest delay of a beat since the last presence. */
  lagMs: number;
  cancelPump: Cancel | undefined;
  /** Samples of earlier starts: whether some were sent again, when last, and how patient we are. */
  earlier: { isSent: boolean; movedAtMs: number; patienceMs: number };
  cancelUpkeep: Cancel;
  cancelDeviceWatch: Cancel;
  /** The last retained self-description, to tell a repetition from a change. */
  serverSeen: string;
};

export const isOnline = (agent: Agent): boolean =>
  !agent.isStopped && agent.client?.isConnected() === true;

export function envelope<B>(agent: Agent, node: string, body: B, seq = 0): Envelope<B> {
  const { clock, newId } = agent.deps;
  const { settings, session } = agent;
  const { cluster } = settings;
  return { v: 1, id: newId(), cluster, node, session, seq, sentAtMs: clock.wallMs(), body };
}

export const message = <N extends NodeToServer>(
  agent: Agent,
  node: string,
  name: N,
  body: Bodies[N],
): Outgoing => encode(name, envelope(agent, node, body));

/** False when the broker did not take it; whatever must not be lost is repeated by its owner. */
export async function publish(agent: Agent, outgoing: Outgoing): Promise<boolean> {
  const { client, deps } = agent;
  if (!client) return false;
  try {
    await client.publish(outgoing);
    return true;
  } catch (error) {
    deps.log.debug({ topic: outgoing.topic, err: error }, 'message not taken');
    return false;
  }
}

/** Settles with `work`, or after `limitMs` whatever `work` does. */
export async function within(clock: Clock, limitMs: number, work: Promise<unknown>): Promise<void> {
  let cancel: Cancel = () => undefined;
  const late = new Promise<void>((resolve) => {
    cancel = clock.after(limitMs, resolve);
  });
  await Promise.race([Promise.allSettled([work]), late]);
  cancel();
}
