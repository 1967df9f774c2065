import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createClientApi } from '../../../backend/cli/api.ts';
import { proveWake, type Person } from '../../../backend/cli/prove-wake.ts';
import type { Clock } from '../../../broker/contract/ports.ts';

type Seen = { method: string; url: string; body: unknown; authorization: string | undefined };
type Answer = { status: number; body: unknown };

let server: Server | undefined;
afterEach(async () => {
  await new Promise((done) => (server ? server.close(done) : done(undefined)));
  server = undefined;
});

/** A server that answers by what it is asked, in turn where there are several answers. */
async function serve(answers: Record<string, Answer[]>) {
  const seen: Seen[] = [];
  const turns = new Map<string, number>();
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const { method = '', url = '' } = request;
    const { authorization } = request.headers;
    seen.push({ method, url, body: text === '' ? null : JSON.parse(text), authorization });
    const key = `${method} ${url}`;
    const turn = turns.get(key) ?? 0;
    turns.set(key, turn + 1);
    const own = answers[key] ?? [{ status: 404, body: { code: 'KR_ROUTE', detail: key } }];
    const { status, body } = own[Math.min(turn, own.length - 1)] ?? { status: 500, body: {} };
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  server = createServer((request, response) => void handle(request, response));
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server?.once('listening', done));
  const { port } = server.address() as AddressInfo;
  const api = createClientApi({ url: `http://127.0.0.1:${port}`, token: 'abc', socketPath: null });
  return { api, seen };
}

const campaign = (change: object = {}) => ({
  id: 'c',
  state: 'running',
  phase: 'off',
  waker: 'wol',
  cycles: 3,
  proven: 0,
  why: 'it begins',
  ...change,
});
const standing = (change: object = {}, given: object | null = null): Answer => ({
  status: 200,
  body: {
    isProven: false,
    ways: [{ executor: 'pve1', by: 'wol' }],
    proofs: [],
    campaign: given,
    ...change,
  },
});
const nodes = (...found: string[]): Answer => ({
  status: 200,
  body: { items: found.map((name) => ({ cluster: name.split('/')[0], id: name.split('/')[1] })) },
});
const path = '/api/v1/clusters/home/nodes/big/wake-proofs';
const list = 'GET /api/v1/nodes?limit=5000';

/** Time passes at once, and the signal may come at a given pause. */
function deps(answersOfPerson: (string | null)[] = []) {
  const said: string[] = [];
  const person: Person = {
    say: (line) => void said.push(line),
    ask: async () => answersOfPerson.shift() ?? null,
    askSecret: async () => answersOfPerson.shift() ?? null,
  };
  const stop = new AbortController();
  const clock: Clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after(_delayMs, run) {
      void Promise.resolve().then(run);
      return () => undefined;
    },
  };
  return { said, stop, deps: { person, clock, signal: stop.signal } };
}

const options = { node: 'big', cycles: 3, waker: 'wol', confirm: undefined };

