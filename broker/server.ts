/**
 * The embedded broker; alone imports aedes. Every hook is synchronous except the check of a
 * credential, since a waiting hook reorders messages. What a daemon publishes goes to the
 * listener the moment it is authorised, before any routing, so that no slow subscriber can hold
 * it up; the routing then finds nobody, because nobody may subscribe to it but a remote server.
 */
import type { EventEmitter } from 'node:events';
import { Aedes, type Client, type PublishPacket, type Subscription } from 'aedes';
import { may } from './access.ts';
import type { Outgoing } from './contract/codec.ts';
import * as limits from './contract/limits.ts';
import type { Broker, BrokerOptions, BrokerStats } from './face.ts';
import { createGate, type Gate } from './gate.ts';
import {
  type Accept,
  type Door,
  openTcp,
  openTls,
  openWebSocket,
  type TlsDoor,
} from './listeners.ts';
import './packet-numbers.ts';
import type { Incoming } from './port.ts';
import {
  connackCodes,
  publishRefusal,
  type Sent,
  type SessionRefusal,
  sessionRefusals,
} from './session-rules.ts';
import { currentParty, isNodeParty, judgeConnect, type Session } from './sessions.ts';

export type { Broker, BrokerOptions, BrokerStats, Urls } from './face.ts';

/** A frozen client is cut off after this long; until then its answers wait in memory. */
const drainTimeoutMs = 8_000;
/** Packets kept per client between CONNECT and CONNACK. */
const preConnackPacketsMax = 32;
/**
 * Heartbeats tell siblings of a broker cluster apart, and we have none. Every fourth one aedes
 * looks for wills of brokers that stopped beating, and a suspended machine would find its own;
 * six days is the longest interval whose fourfold still fits a timer.
 */
const heartbeatMs = 2 ** 29 - 1;

type State = {
  options: BrokerOptions;
  gate: Gate;
  sessions: WeakMap<Client, Session>;
  clients: Map<string, Client>;
  listeners: ((message: Incoming) => void)[];
  counts: Omit<BrokerStats, 'clients' | 'preAuthSockets' | 'gate' | 'session'>;
  refusals: Record<SessionRefusal, number>;
  closing: boolean;
};

type AnyPacket = Pick<PublishPacket, 'topic' | 'payload'> & { qos?: number; retain?: boolean };

const sentOf = ({ topic, payload, qos = 0, retain = false }: AnyPacket): Sent => ({
  topic,
  payload: typeof payload === 'string' ? Buffer.from(payload) : payload,
  qos,
  retain,
});

type AuthenticateDone = Parameters<Aedes['authenticate']>[3];

function welcome(state: State, client: Client, session: Session): void {
  const shares = () => {
    const now = currentParty(state.options, session);
    return isNodeParty(now) ? now.nodes.size : 1;
  };
  session.admission.open(session.party === 'server' ? null : shares);
  if (state.clients.has(client.id)) {
    state.counts.takeovers += 1;
    const { address } = session.admission;
    state.options.log.info(
      { client: client.id, address },
      'session replaced by its own credential',
    );
  }
}

async function authenticate(
  state: State,
  client: Client,
  secret: Uint8Array | undefined,
  done: AuthenticateDone,
): Promise<void> {
  const { sessions, clients, options, refusals } = state;
  const session = sessions.get(client);
  const holder = (id: string) => {
    const other = clients.get(id);
    return other && sessions.get(other);
  };
  const verdict = await judgeConnect(options, session, secret, holder).catch((error: unknown) => {
    options.log.error({ error: String(error) }, 'credentials could not be checked');
    return { ok: false, refusal: 'directory' } as const;
  });
  if (session && verdict.ok) {
    session.party = verdict.party;
    welcome(state, client, session);
    return done(null, true);
  }
  const refusal = verdict.ok ? 'noUser' : verdict.refusal;
  refusals[refusal] += 1;
  done(Object.assign(new Error(refusal), { returnCode: connackCodes[refusal] }), false);
}

/** Whether aedes offers the will of a client that still lives, which nobody asked it to publish. */
function isStrayWill(client: Client | null, packet: PublishPacket): client is null {
  if (client === null) return true;
  return 'will' in client && client.will === packet && !client.closed;
}

function receive(state: State, client: Client, packet: PublishPacket): SessionRefusal | undefined {
  const party = currentParty(state.options, state.sessions.get(client));
  if (!party) return 'credential';
  const sent = sentOf(packet);
  const refusal = publishRefusal(party, sent);
  if (refusal || party === 'server' || state.closing) return refusal;
  state.counts.messagesIn += 1;
  state.counts.bytesIn += sent.payload.byteLength;
  const receivedAtMs = state.options.clock.wallMs();
  const { topic, payload } = sent;
  const message = { topic, payload, client: client.id, receivedAtMs };
  for (const listener of state.listeners) listener(message);
  return undefined;
}

function authorizePublish(
  state: State,
  client: Client | null,
  packet: PublishPacket,
  done: (error?: Error | null) => void,
): void {
  if (isStrayWill(client, packet)) return done(new Error('will of a living session'));
  const refusal = receive(state, client, packet);
  if (!refusal) return done(null);
  state.refusals[refusal] += 1;
  done(new Error(`publish refused: ${refusal}`));
}

function authorizeSubscribe(
  state: State,
  client: Client,
  subscription: Subscription,
  done: (error: Error | null, subscription?: Subscription | null) => void,
): void {
  const party = currentParty(state.options, state.sessions.get(client));
  if (party && subscription.qos <= 1 && may(party, 'subscribe', subscription.topic)) {
    return done(null, subscription);
  }
  state.counts.subscribesRefused += 1;
  done(null, null);
}

