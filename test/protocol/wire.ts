/**
 * How messages travel between nodes and backends: through the network of the seed, past a broker
 * that outlives both and knows the sessions. With the real codec every message is bytes; without,
 * what nodes say stays an object and only what the server says is parsed. It notes all it carries.
 */
import { decode, decodeServer, encode } from '../../broker/contract/codec.ts';
import type { Bodies, Envelope, Message } from '../../broker/contract/messages.ts';
import type { Signed } from '../../broker/contract/server.ts';
import { serverTopic } from '../../broker/contract/topics.ts';
import type { Network } from './network.ts';

export type FromNode = 'telemetry' | 'presence' | 'hello' | 'claim' | 'report';
export type NodeMessage = Message<FromNode>;
export type ServerMessage =
  | { name: 'server'; body: Signed }
  | { name: 'sync'; session: string; body: Signed }
  | { name: 'grant'; session: string; body: Signed }
  | { name: 'offer' | 'probe' | 'verdict'; session: string; body: unknown };

export type NodeEnd = { receive(message: ServerMessage): void };
export type BackendEnd = { name: string; hear(message: NodeMessage): void };

export type Wire = {
  nodes: Map<string, NodeEnd>;
  backends: BackendEnd[];
  fromNode<N extends FromNode>(name: N, envelope: Envelope<Bodies[N]>): void;
  fromServer(backend: string, topic: string, payload: string): void;
  /** What the broker retains reaches whoever connects. */
  greet(cluster: string, node: string): void;
};

export type WireDeps = {
  network: Network;
  hasCodec: boolean;
  note: (line: () => string) => void;
  /** Sees what passes a broker that is not to be trusted with commands. */
  onClaim: (message: Message<'claim'>) => void;
};

type Pack = (name: FromNode, envelope: Envelope<never>) => () => NodeMessage;

/** Copies are the same bytes: what the first one is read as, all of them are. */
const packCoded: Pack = (name, envelope) => {
  const { topic, payload } = encode(name, envelope);
  let message: NodeMessage | undefined;
  return () => {
    if (message) return message;
    const decoded = decode(topic, Buffer.from(payload));
    if (!decoded.ok) throw new Error(`node said ${topic}: ${JSON.stringify(decoded)}`);
    message = decoded.message as NodeMessage;
    return message;
  };
};
const packPlain: Pack = (name, envelope) => {
  const message = { ...(envelope as Envelope<unknown>), name } as NodeMessage;
  return () => message;
};

function unpackCoded(topic: string, payload: string): ServerMessage {
  const bytes = Buffer.from(payload);
  if (topic === serverTopic) {
    const body = decodeServer(bytes);
    if (!body) throw new Error('the server description has no signature');
    return { name: 'server', body };
  }
  const decoded = decode(topic, bytes);
  if (!decoded.ok) throw new Error(`server said ${topic}: ${JSON.stringify(decoded)}`);
  return decoded.message as ServerMessage;
}

function unpackPlain(topic: string, payload: string): ServerMessage {
  const content = JSON.parse(payload) as { session: string; body: unknown };
  if (topic === serverTopic) return { name: 'server', body: content as never };
  const name = topic.slice(topic.lastIndexOf('/') + 1);
  return { name, session: content.session, body: content.body } as ServerMessage;
}

const subjectOf = ({ name, body }: NodeMessage): string => {
  if (name === 'claim') return `${body.commandId} ${body.nonce}`;
  if (name === 'report') return `${body.commandId} ${body.step} ${body.n}`;
  if (name === 'hello') return `${body.incarnation} ${body.maxEpoch} ${body.openCommands.length}`;
  if (name === 'presence') return body.reason;
  return body.guests?.map(({ id, state }) => `${id}${state}`).join() ?? '';
};

export const endOf = (cluster: string, node: string): string => `${cluster}/${node}`;

export function createWire({ network, hasCodec, note, onClaim }: WireDeps): Wire {
  const pack = hasCodec ? packCoded : packPlain;
  const unpack = hasCodec ? unpackCoded : unpackPlain;
  const backends: BackendEnd[] = [];
  const nodes = new Map<string, NodeEnd>();
  let retained: ServerMessage | undefined;

  const deliver = (key: string, message: ServerMessage, line: string): void => {
    note(() => `${key} < ${line}`);
    nodes.get(key)?.receive(message);
  };
  return {
    backends,
    nodes,
    fromNode(name, envelope) {
      const key = endOf(envelope.cluster, envelope.node);
      const message = pack(name, envelope as Envelope<never>);
      // Presence is the broker's own word once a session ends, and is kept for who is away.
      const carry = (ends: string[], deliver: () => void): void =>
        name === 'presence' ? network.tell(ends, deliver) : network.carry(ends, deliver);
      backends.forEach(({ name: end }, at) => {
        carry([key, end], () => {
          const backend = backends[at];
          const heard = message();
          note(() => `${key} > ${end} ${name} ${subjectOf(heard)}`);
          if (heard.name === 'claim' && at === 0) onClaim(heard);
          backend?.hear(heard);
        });
      });
    },
    fromServer(backend, topic, payload) {
      const message = unpack(topic, payload);
      const line = `${message.name} ${payload}`;
      if (message.name === 'server') {
        retained = message;
        for (const key of nodes.keys())
          network.carry([backend, key], () => deliver(key, message, line));
        return;
      }
      const [, , cluster = '', node = ''] = topic.split('/');
      const key = endOf(cluster, node);
      network.carry([backend, key], () => deliver(key, message, line));
    },
    greet(cluster, node) {
      const key = endOf(cluster, node);
      const message = retained;
      if (message) network.tell([key], () => deliver(key, message, 'retained'));
    },
  };
}
