import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Problem } from '../../../backend/http/schemas.ts';
import {
  addCluster,
  addNode,
  bearer,
  type Harness,
  password,
  signInAll,
  snapshot,
  startHarness,
  type Who,
} from './harness.ts';

let h: Harness;
let who: Record<Who, string | null>;
beforeAll(async () => {
  h = await startHarness();
  await addCluster(h.database, h.fleet, 'home');
  addNode(h.fleet, { cluster: 'home', node: 'n1', guests: ['100'] });
  who = await signInAll(h);
});
afterAll(() => h.stop());

const command = { cluster: 'home', kind: 'guest.migrate', node: 'n1', guest: '100' };
const migrate = (args: object) => ({ ...command, args });
const id = '01890000-0000-7000-8000-000000000001';
type Case = {
  what: string;
  method?: 'POST' | 'PUT' | 'PATCH' | 'GET' | 'DELETE';
  url: string;
  payload?: object | string;
  headers?: Record<string, string>;
  expected: { status: number; code: string; field?: string; wayOut: RegExp; detail?: RegExp };
};
const schemaHint = /\/openapi\.json/;

const cases: Case[] = [
  {
    what: 'a body that is not JSON',
    url: 'commands',
    payload: '{"cluster": "home"',
    headers: { 'content-type': 'application/json' },
    expected: { status: 400, code: 'KR_NOT_JSON', field: 'body', wayOut: /UTF-8/ },
  },
  {
    what: 'an empty body',
    url: 'commands',
    payload: '',
    headers: { 'content-type': 'application/json' },
    expected: { status: 400, code: 'KR_BODY_MISSING', field: 'body', wayOut: /JSON object/ },
  },
  {
    what: 'another content type',
    url: 'commands',
    payload: 'kind=guest.start',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    expected: {
      status: 415,
      code: 'KR_CONTENT_TYPE',
      field: 'Content-Type',
      wayOut: /application\/json/,
    },
  },
  {
    what: 'a body above 64 KiB',
    url: 'commands',
    payload: { ...command, reason: 'x'.repeat(70_000) },
    expected: { status: 413, code: 'KR_BODY_TOO_LARGE', field: 'body', wayOut: /64 KiB/ },
  },
  {
    what: 'a list instead of an object',
    url: 'commands',
    payload: [command],
    expected: { status: 400, code: 'KR_BODY', field: 'body', wayOut: schemaHint },
  },
  {
    what: 'an unknown key',
    url: 'commands',
    payload: { ...migrate({ targetNode: 'n2' }), dryRun: true },
    expected: { status: 400, code: 'KR_BODY', field: 'dryRun', wayOut: schemaHint },
  },
  {
    what: 'a forged prototype',
    url: 'commands',
    payload: '{"__proto__": {"admin": true}}',
    headers: { 'content-type': 'application/json' },
    expected: { status: 400, code: 'KR_NOT_JSON', field: 'body', wayOut: /JSON/ },
  },
  {
    what: 'a missing cluster',
    url: 'commands',
    payload: { kind: 'node.wake', node: 'n1' },
    expected: { status: 400, code: 'KR_BODY', field: 'cluster', wayOut: schemaHint },
  },
  {
    what: 'a cluster id with a wildcard',
    url: 'commands',
    payload: { ...migrate({ targetNode: 'n2' }), cluster: 'home/#' },
    expected: {
      status: 400,
      code: 'KR_BODY',
      field: 'cluster',
      wayOut: schemaHint,
      detail: /lower-case letters/,
    },
  },
  {
    what: 'a cluster that does not exist',
    url: 'commands',
    payload: { ...migrate({ targetNode: 'n2' }), cluster: 'hoem' },
    expected: {
      status: 404,
      code: 'KR_CLUSTER_UNKNOWN',
      field: 'cluster',
      wayOut: /GET \/api\/v1\/clusters/,
    },
  },
  {
    what: 'an unknown kind',
    url: 'commands',
    payload: { ...command, kind: 'guest.explode' },
    expected: { status: 400, code: 'KR_BODY', field: 'kind', wayOut: schemaHint },
  },
  {
    what: 'a guest kind without a guest',
    url: 'commands',
    payload: { cluster: 'home', kind: 'guest.start', node: 'n1' },
    expected: { status: 400, code: 'KR_BODY', field: 'guest', wayOut: schemaHint },
  },
  {
    what: 'a node kind with a guest',
    url: 'commands',
    payload: { cluster: 'home', kind: 'node.wake', node: 'n1', guest: '100' },
    expected: { status: 400, code: 'KR_BODY', field: 'guest', wayOut: /Leave guest out/ },
  },
  {
    what: 'an argument of the wrong type',
    url: 'commands',
    payload: migrate({ targetNode: 7 }),
    expected: { status: 400, code: 'KR_BODY', field: 'args.targetNode', wayOut: schemaHint },
  },
  {
    what: 'an argument that the kind does not know',
    url: 'commands',
    payload: migrate({ targetNode: 'n2', speed: 'fast' }),
    expected: { status: 400, code: 'KR_BODY', field: 'args.speed', wayOut: schemaHint },
  },
  {
    what: 'a relative scale without any value',
    url: 'commands',
    payload: { ...command, kind: 'guest.scale', args: {} },
    expected: {
      status: 400,
      code: 'KR_BODY',
      field: 'args',
      wayOut: schemaHint,
      detail: /at least one of cpuCount/,
    },
  },
  {
    what: 'an idempotency key with a line break',
    url: 'commands',
    payload: migrate({ targetNode: 'n2' }),
    headers: { 'idempotency-key': 'a b' },
    expected: { status: 400, code: 'KR_HEADER', field: 'idempotency-key', wayOut: /header/ },
  },
  {
    what: 'a resolution without a note',
    url: `commands/${id}/resolve`,
    payload: { outcome: 'failed', note: ' ' },
    expected: { status: 400, code: 'KR_BODY', field: 'note', wayOut: schemaHint },
  },
  {
    what: 'a command id that is no UUID',
    url: 'commands/42/cancel',
    payload: {},
    expected: { status: 400, code: 'KR_PATH', field: 'id', wayOut: /path/ },
  },
  {
    what: 'a command that does not exist',
    url: `commands/${id}/cancel`,
    expected: { status: 404, code: 'KR_NOT_FOUND', field: 'id', wayOut: /lists/ },
  },
  {
    what: 'simulated nodes one by one',
    url: 'enrolments',
    payload: { cluster: 'home', node: 'n1', simulated: true },
    expected: { status: 400, code: 'KR_BODY', field: 'simulated', wayOut: schemaHint },
  },
  {
    what: 'more real nodes than one daemon speaks for',
    url: 'enrolments',
    payload: { cluster: 'home', nodes: Array.from({ length: 257 }, (_, index) => `n${index}`) },
    expected: { status: 400, code: 'KR_BODY', field: 'nodes', wayOut: schemaHint },
  },
  {
    what: 'a node enrolled twice in one request',
    url: 'enrolments',
    payload: { cluster: 'home', nodes: ['n1', 'n1'], simulated: true },
    expected: { status: 400, code: 'KR_BODY', field: 'nodes', wayOut: schemaHint },
  },
  {
    what: 'a reserved cluster id',
    url: 'enrolments',
    payload: { cluster: 'server', node: 'n1' },
    expected: {
      status: 400,
      code: 'KR_BODY',
      field: 'cluster',
      wayOut: schemaHint,
      detail: /reserved/,
    },
  },
  {
    what: 'a common password',
    url: 'users',
    payload: { username: 'zoe', password: 'Password1234', role: 'viewer' },
    expected: {
      status: 400,
      code: 'KR_PASSWORD_WEAK',
      field: 'password',
      wayOut: /12 to 256/,
      detail: /common/,
    },
  },
  {
    what: 'a role that does not exist',
    url: 'users',
    payload: { username: 'zoe', password, role: 'root' },
    expected: { status: 400, code: 'KR_BODY', field: 'role', wayOut: schemaHint },
  },
  {
    what: 'an empty change of an account',
    method: 'PATCH',
    url: `users/${id}`,
    payload: {},
    expected: {
      status: 400,
      code: 'KR_BODY',
      field: 'body',
      wayOut: schemaHint,
      detail: /at least one of role/,
    },
  },
  {
    what: 'a change of what was fixed when the cluster was created',
    method: 'PATCH',
    url: 'clusters/home',
    payload: { simulated: false },
    expected: { status: 409, code: 'KR_SIMULATED_FIXED', field: 'simulated', wayOut: /another/ },
  },
  {
    what: 'a limit that does not exist',
    method: 'PATCH',
    url: 'clusters/home',
    payload: { limits: { powerOffs: 3 } },
    expected: { status: 400, code: 'KR_BODY', field: 'limits.powerOffs', wayOut: schemaHint },
  },
  {
    what: 'an autonomy that does not exist',
    method: 'PATCH',
    url: 'clusters/home',
    payload: { autonomy: { 'guest.migrate': 'yolo' } },
    expected: {
      status: 400,
      code: 'KR_BODY',
      field: 'autonomy.guest.migrate',
      wayOut: schemaHint,
    },
  },
  {
    what: 'a HOLD that says neither yes nor no',
    method: 'PUT',
    url: 'hold',
    payload: { hold: 'yes' },
    expected: { status: 400, code: 'KR_BODY', field: 'hold', wayOut: schemaHint },
  },
  {
    what: 'an unknown metric',
    method: 'GET',
    url: 'telemetry?cluster=home&metrics=cpuRatio,cpuRation',
    expected: {
      status: 400,
      code: 'KR_METRIC_UNKNOWN',
      field: 'metrics',
      wayOut: /cpuRatio/,
      detail: /cpuRation/,
    },
  },
  {
    what: 'an unknown query parameter',
    method: 'GET',
    url: 'nodes?clustr=home',
    expected: { status: 400, code: 'KR_QUERY', field: 'clustr', wayOut: schemaHint },
  },
  {
    what: 'a page of nothing',
    method: 'GET',
    url: 'nodes?limit=0',
    expected: { status: 400, code: 'KR_QUERY', field: 'limit', wayOut: schemaHint },
  },
  {
    what: 'guests of a node without its cluster',
    method: 'GET',
    url: 'guests?node=n1',
    expected: { status: 400, code: 'KR_QUERY', field: 'cluster', wayOut: schemaHint },
  },
  {
    what: 'offset and cursor together',
    method: 'GET',
    url: 'nodes?offset=1&cursor=aG9tZS9uMQ',
    expected: { status: 400, code: 'KR_QUERY', field: 'cursor', wayOut: schemaHint },
  },
  {
    what: 'a cursor made by hand',
    method: 'GET',
    url: 'commands?cursor=***',
    expected: { status: 400, code: 'KR_QUERY', field: 'cursor', wayOut: /nextCursor/ },
  },
  {
    what: 'holes since no time',
    method: 'GET',
    url: 'telemetry/missing?sinceMs=yesterday',
    expected: { status: 400, code: 'KR_QUERY', field: 'sinceMs', wayOut: schemaHint },
  },
  {
    what: 'a range that ends before it begins',
    method: 'GET',
    url: 'telemetry?cluster=home&metrics=cpuRatio&from=2000&to=1000',
    expected: { status: 400, code: 'KR_QUERY', field: 'from', wayOut: schemaHint },
  },
  {
    what: 'a year in steps of a second',
    method: 'GET',
    url: 'telemetry?cluster=home&metrics=cpuRatio&from=0&to=31536000000&stepMs=1000',
    expected: { status: 400, code: 'KR_QUERY', field: 'stepMs', wayOut: /at least 3153600/ },
  },
  {
    what: 'an unknown route',
    method: 'GET',
    url: 'nodez',
    expected: { status: 404, code: 'KR_ROUTE', wayOut: schemaHint },
  },
  {
    what: 'a method that a route does not have',
    method: 'DELETE',
    url: 'clusters/home/nodes/n1',
    expected: { status: 405, code: 'KR_METHOD', wayOut: /Allow/ },
  },
];

