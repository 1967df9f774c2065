/**
 * The other side of the link, in memory: a server that stores what reaches it by (node,
 * incarnation, seq) and answers hellos, a wire that can be cut or made lossy, a driver of N nodes
 * and an executor that relays. It promises no more than the protocol page does.
 */
import type { DaemonClient, DaemonClientOptions } from '../../../broker/client.ts';
import { decode, encode, type Outgoing } from '../../../broker/contract/codec.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import type { Bodies, Message } from '../../../broker/contract/messages.ts';
import { nodeMetrics } from '../../../broker/contract/metrics.ts';
import type { NewId } from '../../../broker/contract/ports.ts';
import { serverTopic, type ServerToNode } from '../../../broker/contract/topics.ts';
import type { NodeValues } from '../../../broker/contract/telemetry.ts';
import type {
  CheckedSync,
  ExecutorPort,
  FromExecutor,
  ToExecutor,
} from '../../../daemon/command/executor-port.ts';
import type { Description, HostSample, Hypervisor } from '../../../daemon/hypervisor/port.ts';
import type { LinkSettings } from '../../../daemon/link/agent.ts';
import { startLink, type Link } from '../../../daemon/link/connection.ts';
import type { DiskOutbox } from '../../../daemon/link/disk-outbox.ts';
import type { Reach } from '../../../daemon/link/reach.ts';
import type { Marks } from '../../../daemon/link/marks.ts';
import { idsOf, seededRandom, virtualClock, type VirtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

export const cluster = 'home';

export type Server = {
  /** Every message that reached the server, in order. */
  heard: Message[];
  /** `node incarnation` -> seqs stored. */
  stored: Map<string, Set<number>>;
  /** Copies of an already stored seq. */
  duplicates: number;
  /** Seqs that receipts skip because they never came. */
  givenUp: Set<number>;
  answersHello: boolean;
  intervalMs: number;
  /** Says false for a telemetry message that the wire shall lose. */
  passes: (message: Message<'telemetry'>) => boolean;
  /** True: a publish stays unanswered for ever, as on a dead network. */
  isMute: boolean;
  /** True: connecting fails until it is false again. */
  isDown: boolean;
  online(): boolean;
  /** What the broker would publish should the connection break now. */
  will(): Message | undefined;
  subscriptions(): readonly string[];
  credentials(): { clientId: string; username: string; password: string };
  cut(): void;
  connect(): void;
  send<N extends ServerToNode>(node: string, name: N, body: Bodies[N], session?: string): void;
  sendServer(signed: string): void;
  /** A receipt per start of each node: everything stored without a gap. */
  receipts(): void;
  session(): string;
  of<N extends Message['name']>(name: N, node?: string): Message<N>[];
};

export const watermark = (seqs: ReadonlySet<number> | undefined): number => {
  let seq = 0;
  while (seqs?.has(seq + 1)) seq += 1;
  return seq;
};

const signature = Buffer.alloc(64).toString('base64');
const signedOf = (content: object | string) => ({
  signed: typeof content === 'string' ? content : JSON.stringify(content),
  keyId: '0'.repeat(16),
  signature,
});

export function createServer(newId: NewId): Server & {
  openClient: (options: DaemonClientOptions) => DaemonClient;
} {
  let options: DaemonClientOptions | undefined;
  let isConnected = false;
  let will: Outgoing | undefined;
  const parse = (out: Outgoing): Message => {
    const decoded = decode(out.topic, Buffer.from(out.payload));
    if (!decoded.ok) throw new Error(`${out.topic}: ${JSON.stringify(decoded.rejection)}`);
    return decoded.message;
  };
  /** Rounds in which the watermark of a start stood below samples already stored. */
  const stuck = new Map<string, { seq: number; rounds: number }>();
  const keyOf = (message: Message<'telemetry'>) => `${message.node} ${message.body.incarnation}`;

  function store(message: Message<'telemetry'>): void {
    if (!server.passes(message)) return;
    const seqs = server.stored.get(keyOf(message)) ?? new Set();
    server.stored.set(keyOf(message), seqs);
    if (seqs.has(message.seq)) server.duplicates += 1;
    seqs.add(message.seq);
  }

  /** The newest start with something stored without a gap, as the real watermark is kept. */
  function newest(node: string): { incarnation: number; seqs: Set<number> | undefined } {
    const found = [...server.stored.keys()]
      .filter((key) => key.startsWith(`${node} `))
      .map((key) => Number(key.split(' ')[1]));
    const incarnation = Math.max(0, ...found);
    return { incarnation, seqs: server.stored.get(`${node} ${incarnation}`) };
  }

  /** What nobody can send any more does not hold up receipts for ever: 9 rounds are 90 s. */
  function giveUpHole(key: string, seqs: Set<number>): void {
    const seq = watermark(seqs);
    const above = [...seqs].filter((one) => one > seq);
    const before = stuck.get(key);
    const rounds = before?.seq === seq && above.length > 0 ? before.rounds + 1 : 0;
    stuck.set(key, { seq, rounds });
    if (rounds < 9) return;
    for (let lost = seq + 1; lost < Math.min(...above); lost += 1) {
      seqs.add(lost);
      server.givenUp.add(lost);
    }
  }

  function answerHello(message: Message<'hello'>): void {
    if (!server.answersHello) return;
    const { incarnation, seqs } = newest(message.node);
    const content = {
      session: message.session,
      storedIncarnation: incarnation,
      storedSeq: watermark(seqs),
      intervalMs: server.intervalMs,
    };
    server.send(message.node, 'sync', signedOf(content), message.session);
  }

  const server: Server & { openClient: (given: DaemonClientOptions) => DaemonClient } = {
    heard: [],
    stored: new Map(),
    duplicates: 0,
    givenUp: new Set(),
    answersHello: true,
    intervalMs: 5_000,
    passes: () => true,
    isMute: false,
    isDown: false,
    online: () => isConnected,
    will: () => will && parse(will),
    subscriptions: () => options?.subscriptions ?? [],
    credentials() {
      const { clientId = '', username = '', password = '' } = options ?? {};
      return { clientId, username, password };
    },
    cut() {
      isConnected = false;
      options?.onClose('cut');
    },
    connect() {
      if (!options || isConnected) return;
      will = options.will();
      isConnected = true;
      options.onConnect();
    },
    send(node, name, body, session = newId()) {
      const head = { v: 1, id: newId(), cluster, node, session, seq: 0, sentAtMs: 0 } as const;
      const out = encode(name, { ...head, body });
      options?.onMessage(out.topic, Buffer.from(out.payload));
    },
    sendServer(signed) {
      options?.onMessage(serverTopic, Buffer.from(JSON.stringify(signedOf(signed))));
    },
    receipts() {
      for (const [key, seqs] of server.stored) {
        const [node = '', incarnation] = key.split(' ');
        giveUpHole(key, seqs);
        const storedSeq = watermark(seqs);
        if (storedSeq > 0)
          server.send(node, 'receipt', { incarnation: Number(incarnation), storedSeq });
      }
    },
    session: () => server.of('hello').at(-1)?.session ?? '',
    of: <N extends Message['name']>(name: N, node?: string) =>
      server.heard.filter(
        (message) => message.name === name && (node === undefined || message.node === node),
      ) as Message<N>[],
    openClient(given) {
      options = given;
      if (!server.isDown) queueMicrotask(() => server.connect());
      return {
        isConnected: () => isConnected,
        async publish(out) {
          if (!isConnected) throw new Error('not connected');
          if (server.isMute) return new Promise(() => undefined);
          const message = parse(out);
          server.heard.push(message);
          if (message.name === 'telemetry') store(message);
          if (message.name === 'hello') answerHello(message);
        },
        async end() {
          isConnected = false;
          will = undefined;
        },
      };
    },
  };
  return server;
}

export const valuesOf = (cpuRatio: number | null): NodeValues => ({
  ...(Object.fromEntries(nodeMetrics.map(({ name }) => [name, null])) as NodeValues),
  cpuRatio,
});

export type Fleet = Hypervisor & {
  facts: Map<string, Partial<Description['facts']>>;
  /** Replaces the next samples, for a driver that is slow or broken. */
  sampleHook: (() => Promise<void>) | undefined;
  guests: HostSample['guests'];
  guestFacts: Description['guests'];
  /** What the quorum device says; every question about it counts. */
  device: { word: string | null; questions: number };
};

export function fleetOf(nodes: readonly string[]): Fleet {
  let count = 0;
  const fleet: Fleet = {
    facts: new Map(),
    sampleHook: undefined,
    guests: [],
    guestFacts: null,
    device: { word: null, questions: 0 },
    async deviceVote() {
      fleet.device.questions += 1;
      return fleet.device.word;
    },
    nodes: () => nodes,
    describe: async (node) => ({
      driver: { name: 'memory', version: null, simulated: true, capabilities: [] },
      bootId: null,
      facts: NodeFacts.parse({ ...fleet.facts.get(node) }),
      guests: fleet.guestFacts,
    }),
    async sample() {
      await fleet.sampleHook?.();
      count += 1;
      return {
        node: valuesOf((count % 100) / 100),
        guests: fleet.guests,
        membersOnline: null,
        versions: { daemon: 'test', hypervisor: null, kernel: null },
      };
    },
    perform: async () => ({ exitCode: 0, detail: '', output: '' }),
    observe: async () => ({ postcondition: null, detail: '' }),
    close: async () => undefined,
  };
  return fleet;
}

export type Relay = ExecutorPort & {
  delivered: ToExecutor[];
  online: Map<string, boolean>;
  say: (message: FromExecutor) => void | Promise<void>;
};

/** Believes every signature, but only a sync of the session it is asked about. */
export function relayOf(newId: NewId, incarnation: number): Relay {
  const journalId = newId();
  const relay: Relay = {
    delivered: [],
    online: new Map(),
    say: () => undefined,
    introduce: async () => ({
      journalId,
      incarnation,
      maxEpoch: 0,
      openCommands: [],
      wakeTableVersion: null,
      localHold: false,
    }),
    async deliver(message) {
      relay.delivered.push(message);
      if (message.name !== 'sync') return undefined;
      const content = JSON.parse(message.body.signed) as CheckedSync & { session: string };
      return content.session === message.session ? content : undefined;
    },
    onOutgoing(listener) {
      relay.say = listener;
    },
    connected: (node, online) => void relay.online.set(node, online),
    close: async () => undefined,
  };
  return relay;
}

export type World = {
  clock: VirtualClock;
  newId: NewId;
  server: ReturnType<typeof createServer>;
  fleet: Fleet;
  relay: Relay;
  link: Link;
  log: ReturnType<typeof memoryLog>;
};

export type WorldOptions = {
  nodes?: readonly string[];
  incarnation?: number;
  settings?: Partial<LinkSettings>;
  disk?: DiskOutbox;
  marks?: Marks;
  history?: Hypervisor['history'];
  reach?: Reach;
  /** Carries the stored samples of an earlier daemon start. */
  before?: World;
  server?: (server: Server) => void;
};

export async function startWorld(given: WorldOptions = {}): Promise<World> {
  const clock = given.before?.clock ?? virtualClock();
  const random = seededRandom(7);
  const newId = given.before?.newId ?? idsOf(clock, seededRandom(42));
  const server = given.before?.server ?? createServer(newId);
  given.server?.(server);
  const fleet = fleetOf(given.nodes ?? ['pve1']);
  if (given.history) fleet.history = given.history;
  const relay = relayOf(newId, given.incarnation ?? 1);
  const log = memoryLog();
  const settings: LinkSettings = {
    url: 'mqtt://twin',
    cluster,
    daemon: 'd1',
    secret: 's'.repeat(64),
    caSha256: null,
    intervalMs: 5_000,
    ring: { ageMaxMs: 15 * 60_000, bytesMax: 48 * 2 ** 20 },
    replayEveryMs: 500,
    ...given.settings,
  };
  const link = await startLink(settings, {
    clock,
    random,
    newId,
    log,
    hypervisor: fleet,
    executor: relay,
    openClient: server.openClient,
    ...(given.disk && { disk: given.disk }),
    ...(given.marks && { marks: given.marks }),
    ...(given.reach && { reach: given.reach }),
  });
  await settle();
  return { clock, newId, server, fleet, relay, link, log };
}

/** Lets everything run that waits for no time. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Lets time pass with a receipt round of the server every 10 s. */
export async function live({ clock, server }: World, ms: number): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += 10_000) {
    await clock.advance(Math.min(10_000, ms - passedMs));
    if (server.online()) server.receipts();
    await settle();
  }
}
