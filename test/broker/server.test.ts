import { generate } from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import type { Outgoing } from '../../broker/contract/codec.ts';
import { serverToNode, serverTopic, topicOf } from '../../broker/contract/topics.ts';
import type { BrokerOptions } from '../../broker/server.ts';
import { until } from '../support/servers.ts';
import {
  connectPacket,
  hashOf,
  publishPacket,
  raw,
  type Raw,
  realClock,
  secretOf,
  session,
  settled,
  startBroker,
  type TestBroker,
} from './wire.ts';

const own = (name: string) => `kr/v1/home/pve1/${name}`;
const presence = own('presence');
const open: TestBroker[] = [];

async function brokerWith(options: Partial<BrokerOptions> = {}): Promise<TestBroker> {
  const started = await startBroker(options);
  open.push(started);
  for (const node of ['pve1', 'pve2']) started.directory.add({ cluster: 'home', daemon: node });
  return started;
}
afterEach(async () => {
  await Promise.all(open.splice(0).map(({ broker }) => broker.close()));
});

const outgoing = (topic: string, over: Partial<Outgoing> = {}): Outgoing => ({
  topic,
  payload: '{"from":"server"}',
  qos: 1,
  retain: false,
  ...over,
});

async function subscribe(client: Raw, topics: readonly string[], qos: 0 | 1 | 2 = 1) {
  client.send({
    cmd: 'subscribe',
    messageId: 9,
    subscriptions: topics.map((topic) => ({ topic, qos })),
  });
  return (await client.got('suback')).granted;
}

/** Connects and answers the return code of the CONNACK. */
async function connack(port: number, username: string, over: object = {}): Promise<number> {
  const client = await raw(port);
  client.send(connectPacket(username, over));
  const { returnCode } = await client.got('connack');
  if (returnCode !== 0) await client.closed();
  else client.socket.destroy();
  return returnCode ?? -1;
}

describe('CONNECT', () => {
  it('takes the right secret and refuses a wrong, a missing and an unknown one', async () => {
    const { port, broker } = await brokerWith();
    expect(await connack(port, 'home/pve1')).toBe(0);
    expect(await connack(port, 'home/pve1', { password: Buffer.from('wrong') })).toBe(4);
    expect(await connack(port, 'home/pve1', { password: undefined })).toBe(4);
    expect(await connack(port, 'home/nobody')).toBe(4);
    expect(await connack(port, 'home/pve1', { username: undefined, password: undefined })).toBe(4);
    expect(broker.stats().session).toMatchObject({ credential: 3, noUser: 1 });
  });

  it('refuses a client id that is not the identity, empty ones and inherited names included', async () => {
    const { port, broker } = await brokerWith();
    const ids = ['home/pve2', 'pve1', 'home/pve1/x', '__proto__', 'constructor', ''];
    for (const clientId of ids) expect(await connack(port, 'home/pve1', { clientId })).toBe(2);
    expect(broker.stats().session.clientIdNotUser).toBe(ids.length);
  });

  it('refuses a session that would keep an offline queue', async () => {
    const { port } = await brokerWith();
    expect(await connack(port, 'home/pve1', { clean: false })).toBe(2);
  });

  it('refuses MQTT 5 and a keepalive of zero or above two minutes', async () => {
    const { port } = await brokerWith();
    const client = await raw(port);
    client.send(connectPacket('home/pve1', { protocolVersion: 5 }));
    await client.closed();
    for (const keepalive of [0, 121]) {
      expect(await connack(port, 'home/pve1', { keepalive })).not.toBe(0);
    }
    expect(await connack(port, 'home/pve1', { keepalive: 120 })).toBe(0);
  });

  it('answers "unavailable" and stays up when the directory fails', async () => {
    const directory = {
      authenticate: () => Promise.reject(new Error('store down')),
      ownership: () => undefined,
    };
    const { port, log } = await brokerWith({ directory });
    expect(await connack(port, 'home/pve1')).toBe(3);
    expect(log.lines.some(({ level }) => level === 'error')).toBe(true);
  });

  it('lets the same credential replace its own session and publishes the old will first', async () => {
    const { port, received, broker } = await brokerWith();
    const will = { topic: presence, payload: Buffer.from('{"old":1}'), qos: 1, retain: false };
    const first = await session(port, 'home/pve1', { will });
    const second = await session(port, 'home/pve1');
    await first.closed();
    second.send(publishPacket(own('hello'), { qos: 1, messageId: 1 }));
    await second.got('puback');
    expect(received.map(({ topic }) => topic)).toEqual([presence, own('hello')]);
    expect(broker.stats()).toMatchObject({ takeovers: 1, clients: 1 });
  });

  it('lets no other credential end a session, however often it tries', async () => {
    const { port, directory, broker } = await brokerWith();
    directory.add({ cluster: 'home', daemon: 'pve1', enrolling: true }, 'token');
    const victim = await session(port, 'home/pve1');
    for (let tries = 0; tries < 100; tries += 1) {
      expect(await connack(port, 'home/pve2', { clientId: 'home/pve1' })).toBe(2);
      const wrong = { password: Buffer.from(secretOf(`guess ${tries}`)) };
      expect(await connack(port, 'home/pve1', wrong)).toBe(4);
    }
    expect(await connack(port, 'home/pve1', { password: Buffer.from('token') })).toBe(2);
    await settled(victim);
    expect(victim.isClosed()).toBe(false);
    expect(broker.stats().takeovers).toBe(0);
  });
});

