/** MQTT by hand for tests: raw frames over a socket, a directory in memory, a broker on free ports. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { generate, type IConnectPacket, type Packet, parser } from 'mqtt-packet';
import type { Clock } from '../../broker/contract/ports.ts';
import type { Directory, Incoming, Ownership } from '../../broker/port.ts';
import { type Broker, type BrokerOptions, createBroker, type Urls } from '../../broker/server.ts';
import { memoryLog } from '../support/log.ts';
import { until } from '../support/servers.ts';

export const realClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(() => void run(), delayMs);
    return () => clearTimeout(timer);
  },
};

export const secretOf = (name: string): string => createHash('sha256').update(name).digest('hex');
export const hashOf = (secret: string): string => createHash('sha256').update(secret).digest('hex');

/** A directory in memory: secret by user name, ownership by client id, both changeable. */
export type MemoryDirectory = Directory & {
  add(daemon: Partial<Ownership> & { cluster: string; daemon: string }, secret?: string): Ownership;
  remove(clientId: string): void;
};

export function memoryDirectory(): MemoryDirectory {
  const credentials: { username: string; secret: string; ownership: Ownership }[] = [];
  return {
    add(who, secret = secretOf(`${who.cluster}/${who.daemon}`)) {
      const ownership = {
        simulated: false,
        enrolling: false,
        nodes: new Set([who.daemon]),
        ...who,
      };
      credentials.push({ username: `${who.cluster}/${who.daemon}`, secret, ownership });
      return ownership;
    },
    remove(clientId) {
      const kept = credentials.filter(({ username }) => username !== clientId);
      credentials.splice(0, credentials.length, ...kept);
    },
    authenticate: (username, secret) =>
      Promise.resolve(
        credentials.find(
          (entry) => entry.username === username && entry.secret === Buffer.from(secret).toString(),
        )?.ownership,
      ),
    ownership: (clientId) =>
      credentials.find(({ username, ownership }) => username === clientId && !ownership.enrolling)
        ?.ownership,
  };
}

export type TestBroker = {
  broker: Broker;
  directory: MemoryDirectory;
  received: Incoming[];
  urls: Urls;
  port: number;
  log: ReturnType<typeof memoryLog>;
};

export async function startBroker(options: Partial<BrokerOptions> = {}): Promise<TestBroker> {
  const directory = memoryDirectory();
  const log = memoryLog();
  const tcp = { host: '127.0.0.1', port: 0 };
  const broker = await createBroker({ directory, clock: realClock, log, tcp, ...options });
  const received: Incoming[] = [];
  broker.onMessage((message) => received.push(message));
  const urls = await broker.listen();
  return { broker, directory, received, urls, log, port: Number(new URL(urls.mqttUrl).port) };
}

export type Raw = {
  socket: Duplex;
  packets: Packet[];
  isClosed(): boolean;
  send(packet: Packet | Buffer): void;
  /** The first packet of this kind, waited for. */
  got<C extends Packet['cmd']>(cmd: C): Promise<Extract<Packet, { cmd: C }>>;
  closed(): Promise<void>;
};

export function rawOver(socket: Duplex): Raw {
  const packets: Packet[] = [];
  const parse = parser();
  parse.on('packet', (packet: Packet) => packets.push(packet));
  socket.on('data', (chunk: Buffer) => parse.parse(chunk));
  socket.on('error', () => undefined);
  let isClosed = false;
  socket.on('close', () => (isClosed = true));
  return {
    socket,
    packets,
    isClosed: () => isClosed,
    send(packet) {
      socket.write(packet instanceof Uint8Array ? packet : generate(packet));
    },
    async got(cmd) {
      const find = () => packets.find((packet) => packet.cmd === cmd);
      await until(() => find() !== undefined || isClosed, { what: cmd, withinMs: 10_000 });
      const found = find();
      if (!found) throw new Error(`closed before ${cmd} came`);
      return found as never;
    },
    closed: () => until(() => isClosed, { what: 'the close', withinMs: 10_000 }),
  };
}

export async function raw(port: number, host = '127.0.0.1'): Promise<Raw> {
  const socket: Socket = connect({ port, host });
  const client = rawOver(socket);
  await once(socket, 'connect');
  return client;
}

export const connectPacket = (
  username: string,
  over: Partial<IConnectPacket> = {},
): IConnectPacket & Packet => ({
  cmd: 'connect',
  protocolId: 'MQTT',
  protocolVersion: 4,
  clean: true,
  keepalive: 30,
  clientId: username,
  username,
  password: Buffer.from(secretOf(username)),
  ...over,
});

/** A connected raw session of a daemon. */
export async function session(port: number, username: string, over = {}): Promise<Raw> {
  const client = await raw(port);
  client.send(connectPacket(username, over));
  const { returnCode } = await client.got('connack');
  if (returnCode !== 0) throw new Error(`CONNACK ${returnCode}`);
  return client;
}

export const publishPacket = (topic: string, over: object = {}): Packet => ({
  cmd: 'publish',
  topic,
  payload: Buffer.from('{}'),
  qos: 0,
  dup: false,
  retain: false,
  ...over,
});

/** Everything sent before on this connection has been handled once the answer is here. */
export async function settled(client: Raw): Promise<void> {
  const before = client.packets.filter(({ cmd }) => cmd === 'pingresp').length;
  client.send({ cmd: 'pingreq' });
  await until(
    () =>
      client.packets.filter(({ cmd }) => cmd === 'pingresp').length > before || client.isClosed(),
    { what: 'PINGRESP', withinMs: 10_000 },
  );
}
