import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { generate, type Packet } from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type DaemonClient,
  type DaemonClientOptions,
  LinkError,
  openDaemonClient,
} from '../../broker/client.ts';
import { connectServerLink } from '../../broker/server-link.ts';
import type { Outgoing } from '../../broker/contract/codec.ts';
import { serverTopic } from '../../broker/contract/topics.ts';
import type { Incoming } from '../../broker/port.ts';
import { seededRandom, virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { until } from '../support/servers.ts';
import {
  hashOf,
  publishPacket,
  rawOver,
  type Raw,
  realClock,
  secretOf,
  session,
  startBroker,
} from './wire.ts';

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

type Seen = { connects: number; closes: string[]; messages: string[] };

function openClient(over: Partial<DaemonClientOptions>): { client: DaemonClient; seen: Seen } {
  const seen: Seen = { connects: 0, closes: [], messages: [] };
  const client = openDaemonClient({
    url: 'mqtt://127.0.0.1:1',
    clientId: 'home/pve1',
    username: 'home/pve1',
    password: secretOf('home/pve1'),
    subscriptions: ['kr/v1/home/pve1/sync', serverTopic],
    will: () => undefined,
    onConnect: () => (seen.connects += 1),
    onMessage: (topic, payload) =>
      seen.messages.push(`${topic} ${Buffer.from(payload).toString()}`),
    onClose: (reason) => seen.closes.push(reason),
    clock: realClock,
    random: seededRandom(1),
    log: memoryLog(),
    ...over,
  });
  ends.push(() => client.end());
  return { client, seen };
}

async function broker(options = {}) {
  const started = await startBroker(options);
  ends.push(() => started.broker.close());
  started.directory.add({ cluster: 'home', daemon: 'pve1' });
  return started;
}

/** A broker by hand, to see and answer the client's very packets. */
async function twinBroker(onClient: (client: Raw) => void): Promise<{ url: string }> {
  const sockets: Socket[] = [];
  const server: Server = createServer((socket) => {
    sockets.push(socket);
    onClient(rawOver(socket));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  ends.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return { url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const message = (over: Partial<Outgoing> = {}): Outgoing => ({
  topic: 'kr/v1/home/pve1/hello',
  payload: '{}',
  qos: 1,
  retain: false,
  ...over,
});

describe('daemon client', () => {
  it('names a new session in the will of every connection', async () => {
    const { urls, broker: server, received } = await broker();
    let sessions = 0;
    const will = () => {
      sessions += 1;
      return message({ topic: 'kr/v1/home/pve1/presence', payload: `session ${sessions}` });
    };
    const { seen } = openClient({ url: urls.mqttUrl, will });
    for (let round = 1; round <= 3; round += 1) {
      await until(() => seen.connects === round);
      server.kick('home/pve1');
      await until(() => received.length === round);
    }
    expect(received.map(({ payload }) => Buffer.from(payload).toString())).toEqual([
      'session 1',
      'session 2',
      'session 3',
    ]);
    expect(seen.closes).toHaveLength(3);
  });

  it('is subscribed when it reports the connection, and again after a reconnect', async () => {
    const { urls, broker: server } = await broker();
    const { seen } = openClient({
      url: urls.mqttUrl,
      onConnect: () =>
        void server.publish(message({ topic: 'kr/v1/home/pve1/sync', payload: 'hi' })),
    });
    await until(() => seen.messages.length === 1);
    server.kick('home/pve1');
    await until(() => seen.messages.length === 2);
    expect(seen.messages[1]).toBe('kr/v1/home/pve1/sync hi');
  });

  it('speaks MQTT 3.1.1 with a clean session and one SUBSCRIBE packet', async () => {
    let client: Raw | undefined;
    const { url } = await twinBroker((raw) => {
      client = raw;
      void raw
        .got('connect')
        .then(() => raw.send({ cmd: 'connack', returnCode: 0, sessionPresent: false }));
      void raw
        .got('subscribe')
        .then(({ messageId = 0 }) => raw.send({ cmd: 'suback', messageId, granted: [1, 1] }));
    });
    const { seen } = openClient({ url });
    await until(() => seen.connects === 1);
    expect(client?.packets.map(({ cmd }: Packet) => cmd)).toEqual(['connect', 'subscribe']);
    expect(client?.packets[0]).toMatchObject({ protocolVersion: 4, clean: true });
    expect(client?.packets[1]).toMatchObject({
      subscriptions: [
        { topic: 'kr/v1/home/pve1/sync', qos: 1 },
        { topic: serverTopic, qos: 1 },
      ],
    });
  });

  it('refuses to publish while it is not connected and never sends it later', async () => {
    const { urls, received } = await broker();
    const { client, seen } = openClient({ url: urls.mqttUrl });
    for (const qos of [0, 1] as const) {
      await expect(client.publish(message({ qos }))).rejects.toMatchObject({
        code: 'KR_NOT_CONNECTED',
      });
    }
    await until(() => seen.connects === 1);
    await client.publish(message({ payload: 'now' }));
    expect(received.map(({ payload }) => Buffer.from(payload).toString())).toEqual(['now']);
  });

  it('gives back what was not acknowledged when the connection closes', async () => {
    const { url } = await twinBroker((raw) => {
      void raw
        .got('connect')
        .then(() => raw.send({ cmd: 'connack', returnCode: 0, sessionPresent: false }));
      void raw
        .got('subscribe')
        .then(({ messageId = 0 }) => raw.send({ cmd: 'suback', messageId, granted: [1, 1] }));
      void raw.got('publish').then(() => raw.socket.destroy());
    });
    const { client, seen } = openClient({ url });
    await until(() => seen.connects === 1);
    const sent = client.publish(message());
    await expect(sent).rejects.toBeInstanceOf(LinkError);
    await expect(sent).rejects.toMatchObject({ code: 'KR_NOT_TAKEN' });
    await until(() => seen.closes.length > 0);
    expect(client.isConnected()).toBe(false);
  });

  it('keeps trying after a refusal, names the reason, and connects once it is let in', async () => {
    const { urls, directory } = await broker();
    const { seen } = openClient({
      url: urls.mqttUrl,
      clientId: 'home/late',
      username: 'home/late',
      password: secretOf('home/late'),
      subscriptions: ['kr/v1/home/late/sync'],
    });
    await until(() => seen.closes.length >= 1);
    expect(seen.closes[0]).toContain('Bad username or password');
    directory.add({ cluster: 'home', daemon: 'late' });
    await until(() => seen.connects === 1);
  });

  it('treats a refused subscription as no connection', async () => {
    const { urls } = await broker();
    const { seen } = openClient({
      url: urls.mqttUrl,
      subscriptions: ['kr/v1/home/pve1/sync', 'kr/v1/home/pve2/sync'],
    });
    await until(() => seen.closes.length >= 1);
    expect(seen.closes[0]).toContain('kr/v1/home/pve2/sync');
    expect(seen.connects).toBe(0);
  });

  it('says goodbye at the end, so that no will is published, and stays away', async () => {
    const { urls, received, broker: server } = await broker();
    const will = () => message({ topic: 'kr/v1/home/pve1/presence', payload: 'gone' });
    const { client, seen } = openClient({ url: urls.mqttUrl, will });
    await until(() => seen.connects === 1);
    await client.publish(message({ payload: 'goodbye' }));
    await client.end();
    await until(() => server.stats().clients === 0);
    expect(received.map(({ payload }) => Buffer.from(payload).toString())).toEqual(['goodbye']);
    expect(seen.closes).toEqual([]);
  });

  it('waits longer and longer between attempts, spread by chance, up to 30 seconds', async () => {
    let attempts = 0;
    const { url } = await twinBroker((raw) => {
      attempts += 1;
      raw.socket.destroy();
    });
    const clock = virtualClock();
    const delays: number[] = [];
    const { seen } = openClient({ url, clock, random: seededRandom(7) });
    for (let round = 1; round <= 9; round += 1) {
      await until(() => seen.closes.length === round);
      let waitedMs = 0;
      while (clock.pending() > 0 && waitedMs < 40_000) {
        await clock.advance(50);
        waitedMs += 50;
      }
      delays.push(waitedMs);
    }
    expect(attempts).toBeGreaterThanOrEqual(9);
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(250);
    expect(Math.max(...delays)).toBeLessThanOrEqual(30_050);
    expect(Math.max(...delays.slice(0, 2))).toBeLessThanOrEqual(4_050);
    expect(Math.max(...delays.slice(5))).toBeGreaterThan(5_000);
    expect(new Set(delays).size).toBeGreaterThan(6);
  });

  it('draws different delays from different seeds, so that daemons do not return in step', async () => {
    const { url } = await twinBroker((raw) => raw.socket.destroy());
    const delays = new Set<number>();
    for (let seed = 1; seed <= 8; seed += 1) {
      const clock = virtualClock();
      const { seen } = openClient({ url, clock, random: seededRandom(seed) });
      await until(() => seen.closes.length === 1);
      let waitedMs = 0;
      for (; clock.pending() > 0; waitedMs += 10) await clock.advance(10);
      delays.add(waitedMs);
    }
    expect(delays.size).toBeGreaterThan(5);
  });

  it('reaches the broker by WebSocket', async () => {
    const { urls, received } = await broker({ ws: { host: '127.0.0.1', port: 0 } });
    const { client, seen } = openClient({ url: urls.wsUrl ?? '' });
    await until(() => seen.connects === 1);
    await client.publish(message({ payload: 'x'.repeat(200_000) }));
    expect(received[0]?.payload.byteLength).toBe(200_000);
  });
});

describe('server link to an external broker', () => {
  const server = { username: 'kernreaktor-server', secretHash: hashOf('server secret') };
  const linkTo = async (url: string, password = 'server secret') => {
    const clock = realClock;
    const credential = { clientId: server.username, username: server.username, password };
    const common = { url, clock, random: seededRandom(3), log: memoryLog() };
    const link = await connectServerLink({ ...common, ...credential });
    ends.push(() => link.close());
    return link;
  };

  it('hears every node and reaches each', async () => {
    const { urls, port } = await broker({ server });
    const link = await linkTo(urls.mqttUrl);
    expect(link.isConnected()).toBe(true);
    const heard: Incoming[] = [];
    link.onMessage((incoming) => heard.push(incoming));
    const daemon = await session(port, 'home/pve1');
    daemon.send({
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: [{ topic: 'kr/v1/home/pve1/sync', qos: 1 }],
    });
    await daemon.got('suback');
    daemon.send(publishPacket('kr/v1/home/pve1/hello', { qos: 1, messageId: 2 }));
    await until(() => heard.length === 1);
    expect(heard[0]).toMatchObject({ topic: 'kr/v1/home/pve1/hello', client: null });
    await link.publish(message({ topic: 'kr/v1/home/pve1/sync', payload: 'answer' }));
    expect((await daemon.got('publish')).payload.toString()).toBe('answer');
  });

  it('repeats the retained self-description after the broker lost it', async () => {
    const first = await broker({ server });
    const link = await linkTo(first.urls.mqttUrl);
    await link.publish(message({ topic: serverTopic, retain: true, payload: 'page' }));
    await first.broker.close();
    await until(() => !link.isConnected());
    await expect(link.publish(message())).rejects.toMatchObject({ code: 'KR_NOT_CONNECTED' });
    const tcp = { host: '127.0.0.1', port: first.port };
    const second = await broker({ server, tcp });
    await until(() => link.isConnected());
    const daemon = await session(second.port, 'home/pve1');
    await until(async () => {
      daemon.send({
        cmd: 'subscribe',
        messageId: 1,
        subscriptions: [{ topic: serverTopic, qos: 1 }],
      });
      await daemon.got('suback');
      return daemon.packets.some(({ cmd }) => cmd === 'publish');
    });
    expect((await daemon.got('publish')).payload.toString()).toBe('page');
  });

  it('answers unconnected when the broker refuses it, and says so', async () => {
    const { urls } = await broker({ server });
    const link = await linkTo(urls.mqttUrl, 'wrong');
    expect(link.isConnected()).toBe(false);
  });
});

describe('frames of our own making', () => {
  it('fit the gate: a CONNECT of the longest ids, a will and a secret is below 4 KiB', () => {
    const id = `${'c'.repeat(63)}/${'d'.repeat(63)}`;
    const connect = generate({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clean: true,
      keepalive: 30,
      clientId: id,
      username: id,
      password: Buffer.from(secretOf('x')),
      will: { topic: `kr/v1/${id}/presence`, payload: Buffer.alloc(512), qos: 1, retain: false },
    });
    expect(connect.length).toBeLessThan(4_096 / 3);
  });
});
