/**
 * How a node shows itself: will, birth, hello, alive, goodbye. Hello is repeated until its sync
 * came, and again when the description changed, looked at once a minute. It never invents facts:
 * what driver and executor say goes out as they said it.
 */
import { encode, type Outgoing } from '../../broker/contract/codec.ts';
import { packetBytesMax } from '../../broker/contract/limits.ts';
import type { DaemonLoad, Hello } from '../../broker/contract/presence.ts';
import {
  type Agent,
  envelope,
  isOnline,
  message,
  type NodeState,
  publish,
  within,
} from './agent.ts';

const upkeepMs = 30_000;
const aliveEveryMs = 60_000;
const syncOverdueMs = 30_000;
/** What others say changes the wake table, which comes as the answer. */
const helloEveryMs = 600_000;
export const goodbyeMaxMs = 2_000;

/** MQTT knows one will per connection; it speaks by the first node for all of the session. */
export function will(agent: Agent): Outgoing | undefined {
  const [first] = agent.nodes.keys();
  if (first === undefined) return undefined;
  return message(agent, first, 'presence', { online: false, reason: 'will', load: null });
}

/** Measures this daemon since the last call; one call serves all its nodes. */
export function createLoadMeter(agent: Agent): () => DaemonLoad {
  const { clock, usage, disk } = agent.deps;
  let before = { atMs: clock.monotonicMs(), cpuMs: usage?.().cpuMs ?? 0 };
  return () => {
    const used = usage?.();
    const atMs = clock.monotonicMs();
    const elapsedMs = atMs - before.atMs;
    const cpuRatio = used && elapsedMs > 0 ? (used.cpuMs - before.cpuMs) / elapsedMs : null;
    before = { atMs, cpuMs: used?.cpuMs ?? 0 };
    const { lagMs } = agent;
    agent.lagMs = 0;
    return {
      lagMs: Math.round(lagMs),
      queuedSamples: agent.outbox.count() + (disk?.count() ?? 0),
      droppedSamples: agent.counters.dropped + (disk?.dropped() ?? 0),
      cpuRatio: cpuRatio === null ? null : Math.round(cpuRatio * 1e4) / 1e4,
      memoryBytes: used?.memoryBytes ?? null,
    };
  };
}

export async function sayBirth(agent: Agent, state: NodeState): Promise<void> {
  await publish(
    agent,
    message(agent, state.node, 'presence', { online: true, reason: 'birth', load: null }),
  );
}

/** `goodbye`: this daemon ends; `shutdown`: its host goes down. Answers within 2 s. */
export async function sayGoodbye(
  agent: Agent,
  nodes: Iterable<string>,
  reason: 'goodbye' | 'shutdown',
): Promise<void> {
  const said = [...nodes].map((node) =>
    publish(agent, message(agent, node, 'presence', { online: false, reason, load: null })),
  );
  await within(agent.deps.clock, goodbyeMaxMs, Promise.all(said));
}

async function introduce(agent: Agent, node: string): Promise<{ hello: Hello; key: string }> {
  const { hypervisor, executor } = agent.deps;
  const { driver, bootId, facts, guests } = await hypervisor.describe(node);
  const introduction = await executor.introduce(node);
  const { localHold, wakeTableVersion } = introduction;
  const key = JSON.stringify([driver, bootId, facts, guests, localHold, wakeTableVersion]);
  return { hello: { ...introduction, bootId, driver, facts, guests }, key };
}

function encodeHello(agent: Agent, node: string, hello: Hello): Outgoing {
  const whole = encode('hello', envelope(agent, node, hello));
  if (Buffer.byteLength(whole.payload) <= packetBytesMax) return whole;
  agent.deps.log.warn({ node, packetBytesMax }, 'too many guests for one hello: sent without them');
  return encode('hello', envelope(agent, node, { ...hello, guests: null }));
}

/** Told by a driver that may speak for a node that is off. */
export const isAsleep = (error: unknown): boolean =>
  (error as { code?: unknown } | null)?.code === 'KR_NODE_ASLEEP';

/** With `onlyIf: 'changed'` it stays silent while the last hello still holds. */
export async function sayHello(agent: Agent, state: NodeState, onlyIf?: 'changed'): Promise<void> {
  const { clock, log } = agent.deps;
  const { session } = agent;
  try {
    const { hello, key } = await introduce(agent, state.node);
    if (agent.session !== session || !isOnline(agent)) return;
    if (onlyIf === 'changed' && key === state.described) return;
    state.helloAtMs = clock.monotonicMs();
    if (await publish(agent, encodeHello(agent, state.node, hello))) state.described = key;
  } catch (error) {
    if (isAsleep(error)) return sayAsleep(agent, state);
    log.error(
      { node: state.node, err: error },
      'the node could not be described; hello is repeated',
    );
  }
}

/** One that speaks for many nodes is online although one of them sleeps: nobody may count on it. */
async function sayAsleep(agent: Agent, state: NodeState): Promise<void> {
  state.helloAtMs = agent.deps.clock.monotonicMs();
  // Every session begins with a birth, which this takes back.
  const asleep = `asleep in ${agent.session}`;
  if (state.described === asleep) return;
  state.described = asleep;
  agent.deps.log.info({ node: state.node }, 'the node sleeps; it says hello when it is awake');
  await sayGoodbye(agent, [state.node], 'goodbye');
}

export function startUpkeep(agent: Agent): void {
  const { clock, random } = agent.deps;
  const measure = createLoadMeter(agent);
  const run = (): void => {
    agent.cancelUpkeep = clock.after(upkeepMs, run);
    if (isOnline(agent)) upkeep(agent, measure);
  };
  agent.cancelUpkeep = clock.after(Math.floor(random.ratio() * upkeepMs), run);
}

function upkeep(agent: Agent, measure: () => DaemonLoad): void {
  const nowMs = agent.deps.clock.monotonicMs();
  let load: DaemonLoad | undefined;
  for (const state of agent.nodes.values()) {
    const isUnanswered = !state.replay.isSynced && nowMs - state.helloAtMs >= syncOverdueMs;
    const isDue = isUnanswered || nowMs - state.helloAtMs >= helloEveryMs;
    if (isDue) void sayHello(agent, state);
    if (nowMs - state.aliveAtMs < aliveEveryMs) continue;
    state.aliveAtMs = nowMs;
    load ??= measure();
    void publish(
      agent,
      message(agent, state.node, 'presence', { online: true, reason: 'alive', load }),
    );
    if (!isDue) void sayHello(agent, state, 'changed');
  }
}