describe('will', () => {
  const will = { topic: presence, payload: Buffer.from('{"gone":1}'), qos: 1, retain: false };

  it('is published when the connection breaks and dropped after a DISCONNECT', async () => {
    const { port, received } = await brokerWith();
    const polite = await session(port, 'home/pve1', { will });
    polite.send({ cmd: 'disconnect' });
    await polite.closed();
    const broken = await session(port, 'home/pve2', {
      will: { ...will, topic: 'kr/v1/home/pve2/presence' },
    });
    broken.socket.destroy();
    await until(() => received.length > 0);
    expect(received).toMatchObject([{ topic: 'kr/v1/home/pve2/presence', client: 'home/pve2' }]);
  });

  it.each([
    ['another node', { topic: 'kr/v1/home/pve2/presence' }],
    ['another topic of its own', { topic: own('report') }],
    ['the server', { topic: serverTopic }],
    ['more than 512 bytes', { payload: Buffer.alloc(513) }],
    ['QoS 2', { qos: 2 }],
    ['retain', { retain: true }],
  ])('is refused for %s', async (_what, change) => {
    const { port, received, broker } = await brokerWith();
    expect(await connack(port, 'home/pve1', { will: { ...will, ...change } })).toBe(5);
    expect(broker.stats().session.will).toBe(1);
    expect(received).toEqual([]);
  });

  it('is not published for a daemon whose credential was revoked meanwhile', async () => {
    const { port, received, directory, broker } = await brokerWith();
    const client = await session(port, 'home/pve1', { will });
    directory.remove('home/pve1');
    broker.kick('home/pve1');
    await client.closed();
    expect(received).toEqual([]);
  });

  it('is not heard when the broker itself closes', async () => {
    const { port, received, broker } = await brokerWith();
    const client = await session(port, 'home/pve1', { will });
    await broker.close();
    await client.closed();
    expect(received).toEqual([]);
  });
});

