/**
 * `/api/v1/stream`: one WebSocket that multiplexes telemetry, decisions and command events.
 *
 *   connected -- {token?, topics, clusters?} within 10 s --> subscribed -- again --> subscribed
 *        \---- wrong, late, too many, too slow, revoked ----> closed with a reason
 *
 * A client says what it wants and gets nothing else; its scope is that of its token. Node changes
 * go out once a second as one message. A client that does not read is dropped, never waited for.
 */
import type { WebSocket } from '@fastify/websocket';
import { z } from 'zod';
import { firstIssue } from '../../broker/contract/codec.ts';
import { ClusterId } from '../../broker/contract/ids.ts';
import type { Cancel, Clock, Log } from '../../broker/contract/ports.ts';
import type { Fleet } from '../state/fleet.ts';
import type { Principal } from './access.ts';
import type { CommandEvent, DecisionEvent } from './deps.ts';
import { type NodeView, nodeView } from './views.ts';

export const topics = ['telemetry', 'decisions', 'commands'] as const;
export type Topic = (typeof topics)[number];

const Subscribe = z.strictObject({
  token: z.string().max(256).optional(),
  topics: z.array(z.enum(topics)).min(1).max(topics.length),
  clusters: z.array(ClusterId).min(1).max(4_096).optional(),
});

/** Policy violation, going away, try again later [RFC 6455 7.4.1]. */
const closeCode = { policy: 1008, goingAway: 1001, busy: 1013 } as const;
const subscribeWithinMs = 10_000;
const batchMs = 1_000;
/** How often a client's token is looked up again: revocation ends a stream within this. */
const recheckMs = 5_000;
const perAccountMax = 8;
const inTotalMax = 256;
/** Two full batches of 2,048 nodes. */
const bufferedBytesMax = 2 * 1024 * 1024;

type Client = {
  socket: WebSocket;
  principal: Principal | undefined;
  /** Asks the tables whether the credential is still good. */
  recheck: () => Promise<Principal | undefined>;
  topics: ReadonlySet<Topic>;
  clusters: ReadonlySet<string> | null;
  /** Has not been told of the nodes yet. */
  isNew: boolean;
  cancel: Cancel;
};

export type Connection = {
  socket: WebSocket;
  /** Known already from the unix socket or a header. */
  principal: Principal | undefined;
  recheck: () => Promise<Principal | undefined>;
  authenticate: (token: string) => Promise<Principal | undefined>;
};

export type Stream = {
  connect(connection: Connection): void;
  onCommand(event: CommandEvent): void;
  onDecision(event: DecisionEvent): void;
  size(): number;
  close(): void;
};

type Deps = { clock: Clock; fleet: () => Fleet; log: Log };

const accountOf = ({ accountId, actor }: Principal): string => accountId ?? actor;

const end = (client: Client, code: number, reason: string): void => {
  client.cancel();
  client.socket.close(code, reason.slice(0, 120));
};

function send(client: Client, message: object): void {
  if (client.socket.bufferedAmount > bufferedBytesMax) {
    client.cancel();
    client.socket.terminate();
    return;
  }
  client.socket.send(JSON.stringify(message));
}

const isWanted = (client: Client, topic: Topic, cluster: string): boolean =>
  client.topics.has(topic) &&
  (client.clusters === null || client.clusters.has(cluster)) &&
  (client.principal?.clusters?.has(cluster) ?? client.principal !== undefined);

/**
 * What is new of the nodes since it was last asked. Compared by what the nodes are, not by time:
 * a sample enters the picture after its arrival, and a node grows stale without any.
 */
function nodeChanges(): (fleet: Fleet, nowMs: number) => { all: NodeView[]; changed: NodeView[] } {
  const told = new Map<string, string>();
  return (fleet, nowMs) => {
    const all: NodeView[] = [];
    const changed: NodeView[] = [];
    for (const [key, record] of fleet.nodes) {
      const view = nodeView(record, nowMs);
      const { state, online, protected: isProtected, localHold, desired } = view;
      const version = [record.incarnation, record.seq, state, online, isProtected, localHold];
      const mark = [...version, desired].join(' ');
      all.push(view);
      if (told.get(key) === mark) continue;
      told.set(key, mark);
      changed.push(view);
    }
    return { all, changed };
  };
}

const isMate = (a: Principal, b: Principal | undefined): boolean =>
  b !== undefined && accountOf(a) === accountOf(b);

