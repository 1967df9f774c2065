/**
 * The agent: one MQTT connection that speaks for many nodes. It owns telemetry, presence and
 * outbox; about commands it only relays between the wire and the executor. It never queues in the
 * MQTT client: what must survive an outage stands in the ring, on disk or in the journal.
 */
import type { DaemonClientOptions } from '../../broker/client.ts';
import {
  type Agent,
  type LinkCounters,
  type LinkDeps,
  type LinkSettings,
  noCounters,
  type NodeState,
  within,
} from './agent.ts';
import { markLast } from './backfill.ts';
import { startDeviceWatch } from './device-watch.ts';
import { onMessage, onOutgoing, subscriptionsOf } from './incoming.ts';
import { createOutbox } from './outbox.ts';
import { sayBirth, sayGoodbye, sayHello, startUpkeep, will } from './presence.ts';
import { beginSession, newReplay, overdueMs } from './replay.ts';
import { stopPump } from './replaying.ts';
import { changePace, spill, startSampling } from './sampling.ts';

export type Link = {
  isConnected(): boolean;
  counters(): Readonly<LinkCounters>;
  /** Samples at this interval until the server asks for another. */
  setPace(intervalMs: number): void;
  /** Says goodbye, keeps what is unconfirmed, disconnects; within 2 s whatever the network does. */
  stop(): Promise<void>;
};

const farewellMaxMs = 1_000;
const disconnectMaxMs = 500;

async function firstState({ settings, deps }: Start, node: string): Promise<NodeState> {
  const { incarnation } = await deps.executor.introduce(node);
  return {
    node,
    incarnation,
    seq: 0,
    intervalMs: settings.intervalMs,
    dueAtMs: 0,
    isSampling: false,
    cancelBeat: () => undefined,
    replay: newReplay(),
    confirmedSeq: 0,
    described: '',
    guestsSeen: null,
    sampledAtMs: (await deps.marks?.read(node)) ?? null,
    markedAtMs: -Infinity,
    versions: null,
    deviceVote: undefined,
    helloAtMs: 0,
    aliveAtMs: 0,
  };
}

type Start = { settings: LinkSettings; deps: LinkDeps };

async function createAgent({ settings, deps }: Start): Promise<Agent> {
  const names = deps.hypervisor.nodes();
  const states = await Promise.all(names.map((node) => firstState({ settings, deps }, node)));
  return {
    settings,
    deps,
    nodes: new Map(states.map((state) => [state.node, state])),
    outbox: createOutbox(settings.ring),
    counters: noCounters(),
    session: deps.newId(),
    client: undefined,
    isStopped: false,
    lagMs: 0,
    cancelPump: undefined,
    earlier: { isSent: false, movedAtMs: 0, patienceMs: overdueMs },
    cancelUpkeep: () => undefined,
    cancelDeviceWatch: () => undefined,
    serverSeen: '',
  };
}

function onConnect(agent: Agent): void {
  if (agent.isStopped) return;
  const { clock, disk, executor, log } = agent.deps;
  const nowMs = clock.monotonicMs();
  agent.counters.sessions += 1;
  disk?.rewind();
  agent.earlier = { isSent: false, movedAtMs: nowMs, patienceMs: overdueMs };
  log.info({ session: agent.session, nodes: agent.nodes.size }, 'connected to the server');
  for (const state of agent.nodes.values()) {
    beginSession(state.replay, state.seq, nowMs);
    state.helloAtMs = nowMs;
    state.aliveAtMs = nowMs;
    void sayBirth(agent, state);
    void sayHello(agent, state);
    executor.connected(state.node, true);
  }
}

function onClose(agent: Agent, reason: string): void {
  const { executor, log } = agent.deps;
  log.warn({ reason }, 'not connected to the server');
  stopPump(agent);
  for (const node of agent.nodes.keys()) executor.connected(node, false);
}

function clientOptions(agent: Agent): DaemonClientOptions {
  const { settings, deps } = agent;
  const { url, cluster, daemon, secret, caSha256 } = settings;
  const { clock, random, log } = deps;
  const identity = `${cluster}/${daemon}`;
  return {
    url,
    clientId: identity,
    username: identity,
    password: secret,
    ...(caSha256 === null ? {} : { fingerprintSha256: caSha256 }),
    subscriptions: subscriptionsOf(cluster, agent.nodes.keys()),
    will() {
      agent.session = deps.newId();
      return will(agent);
    },
    onConnect: () => onConnect(agent),
    onMessage: (topic, payload) => onMessage(agent, topic, payload),
    onClose: (reason) => onClose(agent, reason),
    clock,
    random,
    log,
  };
}

async function stop(agent: Agent): Promise<void> {
  if (agent.isStopped) return;
  const { client, deps, nodes } = agent;
  const wasOnline = client?.isConnected() === true;
  agent.isStopped = true;
  stopPump(agent);
  agent.cancelUpkeep();
  agent.cancelDeviceWatch();
  for (const state of nodes.values()) state.cancelBeat();
  if (wasOnline) {
    await within(deps.clock, farewellMaxMs, sayGoodbye(agent, nodes.keys(), 'goodbye'));
  }
  markLast(agent);
  await spill(agent, agent.outbox.takeAll());
  await deps.disk?.close();
  if (client) await within(deps.clock, disconnectMaxMs, client.end());
}

/** Starts sampling and connecting at once; resolves without waiting for the network. */
export async function startLink(settings: LinkSettings, deps: LinkDeps): Promise<Link> {
  const agent = await createAgent({ settings, deps });
  deps.executor.onOutgoing((said) => onOutgoing(agent, said));
  for (const state of agent.nodes.values()) startSampling(agent, state);
  startUpkeep(agent);
  startDeviceWatch(agent);
  agent.client = deps.openClient(clientOptions(agent));
  return {
    isConnected: () => agent.client?.isConnected() === true,
    counters: () => agent.counters,
    setPace(intervalMs) {
      for (const state of agent.nodes.values()) changePace(agent, state, intervalMs);
    },
    stop: () => stop(agent),
  };
}