describe('PUBLISH', () => {
  it('reaches the listener at once with bytes, identity and time', async () => {
    const { port, received } = await brokerWith();
    const client = await session(port, 'home/pve1');
    client.send(publishPacket(own('telemetry'), { payload: Buffer.from('[1]') }));
    await until(() => received.length === 1);
    const [message] = received;
    expect(message).toMatchObject({ topic: own('telemetry'), client: 'home/pve1' });
    expect(Buffer.from(message?.payload ?? []).toString()).toBe('[1]');
    expect(message?.receivedAtMs).toBeGreaterThan(1_600_000_000_000);
  });

  it.each([
    ['another node', 'kr/v1/home/pve2/telemetry', {}],
    ['another cluster', 'kr/v1/work/pve1/telemetry', {}],
    ['a topic of the server', own('grant'), {}],
    ['the server page', serverTopic, {}],
    ['$SYS', '$SYS/kernreaktor/new/clients', {}],
    ['enrol without an enrolment', own('enrol'), {}],
    ['a deep topic', `kr/v1/${'a/'.repeat(200)}b`, {}],
    ['a wildcard', 'kr/v1/home/+/telemetry', {}],
    ['retain', own('telemetry'), { retain: true }],
    ['QoS 2', own('telemetry'), { qos: 2, messageId: 5 }],
  ])('to %s is refused, unheard and ends the session', async (_what, topic, over) => {
    const { port, received } = await brokerWith();
    const other = await session(port, 'home/pve2');
    const client = await session(port, 'home/pve1');
    client.send(publishPacket(topic, over));
    await client.closed();
    await settled(other);
    expect(received).toEqual([]);
    expect(client.packets.map(({ cmd }) => cmd)).toEqual(['connack']);
    expect(other.isClosed()).toBe(false);
  });

  it('is refused from the moment the directory no longer knows the daemon', async () => {
    const { port, received, directory } = await brokerWith();
    const client = await session(port, 'home/pve1');
    directory.remove('home/pve1');
    client.send(publishPacket(own('telemetry')));
    await client.closed();
    expect(received).toEqual([]);
  });

  it('above 256 KiB or above the budget ends the session', async () => {
    const { port, received, broker } = await brokerWith();
    const big = await session(port, 'home/pve1');
    big.send(publishPacket(own('telemetry'), { payload: Buffer.alloc(300 * 1024) }));
    await big.closed();
    expect(received).toEqual([]);
    const many = await session(port, 'home/pve2');
    for (let sent = 0; sent < 2_000; sent += 1) {
      many.send(publishPacket('kr/v1/home/pve2/telemetry'));
    }
    await many.closed();
    expect(broker.stats().gate).toMatchObject({ packetTooLarge: 1, tooManyPackets: 1 });
    expect(received.length).toBeLessThan(400);
  });
});

describe('SUBSCRIBE', () => {
  it('grants the topics of the server for owned nodes and the server page', async () => {
    const { port, broker } = await brokerWith();
    const client = await session(port, 'home/pve1');
    const topics = [...serverToNode.filter((name) => name !== 'enrolled').map(own), serverTopic];
    expect(await subscribe(client, topics)).toEqual(topics.map(() => 1));
    await broker.publish(outgoing(own('sync')));
    expect(await client.got('publish')).toMatchObject({ topic: own('sync'), qos: 1 });
  });

  it.each([
    'kr/v1/home/pve2/sync',
    'kr/v1/home/pve1/telemetry',
    'kr/v1/home/+/sync',
    'kr/v1/#',
    '#',
    '+/+/+/+/+',
    '$SYS/#',
    '$share/g/kr/v1/home/pve1/sync',
  ])('refuses %s', async (topic) => {
    const { port, broker } = await brokerWith();
    const client = await session(port, 'home/pve1');
    expect(await subscribe(client, [topic])).toEqual([128]);
    expect(broker.stats().subscribesRefused).toBe(1);
    const speaker = await session(port, 'home/pve2');
    speaker.send(publishPacket('kr/v1/home/pve2/telemetry', { qos: 1, messageId: 1 }));
    await speaker.got('puback');
    await broker.publish(outgoing('kr/v1/home/pve2/sync'));
    await settled(client);
    expect(client.packets.filter(({ cmd }) => cmd === 'publish')).toEqual([]);
  });

  it('refuses QoS 2', async () => {
    const { port } = await brokerWith();
    const client = await session(port, 'home/pve1');
    expect(await subscribe(client, [own('sync')], 2)).toEqual([128]);
  });

  it('delivers nothing more once a node is taken away, although the subscription stands', async () => {
    const { port, broker, directory } = await brokerWith();
    const client = await session(port, 'home/pve1');
    await subscribe(client, [own('sync')]);
    directory.remove('home/pve1');
    directory.add({ cluster: 'home', daemon: 'pve1', nodes: new Set(['pve9']) });
    await broker.publish(outgoing(own('sync')));
    await settled(client);
    expect(client.packets.filter(({ cmd }) => cmd === 'publish')).toEqual([]);
    expect(broker.stats().forwardsRefused).toBe(1);
  });

  it('shows the retained server page to whoever subscribes later', async () => {
    const { port, broker } = await brokerWith();
    await broker.publish(outgoing(serverTopic, { retain: true, payload: 'page' }));
    const client = await session(port, 'home/pve1');
    await subscribe(client, [serverTopic]);
    const packet = await client.got('publish');
    expect(packet).toMatchObject({ topic: serverTopic, retain: true });
    expect(packet.payload.toString()).toBe('page');
  });
});