describe('kernreaktor prove-wake', () => {
  it('asks for the name, begins, tells what happens, and says that the node is proven', async () => {
    const ended = campaign({ state: 'succeeded', proven: 3, why: '3 cycles proven' });
    const { api, seen } = await serve({
      [list]: [nodes('home/big', 'home/small')],
      [`GET ${path}`]: [
        standing(),
        standing({}, campaign({ why: 'the node is off' })),
        standing({}, campaign({ why: 'the node is off' })),
        standing(
          { isProven: true, proofs: [{ waker: 'wol', succeeded: 3, bootMs: 91_400 }] },
          ended,
        ),
      ],
      [`POST ${path}`]: [standing({}, campaign())],
    });
    const { said, deps: parts } = deps(['big']);
    const told = await proveWake(options, { ...parts, api });
    expect(told).toMatchObject({ isDone: true, cluster: 'home', node: 'big' });
    expect(told.standing.proofs).toEqual([{ waker: 'wol', succeeded: 3, bootMs: 91_400 }]);
    expect(seen.find(({ method }) => method === 'POST')?.body).toEqual({
      cycles: 3,
      waker: 'wol',
      confirm: 'big',
    });
    expect(seen[0]?.authorization).toBe('Bearer abc');
    expect(said[0]).toBe('ways to wake it: wol from pve1');
    expect(said.slice(2)).toEqual([
      '0 of 3 cycles proven; it begins',
      '0 of 3 cycles proven; the node is off',
      'succeeded: 3 cycles proven',
      'home/big may sleep from now on, for 30 days; it took 91 s to come back',
    ]);
    await api.close();
  });

  it('does nothing without the typed name', async () => {
    const { api, seen } = await serve({
      [list]: [nodes('home/big')],
      [`GET ${path}`]: [standing()],
    });
    const wrong = deps(['bug']);
    await expect(proveWake(options, { ...wrong.deps, api })).rejects.toThrow(/not big/);
    const nobody = deps();
    await expect(proveWake(options, { ...nobody.deps, api })).rejects.toThrow(/--confirm big/);
    expect(seen.map(({ method }) => method)).not.toContain('POST');
    await api.close();
  });

  it('needs the cluster where two have a node of that name, and a node that exists', async () => {
    const { api } = await serve({ [list]: [nodes('home/big', 'work/big')] });
    const { deps: parts } = deps();
    await expect(proveWake(options, { ...parts, api })).rejects.toThrow(/home\/big or work\/big/);
    const unknown = { ...options, node: 'huge' };
    await expect(proveWake(unknown, { ...parts, api })).rejects.toThrow(/no node huge/);
    await api.close();
  });

  it('shows what the server refuses, with its way out, and proves the person when asked', async () => {
    const refused = {
      status: 409,
      body: { code: 'KR_GUESTS_RUNNING', detail: '2 guests run', field: 'node', wayOut: 'move' },
    };
    const { api, seen } = await serve({
      [`GET ${path}`]: [standing()],
      [`POST ${path}`]: [
        { status: 403, body: { code: 'KR_REAUTHENTICATION', detail: 'a fresh proof' } },
        refused,
      ],
    });
    const { deps: parts } = deps(['a secret']);
    const order = { ...options, node: 'home/big', confirm: 'big' };
    await expect(proveWake(order, { ...parts, api })).rejects.toThrow(
      'KR_GUESTS_RUNNING: node: 2 guests run; move',
    );
    expect(seen.at(-1)?.body).toMatchObject({ password: 'a secret' });
    await api.close();
  });

  it('asks the server to end it when the person leaves', async () => {
    const { api, seen } = await serve({
      [`GET ${path}`]: [standing(), standing({}, campaign({ state: 'cancelled', why: 'awake' }))],
      [`POST ${path}`]: [standing({}, campaign())],
      [`DELETE ${path}`]: [standing({}, campaign({ why: 'it ends' }))],
    });
    const { said, stop, deps: parts } = deps();
    stop.abort();
    const order = { ...options, node: 'home/big', confirm: 'big' };
    expect(await proveWake(order, { ...parts, api })).toMatchObject({ isDone: false });
    expect(seen.map(({ method }) => method)).toEqual(['GET', 'POST', 'DELETE']);
    expect(said).toContain('it is not switched off again; if it sleeps now, it is still woken');
    await api.close();
  });

  it('joins a campaign that runs already', async () => {
    const { api, seen } = await serve({
      [`GET ${path}`]: [
        standing({}, campaign({ proven: 1 })),
        standing({}, campaign({ state: 'failed', why: 'it was not woken by wol' })),
      ],
    });
    const { said, deps: parts } = deps();
    const again = await proveWake({ ...options, node: 'home/big' }, { ...parts, api });
    expect(again).toMatchObject({ isDone: false });
    expect(seen.map(({ method }) => method)).toEqual(['GET', 'GET']);
    expect(said).toContain('failed: it was not woken by wol');
    await api.close();
  });
});