describe('a wrong request is refused with field and way out, and changes nothing', () => {
  it.each(cases)('$what', async ({ method = 'POST', url, payload, headers, expected }) => {
    const before = await snapshot(h.database);
    const fleetBefore = JSON.stringify([...h.fleet.nodes], null, 1);
    const answer = await h.app.inject({
      method,
      url: `/api/v1/${url}`,
      ...(payload === undefined ? {} : { payload }),
      headers: { ...bearer(who.admin), ...headers },
    });
    expect(answer.statusCode).toBe(expected.status);
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
    const problem = Problem.parse(answer.json());
    expect(problem).toMatchObject({ status: expected.status, code: expected.code });
    expect(problem.field).toBe(expected.field);
    expect(problem.wayOut).toMatch(expected.wayOut);
    expect(problem.detail).toMatch(expected.detail ?? /\w+/);
    expect(answer.body).not.toMatch(/node_modules|\.ts:\d/);
    expect(await snapshot(h.database)).toBe(before);
    expect(JSON.stringify([...h.fleet.nodes], null, 1)).toBe(fleetBefore);
    expect(h.commands.submitted).toEqual([]);
  });

  it('names the methods a route has', async () => {
    const answer = await h.app.inject({ method: 'DELETE', url: '/api/v1/enrolments' });
    expect(answer.statusCode).toBe(405);
    expect(answer.headers['allow']).toBe('POST');
  });

  it('masks what it did not foresee, and keeps the cause in the log only', async () => {
    const broken = await startHarness();
    const tokens = await signInAll(broken);
    broken.deps.metrics.range = async () => {
      throw new Error('disk /var/lib/secret is gone');
    };
    await addCluster(broken.database, broken.fleet, 'home');
    const answer = await broken.app.inject({
      url: '/api/v1/telemetry?cluster=home&metrics=cpuRatio',
      headers: bearer(tokens.viewer),
    });
    expect(answer.json()).toMatchObject({ status: 500, code: 'KR_INTERNAL' });
    expect(answer.body).not.toContain('secret');
    const { instance } = answer.json<{ instance: string }>();
    const line = broken.log.lines.find(({ level }) => level === 'error');
    expect(line?.fields).toMatchObject({ instance, route: '/api/v1/telemetry' });
    await broken.stop();
  });
});