/** Takes one message of a client; its answer is a subscription, an error or the end. */
async function subscribe(
  client: Client,
  text: string,
  { clients, authenticate }: { clients: ReadonlySet<Client> } & Pick<Connection, 'authenticate'>,
): Promise<void> {
  const parsed = Subscribe.safeParse(parseJson(text));
  if (!parsed.success) {
    const { field, hint } = firstIssue(parsed.error, '');
    send(client, { topic: 'error', code: 'KR_BODY', field, detail: hint });
    return;
  }
  const { token, topics, clusters } = parsed.data;
  if (token !== undefined) {
    client.recheck = () => authenticate(token);
    client.principal = await client.recheck();
  }
  const { principal } = client;
  if (!principal) return end(client, closeCode.policy, 'the first message needs a valid token');
  const mates = [...clients].filter((other) => isMate(principal, other.principal));
  if (mates.length > perAccountMax) {
    return end(client, closeCode.busy, `more than ${perAccountMax} streams of one account`);
  }
  client.cancel();
  client.topics = new Set(topics);
  client.clusters = clusters === undefined ? null : new Set(clusters);
  client.isNew = true;
  send(client, { topic: 'subscribed', topics, clusters: clusters ?? null });
}

async function recheckAll(clients: ReadonlySet<Client>): Promise<void> {
  for (const client of clients) {
    if (client.principal === undefined) continue;
    const principal = await client.recheck();
    if (principal === undefined) end(client, closeCode.policy, 'the token is no longer valid');
    else client.principal = principal;
  }
}

function sendChanges(
  clients: ReadonlySet<Client>,
  { all, changed }: { all: NodeView[]; changed: NodeView[] },
): void {
  for (const client of clients) {
    if (!client.topics.has('telemetry')) continue;
    // Everything is sent once, so that a client needs no list request of its own.
    const news = client.isNew ? all : changed;
    const nodes = news.filter(({ cluster }) => isWanted(client, 'telemetry', cluster));
    client.isNew = false;
    if (nodes.length > 0) send(client, { topic: 'telemetry', nodes });
  }
}

export function createStream({ clock, fleet, log }: Deps): Stream {
  const clients = new Set<Client>();
  const changesOf = nodeChanges();
  let ticking: Cancel | undefined;
  let recheckedAtMs = clock.monotonicMs();

  const tick = async (): Promise<void> => {
    const nowMs = clock.monotonicMs();
    if (nowMs - recheckedAtMs >= recheckMs) {
      recheckedAtMs = nowMs;
      // Without an answer of the store nobody is judged; the next round asks again.
      await recheckAll(clients).catch((error: unknown) =>
        log.warn({ err: error }, 'streams unchecked'),
      );
    }
    const isWatched = [...clients].some(({ topics }) => topics.has('telemetry'));
    if (isWatched) sendChanges(clients, changesOf(fleet(), nowMs));
    ticking = clients.size > 0 ? clock.after(batchMs, tick) : undefined;
  };
  const tell = (topic: Topic, event: { cluster: string; atMs: number }): void => {
    const { atMs, ...rest } = event;
    const message = { topic, ...rest, at: new Date(atMs).toISOString() };
    for (const client of clients) if (isWanted(client, topic, event.cluster)) send(client, message);
  };

  return {
    connect(connection) {
      const { socket, principal } = connection;
      if (clients.size >= inTotalMax) {
        socket.close(closeCode.busy, 'too many streams');
        return;
      }
      const client: Client = {
        socket,
        principal,
        recheck: connection.recheck,
        topics: new Set(),
        clusters: null,
        isNew: true,
        cancel: clock.after(subscribeWithinMs, () =>
          end(client, closeCode.policy, 'nothing was subscribed within 10 s'),
        ),
      };
      clients.add(client);
      ticking ??= clock.after(batchMs, tick);
      let busy = Promise.resolve();
      socket.on('message', (data, isBinary) => {
        const text = isBinary ? '' : rawText(data);
        // One after the other, so that a second subscription cannot overtake the first.
        busy = busy
          .then(() => subscribe(client, text, { clients, authenticate: connection.authenticate }))
          .catch(() => end(client, closeCode.busy, 'the server cannot check tokens now'));
      });
      socket.on('error', () => socket.terminate());
      socket.on('close', () => {
        client.cancel();
        clients.delete(client);
      });
    },
    onCommand: (event) => tell('commands', event),
    onDecision: (event) => tell('decisions', event),
    size: () => clients.size,
    close() {
      ticking?.();
      for (const client of clients) end(client, closeCode.goingAway, 'the server stops');
    },
  };
}

function rawText(data: unknown): string {
  if (Buffer.isBuffer(data)) return data.toString('utf8');
  return Array.isArray(data) ? Buffer.concat(data as Buffer[]).toString('utf8') : '';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
