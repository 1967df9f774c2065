/**
 * What the server says, sorted: receipts and the numbers of a checked sync move the outbox,
 * everything about commands is relayed to the executor untouched. What cannot be decoded, or
 * belongs to another session, is dropped and counted; nothing here is believed unsigned except
 * receipts, which can only cost a replay.
 */
import { decode, decodeServer, encode } from '../../broker/contract/codec.ts';
import type { Message } from '../../broker/contract/messages.ts';
import { serverTopic, serverToNode } from '../../broker/contract/topics.ts';
import type { CheckedSync, FromExecutor, ToExecutor } from '../command/executor-port.ts';
import { type Agent, envelope, isOnline, type NodeState, publish } from './agent.ts';
import { sayGoodbye, sayHello } from './presence.ts';
import { applyReceipt, applySync } from './replaying.ts';
import { changePace } from './sampling.ts';

/** A restarted backend behind an external broker hears all hellos again, spread over this. */
const helloSpreadMs = 5_000;

export const subscriptionsOf = (cluster: string, nodes: Iterable<string>): string[] => [
  serverTopic,
  ...[...nodes].flatMap((node) =>
    serverToNode
      .filter((name) => name !== 'enrolled')
      .map((name) => `kr/v1/${cluster}/${node}/${name}`),
  ),
];

export function onMessage(agent: Agent, topic: string, payload: Uint8Array): void {
  if (agent.isStopped) return;
  if (topic === serverTopic) return onServer(agent, payload);
  const decoded = decode(topic, payload);
  const state = decoded.ok ? agent.nodes.get(decoded.message.node) : undefined;
  if (!decoded.ok || !state) {
    agent.counters.rejectedMessages += 1;
    const rejection = decoded.ok ? { code: 'KR_WRONG_IDENTITY' } : decoded.rejection;
    agent.deps.log.debug({ topic, rejection }, 'message of the server dropped');
    return;
  }
  void route(agent, state, decoded.message).catch((error: unknown) =>
    agent.deps.log.error({ topic, err: error }, 'message of the server could not be handled'),
  );
}

const deliver = (agent: Agent, message: ToExecutor): Promise<CheckedSync | undefined> =>
  agent.deps.executor.deliver(message);

async function route(agent: Agent, state: NodeState, message: Message): Promise<void> {
  const { node } = message;
  switch (message.name) {
    case 'receipt':
      return applyReceipt(agent, state, message.body);
    case 'sync':
      return onSync(agent, state, message);
    case 'offer':
      return void (await deliver(agent, { name: 'offer', node, body: message.body }));
    case 'grant':
      return void (await deliver(agent, { name: 'grant', node, body: message.body }));
    case 'probe':
      return onProbe(agent, message);
    case 'verdict':
      return void (await deliver(agent, { name: 'verdict', node, body: message.body }));
    case 'enrolled': // The enrolment it answers is over.
    case 'telemetry':
    case 'presence':
    case 'hello':
    case 'claim':
    case 'report':
    case 'enrol':
      agent.counters.rejectedMessages += 1;
  }
}

/** A witness looks for the host itself first; whoever may not open a network asks only its driver. */
async function onProbe(agent: Agent, { node, body }: Message<'probe'>): Promise<void> {
  const { reach: look } = agent.deps;
  const { addresses, role, target } = body;
  const isAsked = role === 'witness' && target.kind === 'node' && target.id !== node;
  const reach = look && isAsked && addresses ? await look(addresses) : undefined;
  if (agent.isStopped) return;
  await deliver(agent, { name: 'probe', node, body, ...(reach && { reach }) });
}

async function onSync(agent: Agent, state: NodeState, message: Message<'sync'>): Promise<void> {
  const { session } = agent;
  if (message.session !== session) {
    agent.counters.rejectedMessages += 1;
    return;
  }
  const sync: ToExecutor = { name: 'sync', node: state.node, session, body: message.body };
  const checked = await deliver(agent, sync);
  if (!checked || agent.session !== session) return;
  changePace(agent, state, checked.intervalMs);
  const { storedIncarnation: incarnation, storedSeq } = checked;
  await applySync(agent, state, { incarnation, storedSeq });
}

function onServer(agent: Agent, payload: Uint8Array): void {
  const { clock, random, log } = agent.deps;
  const signed = decodeServer(payload);
  if (!signed) {
    agent.counters.rejectedMessages += 1;
    return;
  }
  deliver(agent, { name: 'server', body: signed }).catch((error: unknown) =>
    log.error({ err: error }, 'the server description could not be handled'),
  );
  // Said again word for word within one session: the backend restarted behind its broker.
  const seen = `${agent.session} ${signed.signed}`;
  if (agent.serverSeen !== seen) {
    agent.serverSeen = seen;
    return;
  }
  clock.after(Math.floor(random.ratio() * helloSpreadMs), () => {
    if (!isOnline(agent)) return;
    for (const state of agent.nodes.values()) void sayHello(agent, state);
  });
}

/** What the executor wants said. It repeats by itself what must not be lost. */
export async function onOutgoing(agent: Agent, said: FromExecutor): Promise<void> {
  if (!isOnline(agent)) return;
  const { node } = said;
  const state = agent.nodes.get(node);
  if (said.name === 'changed') return state && sayHello(agent, state, 'changed');
  if (said.name === 'goodbye') {
    // Should its host stay after all, the next look at it says hello again and takes this back.
    if (state) state.described = '';
    return sayGoodbye(agent, [node], 'shutdown');
  }
  const outgoing =
    said.name === 'claim'
      ? encode('claim', envelope(agent, node, said.body))
      : encode('report', envelope(agent, node, said.body));
  await publish(agent, outgoing);
  // What a command changed is a fact that the next command is judged by.
  if (said.name === 'report' && said.body.step === 'finished' && state) {
    await sayHello(agent, state, 'changed');
  }
}
