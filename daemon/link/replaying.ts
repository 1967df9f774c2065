/**
 * Sends stored samples again: at a fixed slow pace behind the live ones, from the ring and from
 * disk. A replayed sample keeps its message id, incarnation and seq; only the session, the time of
 * sending and what this daemon still holds are new, so the server stores it once however often it
 * comes. Only a receipt that names its own incarnation covers a sample: between a daemon and who
 * stores there may be a broker that loses one message and delivers the next.
 */
import { topicOf } from '../../broker/contract/topics.ts';
import { type Agent, isOnline, type NodeState, publish } from './agent.ts';
import {
  isReplaying,
  onStored,
  onSync,
  overdueMs,
  patienceMaxMs,
  repeatIfStuck,
} from './replay.ts';
import { sayHello } from './presence.ts';

type Stored = { incarnation: number; storedSeq: number };

function forget(agent: Agent, state: NodeState, storedSeq: number): void {
  state.confirmedSeq = Math.max(state.confirmedSeq, storedSeq);
  agent.outbox.cover(state.node, storedSeq);
}

export async function applySync(agent: Agent, state: NodeState, stored: Stored): Promise<void> {
  const { clock, disk, log } = agent.deps;
  const { node, incarnation, replay } = state;
  if (stored.incarnation > incarnation) {
    log.warn(
      { node, stored: stored.incarnation, incarnation },
      'the server has samples of a later start of this daemon: was its data folder restored?',
    );
  }
  const isOurs = stored.incarnation === incarnation;
  onSync(replay, isOurs ? stored.storedSeq : 0, clock.monotonicMs());
  if (isOurs) forget(agent, state, stored.storedSeq);
  startPump(agent);
  await disk?.cover(node, stored.incarnation, stored.storedSeq);
}

export async function applyReceipt(agent: Agent, state: NodeState, stored: Stored): Promise<void> {
  const { clock, disk } = agent.deps;
  const { node, replay } = state;
  const { incarnation, storedSeq } = stored;
  if (incarnation === state.incarnation) {
    onStored(replay, storedSeq, clock.monotonicMs());
    if (isReplaying(replay)) startPump(agent);
    forget(agent, state, storedSeq);
  } else if (disk && disk.heldFrom(node, incarnation) <= storedSeq) {
    agent.earlier = { isSent: true, movedAtMs: clock.monotonicMs(), patienceMs: overdueMs };
  }
  await disk?.cover(node, incarnation, storedSeq);
}

/** Samples of earlier starts without a receipt, long after they were sent: all of them again. */
function repeatEarlier(agent: Agent, nowMs: number): void {
  const { isSent, movedAtMs, patienceMs } = agent.earlier;
  if (!isSent || agent.cancelPump || nowMs - movedAtMs < patienceMs) return;
  const longerMs = Math.min(patienceMaxMs, patienceMs * 2);
  agent.earlier = { isSent: false, movedAtMs: nowMs, patienceMs: longerMs };
  agent.deps.disk?.rewind();
  startPump(agent);
}

/** Receipts that stand still mean samples were lost on the way, or the server forgot us. */
export function repeatStuck(agent: Agent, state: NodeState): void {
  const nowMs = agent.deps.clock.monotonicMs();
  repeatEarlier(agent, nowMs);
  const { node, replay } = state;
  if (nowMs - replay.progressAtMs < replay.patienceMs) return;
  let lastOverdueSeq = 0;
  for (let seq = replay.storedSeq; ; seq = lastOverdueSeq) {
    const sample = agent.outbox.after(node, seq);
    if (!sample || sample.takenAtMs > nowMs - overdueMs) break;
    lastOverdueSeq = sample.seq;
  }
  const overdue = { lastSeq: lastOverdueSeq, intervalMs: state.intervalMs };
  if (!repeatIfStuck(replay, overdue, nowMs)) return;
  agent.deps.disk?.rewind();
  startPump(agent);
  void sayHello(agent, state);
}

export function startPump(agent: Agent): void {
  const { clock } = agent.deps;
  if (agent.cancelPump || !isOnline(agent)) return;
  agent.cancelPump = clock.after(agent.settings.replayEveryMs, () => void step(agent));
}

export function stopPump(agent: Agent): void {
  agent.cancelPump?.();
  agent.cancelPump = undefined;
}

async function step(agent: Agent): Promise<void> {
  const { session } = agent;
  const fromRing = [...agent.nodes.values()].map((state) => replayFromRing(agent, state));
  const isDiskAtEnd = await replayFromDisk(agent);
  await Promise.all(fromRing);
  // Meanwhile the connection may have closed and another pump may be running.
  if (agent.session !== session) return;
  agent.cancelPump = undefined;
  const isMore = [...agent.nodes.values()].some(({ replay }) => isReplaying(replay));
  if (isMore || !isDiskAtEnd) startPump(agent);
}

async function replayFromRing(agent: Agent, { node, replay }: NodeState): Promise<void> {
  if (!isReplaying(replay)) return;
  const sample = agent.outbox.after(node, replay.nextSeq - 1);
  if (!sample || sample.seq > replay.untilSeq) {
    replay.nextSeq = replay.untilSeq + 1;
    return;
  }
  replay.nextSeq = sample.seq + 1;
  await resend(agent, sample);
}

/** True at the end of what the disk holds. */
async function replayFromDisk(agent: Agent): Promise<boolean> {
  const { disk, log } = agent.deps;
  if (!disk) return true;
  for (let count = 0; count < agent.nodes.size; count += 1) {
    const record = await disk.next();
    if (!record) return true;
    const state = agent.nodes.get(record.node);
    if (!state) {
      log.warn({ node: record.node }, 'stored sample of a node this daemon no longer speaks for');
      agent.counters.dropped += 1;
      await disk.cover(record.node, record.incarnation, record.seq);
      continue;
    }
    if (record.incarnation === state.incarnation) {
      await resend(agent, record);
      continue;
    }
    // Who stores may know nothing of that start, and must not wait for what never comes.
    await resend(agent, record, disk.heldFrom(record.node, record.incarnation) - 1);
    agent.earlier.isSent = true;
    agent.earlier.movedAtMs = agent.deps.clock.monotonicMs();
  }
  return false;
}

type Repeatable = { node: string; payload: string };
type Payload = Record<string, unknown> & { body: Record<string, unknown> };

async function resend(
  agent: Agent,
  { node, payload }: Repeatable,
  confirmedSeq?: number,
): Promise<void> {
  const again = JSON.parse(payload) as Payload;
  if (confirmedSeq !== undefined) again.body['confirmedSeq'] = confirmedSeq;
  again['session'] = agent.session;
  again['sentAtMs'] = agent.deps.clock.wallMs();
  const topic = topicOf(agent.settings.cluster, node, 'telemetry');
  const outgoing = { topic, payload: JSON.stringify(again), qos: 0, retain: false } as const;
  if (await publish(agent, outgoing)) agent.counters.replayed += 1;
}