describe('enrolling session', () => {
  it('may enrol and hear the answer for its nodes, and nothing else', async () => {
    const { port, directory, received, broker } = await brokerWith();
    directory.add({ cluster: 'home', daemon: 'new', enrolling: true }, 'token');
    const enrolling = () => session(port, 'home/new', { password: Buffer.from('token') });
    const client = await enrolling();
    const topic = (name: string) => `kr/v1/home/new/${name}`;
    expect(await subscribe(client, [topic('enrolled'), topic('sync'), topic('grant')])).toEqual([
      1, 128, 128,
    ]);
    client.send(publishPacket(topic('enrol'), { qos: 1, messageId: 3 }));
    await client.got('puback');
    expect(received).toMatchObject([{ topic: topic('enrol'), client: 'home/new' }]);
    await broker.publish(outgoing(topic('enrolled')));
    expect((await client.got('publish')).topic).toBe(topic('enrolled'));
    for (const name of ['telemetry', 'hello', 'claim', 'report', 'presence']) {
      const other = await enrolling();
      other.send(publishPacket(topic(name)));
      await other.closed();
    }
    expect(received).toHaveLength(1);
    // Its final credential replaces the enrolling session.
    directory.add({ cluster: 'home', daemon: 'new' });
    const last = await enrolling();
    await session(port, 'home/new');
    await last.closed();
  });
});

