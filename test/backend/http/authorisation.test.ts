import { afterAll, beforeAll, expect, it } from 'vitest';
import { hasRole, permissions, type Permission, type Role } from '../../../backend/http/access.ts';
import {
  addCluster,
  addNode,
  bearer,
  type Harness,
  password,
  signInAll,
  startHarness,
  type Who,
} from './harness.ts';

type Sample = {
  /** Defaults to the route's own path. */
  url?: string;
  payload?: object;
  /** Status for those who may. */
  status: number;
  /** For the token of another cluster, where its role and scope let it come to the handler. */
  foreign?: number;
};

const commandId = '01890000-0000-7000-8000-000000000001';
const unknownId = '01890000-0000-7000-8000-0000000000ff';
const enrolment = { cluster: 'home', node: 'n9' };
const endpoint = {
  urls: ['https://pve1.lan:8006'],
  tokenId: 'kr@pve!kernreaktor',
  tokenSecret: '0f0f0f0f-1111-2222-3333-444444444444',
};
const command = { cluster: 'home', kind: 'guest.start', node: 'n1', guest: '100' };

/** One request per route; a route that is missing here fails the test. */
const samples: Record<string, Sample> = {
  'GET /api/v1/setup': { status: 200 },
  'POST /api/v1/setup': { payload: { token: 'x', username: 'eve', password }, status: 401 },
  'POST /api/v1/session': { payload: { username: 'eve', password }, status: 401 },
  'GET /api/v1/session': { status: 200, foreign: 200 },
  'POST /api/v1/session/totp': { payload: {}, status: 200, foreign: 400 },
  'PUT /api/v1/session/totp': {
    payload: { secret: 'A'.repeat(32), code: '000000' },
    status: 401,
    foreign: 400,
  },
  'DELETE /api/v1/session/totp': { payload: {}, status: 204, foreign: 400 },
  'GET /api/v1/sessions': { status: 200, foreign: 200 },
  'DELETE /api/v1/sessions/:id': {
    url: `/api/v1/sessions/${unknownId}`,
    status: 404,
    foreign: 404,
  },
  'GET /api/v1/clusters': { status: 200, foreign: 200 },
  'GET /api/v1/clusters/:cluster': { url: '/api/v1/clusters/home', status: 200 },
  'PATCH /api/v1/clusters/:cluster': {
    url: '/api/v1/clusters/home',
    payload: { autonomy: { default: 'observe' } },
    status: 204,
  },
  'GET /api/v1/hold': { status: 200, foreign: 200 },
  'PUT /api/v1/hold': { payload: { hold: true }, status: 204 },
  'PUT /api/v1/clusters/:cluster/hold': {
    url: '/api/v1/clusters/home/hold',
    payload: { hold: true },
    status: 204,
  },
  'GET /api/v1/nodes': { status: 200, foreign: 200 },
  'GET /api/v1/clusters/:cluster/nodes/:node': {
    url: '/api/v1/clusters/home/nodes/n1',
    status: 200,
  },
  'POST /api/v1/clusters/:cluster/nodes/:node/confirm-journal': {
    url: '/api/v1/clusters/home/nodes/n1/confirm-journal',
    payload: {},
    status: 204,
  },
  'GET /api/v1/clusters/:cluster/nodes/:node/wake-proofs': {
    url: '/api/v1/clusters/home/nodes/n1/wake-proofs',
    status: 200,
  },
  'GET /api/v1/clusters/:cluster/nodes/:node/power-saving': {
    url: '/api/v1/clusters/home/nodes/n1/power-saving',
    status: 200,
  },
  'POST /api/v1/clusters/:cluster/nodes/:node/wake-proofs': {
    url: '/api/v1/clusters/home/nodes/n1/wake-proofs',
    payload: { confirm: 'n1' },
    status: 202,
  },
  'DELETE /api/v1/clusters/:cluster/nodes/:node/wake-proofs': {
    url: '/api/v1/clusters/home/nodes/n1/wake-proofs',
    status: 200,
  },
  'GET /api/v1/clusters/:cluster/nodes/:node/maintenance': {
    url: '/api/v1/clusters/home/nodes/n1/maintenance',
    status: 200,
  },
  'PUT /api/v1/clusters/:cluster/nodes/:node/maintenance': {
    url: '/api/v1/clusters/home/nodes/n1/maintenance',
    payload: { maintenance: true },
    // Permitted, and the harness has no row of it.
    status: 404,
  },
  'GET /api/v1/policies': { status: 200, foreign: 200 },
  'GET /api/v1/policies/:name/versions': {
    url: '/api/v1/policies/balance/versions',
    status: 200,
    foreign: 200,
  },
  'POST /api/v1/policies': { payload: { name: 'calm', yaml: 'extends: balance' }, status: 201 },
  'POST /api/v1/policies/check': {
    payload: { yaml: 'extends: balance', cluster: 'home' },
    status: 200,
  },
  'PUT /api/v1/clusters/:cluster/policy': {
    url: '/api/v1/clusters/home/policy',
    payload: { policy: 'balance' },
    status: 200,
  },
  'POST /api/v1/backtests': {
    payload: { cluster: 'home', policy: 'balance', days: 1 },
    status: 202,
  },
  'GET /api/v1/backtests': { status: 200, foreign: 200 },
  'GET /api/v1/backtests/:id': { url: `/api/v1/backtests/${unknownId}`, status: 404, foreign: 404 },
  'DELETE /api/v1/backtests/:id': {
    url: `/api/v1/backtests/${unknownId}`,
    status: 404,
    foreign: 404,
  },
  'PUT /api/v1/clusters/:cluster/nodes/:node/keep-awake': {
    url: '/api/v1/clusters/home/nodes/n1/keep-awake',
    payload: { forMs: 60_000 },
    // Permitted, and the harness has no row of it.
    status: 404,
  },
  'GET /api/v1/clusters/:cluster/nodes/:node/automation': {
    url: '/api/v1/clusters/home/nodes/n1/automation',
    status: 200,
  },
  'PUT /api/v1/clusters/:cluster/nodes/:node/automation': {
    url: '/api/v1/clusters/home/nodes/n1/automation',
    payload: { pauseForMs: 60_000 },
    status: 200,
  },
  'GET /api/v1/clusters/:cluster/guests/:guest/automation': {
    url: '/api/v1/clusters/home/guests/100/automation',
    status: 200,
  },
  'PUT /api/v1/clusters/:cluster/guests/:guest/automation': {
    url: '/api/v1/clusters/home/guests/100/automation',
    payload: { pauseForMs: 60_000 },
    status: 200,
  },
  'GET /api/v1/own-house': { status: 200 },
  'PUT /api/v1/own-house': { payload: { places: [] }, status: 204 },
  'GET /api/v1/guests': { status: 200, foreign: 200 },
  'GET /api/v1/clusters/:cluster/guests/:guest': {
    url: '/api/v1/clusters/home/guests/100',
    status: 200,
  },
  'GET /api/v1/telemetry': {
    url: '/api/v1/telemetry?cluster=home&node=n1&metrics=cpuRatio',
    status: 200,
  },
  'GET /api/v1/telemetry/total': {
    url: '/api/v1/telemetry/total?cluster=home&metrics=cpuRatio',
    status: 200,
  },
  'GET /api/v1/telemetry/top': {
    url: '/api/v1/telemetry/top?cluster=home&metric=cpuRatio',
    status: 200,
  },
  'GET /api/v1/telemetry/events': {
    url: '/api/v1/telemetry/events?cluster=home',
    status: 200,
  },
  'GET /api/v1/telemetry/export': {
    url: '/api/v1/telemetry/export?cluster=home&metrics=cpuRatio',
    status: 200,
  },
  'GET /api/v1/telemetry/missing': { url: '/api/v1/telemetry/missing?sinceMs=0', status: 200 },
  'POST /api/v1/commands': { payload: command, status: 202 },
  'POST /api/v1/commands/dry-run': { payload: command, status: 200 },
  'GET /api/v1/commands': { status: 200, foreign: 200 },
  'GET /api/v1/commands/:id': { url: `/api/v1/commands/${commandId}`, status: 200 },
  'POST /api/v1/commands/:id/cancel': {
    url: `/api/v1/commands/${commandId}/cancel`,
    status: 200,
  },
  'POST /api/v1/commands/:id/approve': {
    url: `/api/v1/commands/${commandId}/approve`,
    status: 409,
  },
  'POST /api/v1/commands/:id/resolve': {
    url: `/api/v1/commands/${commandId}/resolve`,
    payload: { outcome: 'failed', note: 'never started' },
    status: 200,
  },
  'GET /api/v1/decisions': { status: 200, foreign: 200 },
  'GET /api/v1/decisions/:id': { url: `/api/v1/decisions/${commandId}`, status: 200 },
  'GET /api/v1/audit': { url: '/api/v1/audit?cluster=home', status: 200 },
  'GET /api/v1/audit/verify': { url: '/api/v1/audit/verify?cluster=home', status: 200 },
  'GET /api/v1/users': { status: 200 },
  'POST /api/v1/users': { payload: { username: 'x', password, role: 'viewer' }, status: 400 },
  'PATCH /api/v1/users/:id': {
    url: `/api/v1/users/${unknownId}`,
    payload: { role: 'viewer' },
    status: 404,
  },
  'POST /api/v1/tokens': { payload: { name: 't', role: 'viewer' }, status: 201, foreign: 403 },
  'GET /api/v1/tokens': { status: 200, foreign: 200 },
  'DELETE /api/v1/tokens/:id': {
    url: `/api/v1/tokens/${unknownId}`,
    status: 404,
    foreign: 404,
  },
  'POST /api/v1/enrolments': { payload: enrolment, status: 201 },
  'GET /api/v1/clusters/:cluster/daemons': { url: '/api/v1/clusters/home/daemons', status: 200 },
  'DELETE /api/v1/clusters/:cluster/daemons/:daemon': {
    url: '/api/v1/clusters/home/daemons/nobody',
    status: 404,
  },
  'POST /api/v1/clusters/:cluster/nodes/:node/end-watch': {
    url: '/api/v1/clusters/home/nodes/n1/end-watch',
    payload: { confirm: 'home' },
    status: 200,
  },
  'GET /api/v1/quotas/mine': { status: 200, foreign: 200 },
  'GET /api/v1/quotas': { status: 200 },
  'PUT /api/v1/quotas': { payload: {}, status: 204 },
  'GET /api/v1/joining': { status: 200 },
  'POST /api/v1/joining/proxmox/look': { payload: endpoint, status: 200 },
  'POST /api/v1/joining/proxmox': { payload: { ...endpoint, cluster: 'lab' }, status: 400 },
  'POST /api/v1/joining/demo': { status: 202 },
  'GET /install/daemon.sh': { status: 404 },
  'GET /api/v1/notifications': { status: 200 },
  'GET /api/v1/notifications/dead': { status: 200 },
  'POST /api/v1/notifications/dead/:id/retry': {
    url: `/api/v1/notifications/dead/${unknownId}/retry`,
    status: 404,
  },
  'GET /api/v1/notifications/settings': { status: 200 },
  'PUT /api/v1/notifications/settings': { payload: {}, status: 200 },
  'GET /api/v1/notifications/channels': { status: 200 },
  'POST /api/v1/notifications/channels': {
    payload: { name: 'x', target: { kind: 'gotify', url: 'https://gotify.example' } },
    // Permitted, and without its token.
    status: 400,
  },
  'PUT /api/v1/notifications/channels/:id': {
    url: `/api/v1/notifications/channels/${unknownId}`,
    payload: { name: 'x', target: { kind: 'ntfy', url: 'https://ntfy.example', topic: 't' } },
    status: 404,
  },
  'DELETE /api/v1/notifications/channels/:id': {
    url: `/api/v1/notifications/channels/${unknownId}`,
    status: 404,
  },
  'POST /api/v1/notifications/channels/:id/test': {
    url: `/api/v1/notifications/channels/${unknownId}/test`,
    status: 404,
  },
  'POST /api/v1/notifications/actions/:token': {
    url: `/api/v1/notifications/actions/${'0'.repeat(64)}`,
    status: 404,
  },
  'GET /api/v1/backups': { status: 200 },
  'POST /api/v1/backups': { status: 201 },
  'GET /api/v1/backups/:name': {
    url: '/api/v1/backups/kernreaktor-20270115T080000Z.age',
    status: 200,
  },
  'GET /api/v1/packages': { status: 200, foreign: 200 },
  'GET /packages/:name': {
    url: '/packages/kernreaktor-daemon_0.0.0_amd64.deb',
    status: 404,
    foreign: 404,
  },
  'GET /healthz': { status: 200 },
  'GET /readyz': { status: 200 },
  'GET /metrics': { status: 200 },
  'GET /openapi.json': { status: 200 },
  'GET /': { status: 200 },
  'GET /icon.svg': { status: 200 },
  'GET /assets/:file': { url: '/assets/nothing.js', status: 404 },
  // Last, since it ends the session that asked.
  'DELETE /api/v1/session': { status: 204, foreign: 400 },
};

