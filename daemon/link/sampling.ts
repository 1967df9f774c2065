/**
 * One beat per node and interval, each node at a phase of its own, so that a fleet does not
 * sample in step. Samples of a node never overlap: a beat that finds the one before unfinished is
 * skipped and counted. A sample gets its seq when it is complete, online or not.
 */
import { encode } from '../../broker/contract/codec.ts';
import { guestsPerNodeMax, packetBytesMax } from '../../broker/contract/limits.ts';
import type { Telemetry } from '../../broker/contract/telemetry.ts';
import { topicOf } from '../../broker/contract/topics.ts';
import type { HostSample } from '../hypervisor/port.ts';
import { type Agent, envelope, isOnline, type NodeState, publish } from './agent.ts';
import { noticeGap } from './backfill.ts';
import type { Sample } from './outbox.ts';
import { isAsleep } from './presence.ts';
import { sayHello } from './presence.ts';
import { repeatStuck } from './replaying.ts';

export function startSampling(agent: Agent, state: NodeState): void {
  const { clock, random } = agent.deps;
  const { phaseMs: phaseOf } = agent.settings;
  const phaseMs = phaseOf?.(state.intervalMs) ?? Math.floor(random.ratio() * state.intervalMs);
  state.dueAtMs = clock.monotonicMs() + phaseMs;
  state.cancelBeat = clock.after(phaseMs, () => beat(agent, state));
}

/** The server may ask for another pace; the next beat keeps its random phase. */
export function changePace(agent: Agent, state: NodeState, intervalMs: number): void {
  if (intervalMs === state.intervalMs) return;
  state.intervalMs = intervalMs;
  state.cancelBeat();
  startSampling(agent, state);
}

function beat(agent: Agent, state: NodeState): void {
  if (agent.isStopped) return;
  const { clock } = agent.deps;
  const nowMs = clock.monotonicMs();
  const lateMs = Math.max(0, nowMs - state.dueAtMs);
  agent.lagMs = Math.max(agent.lagMs, lateMs);
  // A process that slept through beats goes on at its phase instead of catching up.
  state.dueAtMs = nowMs - (lateMs % state.intervalMs) + state.intervalMs;
  state.cancelBeat = clock.after(state.dueAtMs - nowMs, () => beat(agent, state));
  if (state.isSampling) agent.counters.skippedBeats += 1;
  else void take(agent, state, clock.wallMs() - (lateMs % state.intervalMs));
}

/** `dueAtMs`: the intended wall time, so that a late beat shows as latency and not as a late truth. */
async function take(agent: Agent, state: NodeState, dueAtMs: number): Promise<void> {
  const { hypervisor, log } = agent.deps;
  state.isSampling = true;
  try {
    const sample = await hypervisor.sample(state.node);
    if (agent.isStopped) return;
    record(agent, state, { sample, dueAtMs });
    notice(agent, state, sample);
  } catch (error) {
    agent.counters.failedSamples += 1;
    if (isAsleep(error)) noticeSleep(agent, state);
    else log.warn({ node: state.node, err: error }, 'the driver gave no sample');
  } finally {
    state.isSampling = false;
  }
}

/**
 * A guest came, went, or changed its state or lock: the server's guards judge guests by the
 * description in the last hello, and must not wait a minute for the next one.
 */
function notice(agent: Agent, state: NodeState, { guests }: HostSample): void {
  if (guests === null) return;
  const seen = guests.map(({ id, state: is, lock, haState, tags }) =>
    JSON.stringify([id, is, lock, haState, tags]),
  );
  const before = state.guestsSeen;
  state.guestsSeen = seen.sort().join();
  if (before === null || before === state.guestsSeen || !isOnline(agent)) return;
  void sayHello(agent, state, 'changed');
}

/** Stands for the guests of a node that sleeps, so that its first sample is news. */
const asleep = 'asleep';

function noticeSleep(agent: Agent, state: NodeState): void {
  if (state.guestsSeen === asleep) return;
  state.guestsSeen = asleep;
  if (isOnline(agent)) void sayHello(agent, state);
}

function encodeSample(agent: Agent, state: NodeState, body: Telemetry): string {
  const fitting = (guests: Telemetry['guests']) =>
    encode('telemetry', envelope(agent, state.node, { ...body, guests }, state.seq)).payload;
  const whole = fitting(body.guests);
  const isTooLarge =
    (body.guests?.length ?? 0) > guestsPerNodeMax || Buffer.byteLength(whole) > packetBytesMax;
  if (!isTooLarge) return whole;
  // The broker would close the connection over it; the node's own values still count.
  agent.deps.log.warn(
    { node: state.node, guests: body.guests?.length, guestsPerNodeMax, packetBytesMax },
    'too many guests for one sample: sent without them',
  );
  return fitting(null);
}

type Taken = { sample: HostSample; dueAtMs: number };

async function send(agent: Agent, { node, payload }: Pick<Sample, 'node' | 'payload'>) {
  const topic = topicOf(agent.settings.cluster, node, 'telemetry');
  if (await publish(agent, { topic, payload, qos: 0, retain: false })) agent.counters.sent += 1;
}

function record(agent: Agent, state: NodeState, { sample, dueAtMs }: Taken): void {
  const sampledAtMs = Math.round(dueAtMs);
  state.versions = sample.versions;
  keep(agent, state, { sampledAtMs, intervalMs: state.intervalMs, ...sample });
  noticeGap(agent, state, sampledAtMs, (past) => keep(agent, state, past));
}

function keep(agent: Agent, state: NodeState, body: Omit<Telemetry, 'incarnation'>): void {
  const { clock } = agent.deps;
  const { node, incarnation } = state;
  state.seq += 1;
  agent.counters.samples += 1;
  const { confirmedSeq } = state;
  const payload = encodeSample(agent, state, { incarnation, ...body, confirmedSeq });
  const takenAtMs = clock.monotonicMs();
  const evicted = agent.outbox.add({ node, incarnation, seq: state.seq, takenAtMs, payload });
  if (isOnline(agent)) {
    void send(agent, { node, payload });
    repeatStuck(agent, state);
  }
  // Neither is awaited: a frozen network or a slow disk must not cost a beat. Spills write in turn.
  void spill(agent, evicted);
}

/** Keeps on disk what the ring could not keep; without a disk, or with a full one, it is lost. */
export async function spill(agent: Agent, samples: readonly Sample[]): Promise<void> {
  const { disk, log } = agent.deps;
  if (samples.length === 0) return;
  try {
    if (!disk) agent.counters.dropped += samples.length;
    else await disk.append(samples);
  } catch (error) {
    agent.counters.dropped += samples.length;
    log.error({ err: error, samples: samples.length }, 'the disk outbox took no sample');
  }
}