describe('stability', () => {
  it('does not let one frozen subscriber hold up the listener or the others', async () => {
    const { port, broker, received } = await brokerWith({ drainTimeoutMs: 60_000 });
    const frozen = await session(port, 'home/pve1');
    await subscribe(frozen, [own('receipt')], 0);
    frozen.socket.pause();
    const healthy = await session(port, 'home/pve2');
    await subscribe(healthy, ['kr/v1/home/pve2/receipt'], 0);
    const payload = 'x'.repeat(64 * 1024);
    // Far beyond what the sockets' buffers of the frozen one can take.
    for (let sent = 0; sent < 500; sent += 1) {
      await broker.publish(outgoing(own('receipt'), { qos: 0, payload }));
    }
    await broker.publish(outgoing('kr/v1/home/pve2/receipt', { qos: 0 }));
    expect((await healthy.got('publish')).topic).toBe('kr/v1/home/pve2/receipt');
    healthy.send(publishPacket('kr/v1/home/pve2/telemetry'));
    await until(() => received.length === 1);
    expect(frozen.isClosed()).toBe(false);
  });

  it('cuts a frozen subscriber off after the drain timeout', async () => {
    const { port, broker } = await brokerWith({ drainTimeoutMs: 200 });
    const frozen = await session(port, 'home/pve1');
    await subscribe(frozen, [own('receipt')], 0);
    frozen.socket.pause();
    const payload = 'x'.repeat(64 * 1024);
    for (let sent = 0; sent < 500; sent += 1) {
      await broker.publish(outgoing(own('receipt'), { qos: 0, payload }));
    }
    await until(() => broker.stats().clients === 0);
    expect(broker.stats().clients).toBe(0);
  });

  it('closes idle sockets by the connect timeout, and admits only so many of one address', async () => {
    const { port, broker } = await brokerWith({
      gateLimits: { connectTimeoutMs: 300, preAuthSocketsPerAddressMax: 4 },
    });
    const idle = await Promise.all(Array.from({ length: 6 }, () => raw(port)));
    await Promise.all(idle.map((client) => client.closed()));
    expect(broker.stats().gate).toMatchObject({ connectTimeout: 4, preAuthAddress: 2 });
    expect(await connack(port, 'home/pve1')).toBe(0);
    await until(() => broker.stats().preAuthSockets === 0);
  });

  it('survives garbage, half packets and a second CONNECT', async () => {
    const { port, received } = await brokerWith();
    const garbage = await raw(port);
    garbage.send(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    await garbage.closed();
    const twice = await session(port, 'home/pve1');
    twice.send(connectPacket('home/pve1'));
    await twice.closed();
    const half = await session(port, 'home/pve1');
    half.send(Buffer.from([0x30, 0x50, 0x00]));
    half.socket.destroy();
    const fine = await session(port, 'home/pve2');
    await settled(fine);
    expect(fine.isClosed()).toBe(false);
    expect(received).toEqual([]);
  });

  it('takes a port that is free when the wanted one is taken and that was allowed', async () => {
    const first = await brokerWith();
    const tcp = { host: '127.0.0.1', port: first.port };
    await expect(startBroker({ tcp })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    const second = await brokerWith({ tcp: { ...tcp, fallBack: true } });
    expect(second.port).not.toBe(first.port);
    expect(second.broker.isConnected()).toBe(true);
  });
});

describe('server over the wire', () => {
  const server = { username: 'kernreaktor-server', secretHash: hashOf('server secret') };
  const credential = { clientId: 'kernreaktor-server/a', password: Buffer.from('server secret') };

  it('hears every node through its six filters and may answer and retain', async () => {
    const { port } = await brokerWith({ server, clock: realClock });
    const backend = await session(port, 'kernreaktor-server', credential);
    const filters = [
      'kr/v1/+/+/telemetry',
      'kr/v1/+/+/hello',
      '#',
      topicOf('home', 'pve1', 'sync'),
    ];
    expect(await subscribe(backend, filters)).toEqual([1, 1, 128, 128]);
    const daemon = await session(port, 'home/pve1');
    await subscribe(daemon, [own('sync'), serverTopic]);
    daemon.send(publishPacket(own('hello'), { qos: 1, messageId: 2 }));
    expect((await backend.got('publish')).topic).toBe(own('hello'));
    backend.send(publishPacket(own('sync'), { qos: 1, messageId: 4 }));
    expect((await daemon.got('publish')).topic).toBe(own('sync'));
    backend.send(publishPacket(serverTopic, { qos: 1, messageId: 5, retain: true }));
    await until(() => daemon.packets.filter(({ cmd }) => cmd === 'publish').length === 2);
  });

  it('is refused with a wrong secret, another client id, or when none is configured', async () => {
    const { port } = await brokerWith({ server });
    const user = 'kernreaktor-server';
    expect(await connack(port, user, { ...credential, password: Buffer.from('no') })).toBe(4);
    expect(await connack(port, user, { ...credential, clientId: 'kernreaktor-serverx' })).toBe(2);
    expect(await connack(port, user, { ...credential, clientId: `${user}/../home` })).toBe(2);
    const without = await brokerWith();
    expect(await connack(without.port, user, { ...credential, clientId: user })).toBe(4);
  });
});

describe('WebSocket', () => {
  const socketTo = (url: string, protocol = 'mqtt') => {
    const socket = new WebSocket(url, protocol);
    socket.binaryType = 'arraybuffer';
    const state = { open: false, closed: false, bytes: 0 };
    socket.addEventListener('open', () => (state.open = true));
    socket.addEventListener('close', () => (state.closed = true));
    socket.addEventListener('message', ({ data }) => {
      state.bytes += (data as ArrayBuffer).byteLength;
    });
    return { socket, state };
  };
  const ws = { host: '127.0.0.1', port: 0 };

  it('passes the same gate: five seconds, 4 KiB, CONNECT first', async () => {
    const { urls, broker } = await brokerWith({ ws, gateLimits: { connectTimeoutMs: 500 } });
    const url = urls.wsUrl ?? '';
    const [idle, big, early, good] = [0, 1, 2, 3].map(() => socketTo(url));
    if (!idle || !big || !early || !good) throw new Error('no sockets');
    await until(() => [idle, big, early, good].every(({ state }) => state.open));
    big.socket.send(generate(connectPacket('home/pve1', { password: Buffer.alloc(5_000) })));
    early.socket.send(generate(publishPacket(own('telemetry'))));
    // In two frames: the bytes are a stream, whatever the frames.
    const hello = generate(connectPacket('home/pve1'));
    good.socket.send(hello.subarray(0, 9));
    good.socket.send(hello.subarray(9));
    await until(() => [idle, big, early].every(({ state }) => state.closed));
    expect(broker.stats().gate).toMatchObject({
      connectTimeout: 1,
      connectTooLarge: 1,
      notConnect: 1,
    });
    expect([good.state.closed, good.state.bytes]).toEqual([false, 4]);
    good.socket.close();
    await until(() => broker.stats().clients === 0);
  });

  it('counts a plain HTTP request among the unauthenticated and turns it away', async () => {
    const { urls, broker } = await brokerWith({ ws });
    const answer = await fetch((urls.wsUrl ?? '').replace('ws:', 'http:'));
    expect(answer.status).toBe(426);
    await until(() => broker.stats().preAuthSockets === 0);
  });
});
