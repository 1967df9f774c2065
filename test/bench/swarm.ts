/**
 * The clients of `bench:connect` and `bench:ingest`, in a process of their own: raw sockets that speak just enough MQTT
 * 3.1.1, so that the generator costs as little as it can. Driven over IPC, one order at a time; the
 * same orders go to every broker. A refused or cut client tries again after a jittered pause, as a
 * daemon does.
 */
import { readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { generate } from 'mqtt-packet';
import { guestMetrics, type Metric, nodeMetrics } from '../../broker/contract/metrics.ts';
import { guestSample, nodeValues, telemetryBody, uuidOf } from '../support/messages.ts';

export type Target = { host: string; port: number; caFile: string | null; secret: string };
export type Order =
  | { do: 'connect'; target: Target; clients: number }
  | { do: 'cut' }
  | { do: 'pace'; messagesPerSecond: number; seconds: number; bytes: number }
  | { do: 'flood'; clients: number; seconds: number; bytes: number }
  | { do: 'sample'; guests: number; intervalMs: number; samples: number; fromMs: number };
/** Of samples also when the first was due, unix ms, and how late the latest left. */
type Sent = { sent: number; startMs?: number; lateMaxMs?: number };
export type Done = Sent & { ms: number; cpuSeconds: number; attempts: number };

export const nameOf = (index: number): string => `n${String(index).padStart(4, '0')}`;
export const topicOf = (index: number): string => `kr/v1/bench/${nameOf(index)}/telemetry`;

const retryMinMs = 100;
const retrySpreadMs = 400;

type Client = { index: number; socket: Socket | TLSSocket; isReady: boolean };
const clients: Client[] = [];
let attempts = 0;

const connectFrame = (index: number, secret: string): Buffer =>
  generate({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean: true,
    keepalive: 60,
    clientId: `bench/${nameOf(index)}`,
    username: `bench/${nameOf(index)}`,
    password: Buffer.from(secret),
  });

/** Resolves with the accepted session; every failure before that is tried again. */
function open(target: Target, ca: string | null, index: number): Promise<Client> {
  const { host, port, secret } = target;
  // One address per client, as one host has: the broker bounds the unauthenticated of each.
  const localAddress = `127.1.${index >> 7}.${(index & 127) + 1}`;
  return new Promise((resolve) => {
    const attempt = (): void => {
      attempts += 1;
      const door = { host, port, localAddress, noDelay: true };
      const socket =
        ca === null ? connectTcp(door) : connectTls({ ...door, ca, servername: 'localhost' });
      const client: Client = { index, socket, isReady: false };
      socket.once(ca === null ? 'connect' : 'secureConnect', () =>
        socket.write(connectFrame(index, secret)),
      );
      socket.on('data', (chunk: Buffer) => {
        // CONNACK: 0x20 0x02 flags code [MQTT-3.2].
        if (client.isReady || chunk[0] !== 0x20 || chunk[3] !== 0) return;
        client.isReady = true;
        resolve(client);
      });
      socket.on('error', () => undefined);
      socket.once('close', () => {
        if (client.isReady) return;
        setTimeout(attempt, retryMinMs + Math.random() * retrySpreadMs);
      });
    };
    attempt();
  });
}

async function connectAll({ target, clients: count }: Extract<Order, { do: 'connect' }>) {
  const ca = target.caFile === null ? null : readFileSync(target.caFile, 'utf8');
  const all = Array.from({ length: count }, (_, index) => open(target, ca, index));
  clients.push(...(await Promise.all(all)));
}

async function cut(): Promise<void> {
  const closed = clients.splice(0).map(
    ({ socket }) =>
      new Promise<void>((resolve) => {
        socket.once('close', () => resolve());
        socket.destroy();
      }),
  );
  await Promise.all(closed);
}

const publishFrame = (index: number, bytes: number): Buffer =>
  generate({
    cmd: 'publish',
    topic: topicOf(index),
    payload: Buffer.alloc(bytes, 'x'),
    qos: 0,
    dup: false,
    retain: false,
  });

/** Open loop: what is due is sent, whether or not the broker keeps up. */
async function pace({ messagesPerSecond, seconds, bytes }: Extract<Order, { do: 'pace' }>) {
  const frames = clients.map(({ index }) => publishFrame(index, bytes));
  const startMs = performance.now();
  const total = messagesPerSecond * seconds;
  let sent = 0;
  while (sent < total) {
    const due = Math.min(total, ((performance.now() - startMs) / 1000) * messagesPerSecond);
    for (; sent < due; sent += 1) {
      const at = sent % clients.length;
      clients[at]?.socket.write(frames[at] as Buffer);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return sent;
}

/** Every value of the catalogue, with as many digits as a daemon sends. */
const valuesOf = (metrics: readonly Metric[]): Record<string, number> =>
  Object.fromEntries(
    metrics.map(({ name, min, max, unit }) => {
      const value = min + Math.random() * (Math.min(max, 1e12) - min);
      return [name, unit === 'ratio' ? Math.round(value * 1e4) / 1e4 : Math.round(value)];
    }),
  );

/** Stands in prepared samples for the name of the node, so that each has guests of its own. */
const ownName = '@';

/** The values of a sample as JSON; made before the run, since making them costs as much as reading. */
function noise(guests: number): string {
  const node = nodeValues(valuesOf(nodeMetrics));
  const list = Array.from({ length: guests }, (_, guest) =>
    guestSample(`${ownName}.${guest}`, valuesOf(guestMetrics)),
  );
  return JSON.stringify(telemetryBody({ node, guests: list })).replace(
    /^\{"incarnation":\d+,"sampledAtMs":\d+,/,
    '',
  );
}

type Taken = { atMs: number; values: string };

/** What a daemon would publish, with the values of one of some prepared samples. */
function sampleFrame(index: number, seq: number, { atMs, values }: Taken): Buffer {
  const head = { v: 1, id: uuidOf(seq), cluster: 'bench', node: nameOf(index) };
  const rest = { session: uuidOf(index), seq, sentAtMs: atMs, body: { incarnation: 1 } };
  const envelope = JSON.stringify({ ...head, ...rest }).slice(0, -2);
  const own = values.replaceAll(ownName, nameOf(index));
  const payload = `${envelope},"sampledAtMs":${atMs},${own}}`;
  const publish = { cmd: 'publish', qos: 0, dup: false, retain: false } as const;
  return generate({ ...publish, topic: topicOf(index), payload });
}

const variants = 64;

/** Everyone's samples, spread over the interval, each stamped with the instant at which it was due. */
async function sample({ guests, intervalMs, samples, fromMs }: Extract<Order, { do: 'sample' }>) {
  const prepared = Array.from({ length: variants }, () => noise(guests));
  const startMs = performance.now();
  const total = clients.length * samples;
  let sent = 0;
  let lateMaxMs = 0;
  while (sent < total) {
    const passed = (performance.now() - startMs) / intervalMs;
    const due = Math.min(total, passed * clients.length);
    for (; sent < due; sent += 1) {
      const { index, socket } = clients[sent % clients.length] as Client;
      const values = prepared[sent % variants] as string;
      const dueAfterMs = (sent / clients.length) * intervalMs;
      lateMaxMs = Math.max(lateMaxMs, performance.now() - startMs - dueAfterMs);
      const seq = Math.floor(sent / clients.length) + 1;
      const atMs = fromMs + Math.round(dueAfterMs);
      socket.write(sampleFrame(index, seq, { atMs, values }));
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return { sent, startMs: performance.timeOrigin + startMs, lateMaxMs: Math.round(lateMaxMs) };
}

/** As fast as each socket takes it. */
async function flood({ clients: count, seconds, bytes }: Extract<Order, { do: 'flood' }>) {
  const untilMs = performance.now() + seconds * 1000;
  let sent = 0;
  const one = async ({ socket, index }: Client): Promise<void> => {
    const frame = publishFrame(index, bytes);
    while (performance.now() < untilMs && !socket.destroyed) {
      let hasRoom = true;
      for (let burst = 0; burst < 32 && hasRoom; burst += 1) {
        hasRoom = socket.write(frame);
        sent += 1;
      }
      if (hasRoom) await new Promise((resolve) => setImmediate(resolve));
      else await Promise.race([drained(socket), after(untilMs - performance.now())]);
    }
  };
  await Promise.all(clients.slice(0, count).map(one));
  return sent;
}

const drained = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.once('drain', done).once('close', done);
  });

const after = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));

async function obey(order: Order): Promise<Sent> {
  switch (order.do) {
    case 'connect':
      await connectAll(order);
      return { sent: 0 };
    case 'cut':
      await cut();
      return { sent: 0 };
    case 'pace':
      return { sent: await pace(order) };
    case 'sample':
      return sample(order);
    case 'flood':
    default:
      return { sent: await flood(order) };
  }
}

if (import.meta.main) {
  // Whoever gave the orders is gone.
  process.once('disconnect', () => process.exit());
  const carryOut = async (order: Order): Promise<void> => {
    const [startMs, before] = [performance.now(), process.cpuUsage()];
    attempts = 0;
    const sent = await obey(order);
    const { user, system } = process.cpuUsage(before);
    const ms = Math.round(performance.now() - startMs);
    const done: Done = { ms, cpuSeconds: (user + system) / 1e6, attempts, ...sent };
    process.send?.(done);
  };
  process.on('message', (order: Order) => void carryOut(order));
}