function createAedes(state: State): Promise<Aedes> {
  const { sessions, options, counts } = state;
  return Aedes.createBroker({
    id: 'kernreaktor',
    // Persistence and emitter stay the in-memory ones: an asynchronous persistence loses QoS 1.
    // 0 = no common queue: with one, a single frozen subscriber stalls everybody.
    concurrency: 0,
    queueLimit: preConnackPacketsMax,
    // QoS 2 is refused before it is stored.
    maxInflightInbound: 1,
    maxClientsIdLength: 127,
    maxTopicLevels: limits.topicLevelsMax,
    connectTimeout: options.gateLimits?.connectTimeoutMs ?? limits.connectTimeoutMs,
    keepaliveLimit: limits.keepaliveSecondsMax,
    drainTimeout: options.drainTimeoutMs ?? drainTimeoutMs,
    heartbeatInterval: heartbeatMs,
    trustProxy: false,
    trustedProxies: [],
    preConnect(client, packet, done) {
      const { clientId, username, clean = true, will } = packet;
      const session = sessions.get(client);
      if (session) {
        session.connecting = {
          clientId,
          username,
          clean,
          will: will && sentOf(will),
        };
      }
      done(null, session !== undefined);
    },
    authenticate: (client, _username, secret, done) =>
      void authenticate(state, client, secret, done),
    authorizePublish: (client, packet, done) => authorizePublish(state, client, packet, done),
    authorizeSubscribe: (client, sub, done) => authorizeSubscribe(state, client, sub, done),
    authorizeForward(client, packet) {
      const party = currentParty(state.options, state.sessions.get(client));
      if (party && may(party, 'receive', packet.topic)) return packet;
      counts.forwardsRefused += 1;
      return null;
    },
    published: (_packet, _client, done) => done(null),
  });
}

function observe(state: State, aedes: Aedes): void {
  const { clients, counts, options } = state;
  aedes.on('client', (client) => void clients.set(client.id, client));
  aedes.on('clientDisconnect', (client) => {
    if (clients.get(client.id) === client) clients.delete(client.id);
  });
  const failed = (client: Client, error: Error): void => {
    counts.clientErrors += 1;
    const address = state.sessions.get(client)?.admission.address;
    options.log.debug({ client: client.id, address, why: error.message }, 'connection ended');
  };
  aedes.on('clientError', failed);
  aedes.on('connectionError', failed);
  (aedes as EventEmitter).on('error', (error: Error) => {
    options.log.error({ error: error.message }, 'broker error');
  });
}

export async function createBroker(options: BrokerOptions): Promise<Broker> {
  const state: State = {
    options,
    gate: createGate(options.clock, options.gateLimits),
    sessions: new WeakMap(),
    clients: new Map(),
    listeners: [],
    counts: {
      messagesIn: 0,
      bytesIn: 0,
      messagesOut: 0,
      takeovers: 0,
      subscribesRefused: 0,
      forwardsRefused: 0,
      clientErrors: 0,
    },
    refusals: Object.fromEntries(sessionRefusals.map((why) => [why, 0])) as Record<
      SessionRefusal,
      number
    >,
    closing: false,
  };
  const aedes = await createAedes(state);
  observe(state, aedes);
  return brokerOf(state, aedes);
}

function brokerOf(state: State, aedes: Aedes): Broker {
  const { options, gate, counts } = state;
  const doors: Door[] = [];
  let tlsDoor: TlsDoor | undefined;
  const accept: Accept = (socket) => {
    const admission = gate.admit(socket);
    if (!admission) return undefined;
    return (stream) => {
      admission.guard(stream);
      const client = aedes.handle(stream);
      state.sessions.set(client, { admission, connecting: undefined, party: undefined });
    };
  };
  const publish = ({ topic, payload, qos, retain }: Outgoing): Promise<void> => {
    if (state.closing) return Promise.reject(new Error('the broker is closing'));
    counts.messagesOut += 1;
    // Not awaited: it ends only when every subscriber's socket has taken the bytes.
    aedes.publish({ cmd: 'publish', topic, payload, qos, retain, dup: false }, (error) => {
      if (error) options.log.error({ topic, error: error.message }, 'publish failed');
    });
    return Promise.resolve();
  };
  return {
    publish,
    onMessage: (listener) => void state.listeners.push(listener),
    isConnected: () => doors.length > 0 && !state.closing,
    async listen() {
      doors.push(await openTcp(options.tcp, accept));
      if (options.tls) doors.push((tlsDoor = await openTls(options.tls, options.tls, accept)));
      const ws = options.ws && (await openWebSocket(options.ws, accept));
      if (ws) doors.push(ws);
      return { mqttUrl: doors[0]?.url ?? '', tlsUrl: tlsDoor?.url ?? null, wsUrl: ws?.url ?? null };
    },
    kick: (clientId) => state.clients.get(clientId)?.close(),
    renewTls: (credentials) => tlsDoor?.renew(credentials),
    stats: () => ({
      ...counts,
      clients: state.clients.size,
      preAuthSockets: gate.preAuthSockets(),
      gate: gate.counters(),
      session: state.refusals,
    }),
    async close() {
      if (state.closing) return;
      // From here on no will is heard: it is the server that leaves, not the daemons.
      state.closing = true;
      const closed = doors.map((door) => door.close());
      gate.close();
      await new Promise<void>((resolve) => aedes.close(resolve));
      await Promise.all(closed);
    },
  };
}