/** Those whose token must be good wherever one is shown, public or not, or who judge themselves. */
const judgesItself = new Set(['GET /metrics']);

const roleOf: Record<Exclude<Who, 'none' | 'foreignAdmin'>, Role> = {
  viewer: 'viewer',
  operator: 'operator',
  admin: 'admin',
  foreign: 'operator',
};

/** What the table of permissions says, told a second time in the words of a status. */
function expectedStatus(who: Who, access: string, sample: Sample): number {
  if (access === 'public') return sample.status;
  if (who === 'none' || who === 'foreignAdmin') return 401;
  const { role, everyCluster } = permissions[access as Permission];
  if (!hasRole(roleOf[who], role)) return 403;
  if (who !== 'foreign') return sample.status;
  return everyCluster ? 403 : (sample.foreign ?? 404);
}

let h: Harness;
let who: Record<Who, string | null>;

beforeAll(async () => {
  h = await startHarness();
  await addCluster(h.database, h.fleet, 'home');
  await addCluster(h.database, h.fleet, 'elsewhere');
  await h.database.db.updateTable('clusters').set({ simulated: 0 }).execute();
  addNode(h.fleet, { cluster: 'home', node: 'n1', guests: ['100'] });
  h.emptyings.set('n1', {
    guests: [],
    wakes: [],
    inTheWay: [],
    isProven: false,
    rest: { movesPerDay: 2, forMs: 0 },
  });
  who = await signInAll(h);
  const submitted = await h.app.inject({
    method: 'POST',
    url: '/api/v1/commands',
    payload: command,
    headers: bearer(who.admin),
  });
  if (submitted.statusCode !== 202) throw new Error(submitted.body);
  await h.database.db.updateTable('commands').set({ id: commandId }).execute();
  await h.database.db
    .insertInto('decisions')
    .values({
      id: commandId,
      cluster: 'home',
      at_ms: 1,
      epoch: 1,
      policy_hash: null,
      inputs_hash: '0'.repeat(64),
      intents: 0,
      outcome: 'nothing',
      summary: 'nothing to do',
      plan: '{"cluster":"home","intents":[]}',
      report: '{"summary":"nothing to do","nonActions":[]}',
      measured: null,
      ver: 1,
    })
    .execute();
});
afterAll(() => h.stop());

