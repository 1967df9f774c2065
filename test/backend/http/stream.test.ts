import { WebSocket } from 'ws';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  addCluster,
  addNode,
  bearer,
  type Harness,
  signInAll,
  startHarness,
  type Who,
} from './harness.ts';

let h: Harness;
let who: Record<Who, string | null>;
let url: string;
const open: WebSocket[] = [];

beforeEach(async () => {
  h = await startHarness();
  await addCluster(h.database, h.fleet, 'home');
  await addCluster(h.database, h.fleet, 'elsewhere');
  addNode(h.fleet, { cluster: 'home', node: 'n1' });
  addNode(h.fleet, { cluster: 'elsewhere', node: 'n1' });
  who = await signInAll(h);
  const { httpUrl } = await h.server.listen();
  url = `${httpUrl.replace('http', 'ws')}/api/v1/stream`;
});
afterEach(async () => {
  for (const socket of open.splice(0)) socket.terminate();
  await h.stop();
});

type Heard = Record<string, unknown> & { topic?: string };

/** A client that keeps what it hears; `next` waits for the next message not yet asked for. */
function connect(headers: Record<string, string> = {}) {
  const socket = new WebSocket(url, { headers });
  open.push(socket);
  const heard: Heard[] = [];
  const waiting: ((message: Heard) => void)[] = [];
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString()) as Heard;
    const waiter = waiting.shift();
    if (waiter) waiter(message);
    else heard.push(message);
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) =>
    socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })),
  );
  const refused = new Promise<number>((resolve) =>
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0)),
  );
  socket.on('error', () => undefined);
  return {
    socket,
    closed,
    refused,
    heard,
    opened: new Promise<void>((resolve) => socket.on('open', () => resolve())),
    next: () =>
      new Promise<Heard>((resolve) => {
        const message = heard.shift();
        if (message) resolve(message);
        else waiting.push(resolve);
      }),
    async say(message: object) {
      socket.send(JSON.stringify(message));
    },
  };
}

async function subscribed(token: string | null, message: object) {
  const client = connect();
  await client.opened;
  await client.say({ token, ...message });
  expect(await client.next()).toMatchObject({ topic: 'subscribed' });
  return client;
}

it('sends all nodes in scope at first, then only those that changed, once a second', async () => {
  const client = await subscribed(who.viewer, { topics: ['telemetry'] });
  await h.clock.advance(1_000);
  const first = (await client.next()) as { nodes?: { cluster: string }[] };
  expect(first.nodes?.map(({ cluster }) => cluster).toSorted()).toEqual(['elsewhere', 'home']);
  await h.clock.advance(3_000);
  addNode(h.fleet, { cluster: 'home', node: 'n1' }, { sampleAtMs: h.clock.monotonicMs(), seq: 2 });
  await h.clock.advance(1_000);
  expect(await client.next()).toMatchObject({ nodes: [{ id: 'n1', cluster: 'home' }] });
  expect(client.heard).toEqual([]);
});

it('sends commands and decisions to those who asked, within their scope', async () => {
  const all = await subscribed(who.viewer, { topics: ['commands', 'decisions'] });
  const scoped = await subscribed(who.foreign, { topics: ['commands', 'decisions'] });
  const one = await subscribed(who.viewer, { topics: ['commands'], clusters: ['elsewhere'] });
  const event = { kind: 'guest.start', state: 'QUEUED' as const, atMs: 0, reason: null };
  h.commands.emit({ ...event, id: 'c1', cluster: 'home' });
  h.commands.emit({ ...event, id: 'c2', cluster: 'elsewhere' });
  h.decide({ id: 'd1', cluster: 'elsewhere', atMs: 0, outcome: 'nothing', summary: 'calm' });
  expect(await all.next()).toMatchObject({ topic: 'commands', id: 'c1' });
  expect(await all.next()).toMatchObject({ topic: 'commands', id: 'c2', state: 'QUEUED' });
  expect(await all.next()).toMatchObject({ topic: 'decisions', id: 'd1', summary: 'calm' });
  expect(await scoped.next()).toMatchObject({ id: 'c2', at: '1970-01-01T00:00:00.000Z' });
  expect(await scoped.next()).toMatchObject({ id: 'd1' });
  expect(await one.next()).toMatchObject({ id: 'c2' });
  expect(one.heard).toEqual([]);
});

it('takes the token of a header as well', async () => {
  const client = connect(bearer(who.viewer));
  await client.opened;
  await client.say({ topics: ['commands'] });
  expect(await client.next()).toMatchObject({ topic: 'subscribed', topics: ['commands'] });
});

it('ends those without a valid token, and those who say nothing for 10 s', async () => {
  const stranger = connect();
  await stranger.opened;
  await stranger.say({ topics: ['commands'] });
  expect(await stranger.closed).toMatchObject({ code: 1_008 });
  const silent = connect();
  await silent.opened;
  await h.clock.advance(10_000);
  expect(await silent.closed).toMatchObject({ code: 1_008 });
  const forged = connect(bearer('f'.repeat(64)));
  expect(await forged.refused).toBe(401);
});

it('turns a foreign origin away before the upgrade', async () => {
  expect(await connect({ origin: 'https://evil.example' }).refused).toBe(403);
});

it('names what is wrong with a message and goes on', async () => {
  const client = connect(bearer(who.viewer));
  await client.opened;
  await client.say({ topics: ['gossip'] });
  expect(await client.next()).toMatchObject({ topic: 'error', field: 'topics.0' });
  await client.say({ topics: ['commands'] });
  expect(await client.next()).toMatchObject({ topic: 'subscribed' });
});

it('ends a stream whose session was closed', async () => {
  const client = await subscribed(who.viewer, { topics: ['commands'] });
  const headers = bearer(who.viewer);
  await h.app.inject({ method: 'DELETE', url: '/api/v1/session', headers });
  await h.clock.advance(6_000);
  expect(await client.closed).toMatchObject({
    code: 1_008,
    reason: 'the token is no longer valid',
  });
});

it('bounds the streams of one account', async () => {
  for (let n = 0; n < 8; n += 1) await subscribed(who.viewer, { topics: ['commands'] });
  const ninth = connect();
  await ninth.opened;
  await ninth.say({ token: who.viewer, topics: ['commands'] });
  expect(await ninth.closed).toMatchObject({ code: 1_013 });
  await subscribed(who.operator, { topics: ['commands'] });
});

it('drops a client that does not read instead of buffering for it', async () => {
  const slow = await subscribed(who.viewer, { topics: ['commands'] });
  const quick = await subscribed(who.operator, { topics: ['commands'] });
  // A paused socket leaves the server's bytes in its own buffers.
  slow.socket.pause();
  const reason = 'x'.repeat(512);
  const event = { kind: 'guest.start', state: 'QUEUED' as const, atMs: 0, reason };
  let sent = 0;
  const deadline = Date.now() + 20_000;
  while (h.app.websocketServer.clients.size > 1 && Date.now() < deadline) {
    for (let n = 0; n < 500; n += 1)
      h.commands.emit({ ...event, id: `c${sent++}`, cluster: 'home' });
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(h.app.websocketServer.clients.size).toBe(1);
  expect(await quick.next()).toMatchObject({ id: 'c0' });
});