it('answers every route to each kind of caller as the permission table says', async () => {
  const wrong: string[] = [];
  const routes = h.server.routes.filter(
    ({ method, url }) => method !== 'HEAD' && !url.startsWith('/docs') && url !== '/api/v1/stream',
  );
  const ordered = Object.keys(samples);
  const names = routes.map(({ method, url }) => `${method} ${url}`);
  expect(names.toSorted()).toEqual(ordered.toSorted());
  for (const name of ordered) {
    const route = routes[names.indexOf(name)];
    const sample = samples[name];
    if (!route || !sample) throw new Error(`no route ${name}`);
    if (judgesItself.has(name)) continue;
    for (const caller of ['none', 'viewer', 'operator', 'admin', 'foreign'] as const) {
      const answer = await h.app.inject({
        method: route.method as 'GET',
        url: sample.url ?? route.url,
        ...(sample.payload === undefined ? {} : { payload: sample.payload }),
        headers: bearer(who[caller]),
      });
      const expected = expectedStatus(caller, route.access, sample);
      if (answer.statusCode !== expected) {
        wrong.push(`${name} as ${caller}: ${answer.statusCode}, not ${expected}: ${answer.body}`);
      }
      const isForeignRead = caller === 'foreign' && name !== 'GET /openapi.json';
      if (isForeignRead && answer.statusCode === 200 && answer.body.includes('"home"')) {
        wrong.push(`${name} shows a foreign cluster: ${answer.body}`);
      }
    }
  }
  expect(wrong).toEqual([]);
});
