import { afterAll, beforeAll, expect, it } from 'vitest';
import { commandRow } from '../../support/command-row.ts';
import { GuestDetail, GuestView, NodeDetail, NodeView } from '../../../backend/http/views.ts';
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
beforeAll(async () => {
  h = await startHarness();
  await addCluster(h.database, h.fleet, 'home');
  await addCluster(h.database, h.fleet, 'elsewhere');
  for (const node of ['n1', 'n2', 'n3']) {
    addNode(h.fleet, { cluster: 'home', node, guests: [`${node}.100`, `${node}.101`] });
  }
  addNode(h.fleet, { cluster: 'elsewhere', node: 'n1', guests: ['7'] });
  addNode(h.fleet, { cluster: 'home', node: 'n4' }, { maintenance: true });
  who = await signInAll(h);
});
afterAll(() => h.stop());

const get = async (url: string, caller: Who = 'viewer') => {
  const answer = await h.app.inject({ url: `/api/v1/${url}`, headers: bearer(who[caller]) });
  expect(answer.statusCode).toBe(200);
  return answer.json();
};
type Page = { items: { id: string; cluster: string }[]; total: number; nextCursor: string | null };
const idsOfPage = (page: Page) => page.items.map(({ cluster, id }) => `${cluster}/${id}`);

it('lists nodes by cluster and id with what DESIGN names', async () => {
  const page: Page = await get('nodes');
  expect(idsOfPage(page)).toEqual(['elsewhere/n1', 'home/n1', 'home/n2', 'home/n3', 'home/n4']);
  expect(page).toMatchObject({ total: 5, nextCursor: null });
  for (const item of page.items) NodeView.strict().parse(item);
  expect(page.items[1]).toMatchObject({
    state: 'awake',
    ageMs: 0,
    cpuRatio: 0.25,
    memoryUsedBytes: null,
    memoryTotalBytes: null,
    guestCount: 2,
  });
});

it('pages by cursor or offset, and filters by cluster, state, node and what a driver can', async () => {
  const first: Page = await get('nodes?limit=2');
  expect(idsOfPage(first)).toEqual(['elsewhere/n1', 'home/n1']);
  const second: Page = await get(`nodes?limit=2&cursor=${first.nextCursor}`);
  expect(idsOfPage(second)).toEqual(['home/n2', 'home/n3']);
  expect(idsOfPage(await get('nodes?limit=2&offset=2'))).toEqual(idsOfPage(second));
  expect(idsOfPage(await get('nodes?cluster=home&state=maintenance'))).toEqual(['home/n4']);
  expect(idsOfPage(await get('nodes?state=maintenance&can=guest.migrate'))).toEqual(['home/n4']);
  expect(idsOfPage(await get('nodes?can=guest.create'))).toEqual([]);
  const guests: Page = await get('guests?cluster=home&node=n2');
  expect(idsOfPage(guests)).toEqual(['home/n2.100', 'home/n2.101']);
  for (const item of guests.items) GuestView.strict().parse(item);
});

it('shows a scoped caller only its clusters, in lists and totals', async () => {
  for (const list of ['nodes', 'guests', 'clusters']) {
    const page: Page = await get(list, 'foreignAdmin');
    expect(page.total).toBe(1);
  }
  expect(await get('clusters')).toMatchObject({
    items: [
      { id: 'elsewhere', nodeCount: 1, guestCount: 1 },
      { id: 'home', nodeCount: 4, guestCount: 6, nodeStates: { awake: 3, maintenance: 1 } },
    ],
  });
});

it('shows one node and one guest with every metric of the catalogue', async () => {
  const node = await get('clusters/home/nodes/n1');
  NodeDetail.strict().parse(node);
  expect(node).toMatchObject({
    metrics: { cpuRatio: 0.25, votes: null },
    guests: ['n1.100', 'n1.101'],
  });
  const guest = await get('clusters/home/guests/n1.100');
  GuestDetail.strict().parse(guest);
  expect(guest).toMatchObject({ node: 'n1', state: 'running', metrics: { cpuRatio: null } });
});

it('asks the store for series with sensible defaults, times in either form', async () => {
  h.ranges.length = 0;
  const now = h.clock.wallMs();
  const answer = await get('telemetry?cluster=home&guest=n1.100&metrics=cpuRatio,cpuRatio');
  expect(answer).toEqual({
    series: [
      { metric: 'cpuRatio', node: 'n1', guest: 'n1.100', points: [[now - 3_600_000, null]] },
    ],
    resolutionMs: 5_000,
  });
  const from = encodeURIComponent('2026-01-31T13:00:00+01:00');
  const to = Date.parse('2026-01-31T13:00:00Z');
  await get(`telemetry?cluster=home&metrics=cpuRatio&from=${from}&to=${to}&stepMs=60000`);
  expect(h.ranges[1]).toEqual({
    cluster: 'home',
    entity: 'node',
    metrics: ['cpuRatio'],
    fromMs: to - 3_600_000,
    toMs: to,
    stepMs: 60_000,
    aggregate: 'mean',
  });
});

it('asks for a step that is still kept, and says which it is', async () => {
  const day = 86_400_000;
  const to = h.clock.wallMs() - 20 * day;
  const range = `from=${to - 3_600_000}&to=${to}`;
  const answer = await get(`telemetry?cluster=home&metrics=cpuRatio&${range}&stepMs=1000`);
  expect(answer).toMatchObject({ resolutionMs: 60_000 });
  const month = await get(`telemetry?cluster=home&metrics=cpuRatio&from=${to - 30 * day}&to=${to}`);
  expect(month).toMatchObject({ resolutionMs: 3_600_000 });
});

it('answers a fleet as one series, its highest, and its events', async () => {
  const from = h.clock.wallMs() - 3_600_000;
  expect(await get('telemetry/total?metrics=cpuRatio,powerWatts&aggregate=p95')).toEqual({
    series: ['cpuRatio', 'powerWatts'].map((metric) => ({ metric, points: [[from, 0.5]] })),
    resolutionMs: 5_000,
  });
  expect(await get('telemetry/top?metric=cpuRatio&entity=guest&limit=1')).toEqual({
    items: [{ cluster: 'home', node: 'n1', guest: '100', value: 1 }],
  });
  const { items } = (await get('telemetry/events')) as { items: unknown[] };
  expect(items).toMatchObject([{ at: new Date(from).toISOString(), kind: 'node.wake' }]);
});

it.each(['total?metrics=cpuRatio', 'top?metric=cpuRatio', 'events'])(
  'asks an account with a cluster list to name a cluster: telemetry/%s',
  async (url) => {
    const headers = bearer(who.foreign);
    const answer = await h.app.inject({ url: `/api/v1/telemetry/${url}`, headers });
    expect(answer.json()).toMatchObject({ status: 403, code: 'KR_SCOPE', field: 'cluster' });
  },
);

it('exports series as CSV, a gap as an empty field', async () => {
  const from = Date.parse('2026-01-31T12:00:00Z');
  const names = 'metrics=cpuRatio,powerWatts';
  const url = `telemetry/export?cluster=home&node=n1&${names}&from=${from}&to=${from + 5_000}`;
  const answer = await h.app.inject({
    url: `/api/v1/${url}`,
    headers: bearer(who.viewer),
  });
  expect(answer.headers['content-type']).toBe('text/csv; charset=utf-8');
  expect(answer.body).toBe(
    'time,cluster,node,cpuRatio,powerWatts\r\n2026-01-31T12:00:00.000Z,"home","n1",,\r\n',
  );
});

it('takes a command once per idempotency key and shows its history', async () => {
  const submit = () =>
    h.app.inject({
      method: 'POST',
      url: '/api/v1/commands',
      payload: {
        cluster: 'home',
        kind: 'guest.migrate',
        node: 'n1',
        guest: 'n1.100',
        args: { targetNode: 'n2' },
      },
      headers: { ...bearer(who.operator), 'idempotency-key': 'move-1' },
    });
  const first = await submit();
  expect(first.statusCode).toBe(202);
  const { id, state } = first.json<{ id: string; state: string }>();
  expect(state).toBe('QUEUED');
  const again = await submit();
  expect(again.json()).toEqual({ id, state });
  expect(again.headers['idempotent-replayed']).toBe('true');
  expect(h.commands.submitted).toHaveLength(1);
  expect(h.commands.submitted[0]).toMatchObject({
    actor: 'account:operator',
    origin: 'person',
    approved: true,
    // Defaults of the kind are filled in before anyone else sees it.
    args: { targetNode: 'n2', online: true, withLocalDisks: false },
  });
  expect(await get(`commands/${id}`)).toMatchObject({
    id,
    state: 'QUEUED',
    target: { kind: 'guest', id: 'n1.100' },
    history: [{ state: 'QUEUED', at: new Date(h.clock.wallMs()).toISOString() }],
  });
  expect(await get('commands?cluster=home&state=QUEUED')).toMatchObject({ total: 1 });
  expect(await get('commands?cluster=elsewhere')).toMatchObject({ total: 0, items: [] });
});

it('pages commands newest first, without losing or repeating one', async () => {
  for (let n = 0; n < 4; n += 1) {
    await h.clock.advance(1);
    const payload = { cluster: 'home', kind: 'guest.start', node: 'n1', guest: `new-${n}` };
    const headers = bearer(who.operator);
    await h.app.inject({ method: 'POST', url: '/api/v1/commands', payload, headers });
  }
  const seen: string[] = [];
  let cursor = '';
  do {
    const page: Page = await get(`commands?limit=2${cursor}`);
    expect(page.total).toBe(5);
    seen.push(...page.items.map(({ id }) => id));
    cursor = page.nextCursor === null ? '' : `&cursor=${page.nextCursor}`;
  } while (cursor !== '');
  expect(seen).toEqual(seen.toSorted().toReversed());
  expect(new Set(seen).size).toBe(5);
});

it('passes on the refusal of the stage behind it, with field and way out', async () => {
  const page: Page = await get('commands?limit=1');
  const url = `/api/v1/commands/${page.items[0]?.id}/approve`;
  const answer = await h.app.inject({ method: 'POST', url, headers: bearer(who.operator) });
  expect(answer.statusCode).toBe(409);
  expect(answer.json()).toMatchObject({
    code: 'KR_STATE',
    field: 'id',
    wayOut: 'look at its state',
  });
});

it('explains a decision in one sentence and verifies the audit chain', async () => {
  const summary = 'Moved guest 100 from n1 (cpu 0.93 > 0.85 for 300 s) to n2 (cpu 0.21).';
  const id = h.newId();
  await h.database.db
    .insertInto('decisions')
    .values({
      id,
      cluster: 'home',
      at_ms: h.clock.wallMs(),
      epoch: 1,
      policy_hash: null,
      inputs_hash: '0'.repeat(64),
      intents: 1,
      outcome: 'recommended',
      summary,
      plan: JSON.stringify({ cluster: 'home', intents: [{ rule: 'hot-node' }] }),
      report: JSON.stringify({ summary, nonActions: [] }),
      measured: null,
      ver: 1,
    })
    .execute();
  expect(await get('decisions?outcome=recommended')).toMatchObject({ items: [{ id, summary }] });
  expect(await get(`decisions/${id}`)).toMatchObject({
    summary,
    intents: [{ rule: 'hot-node' }],
    nonActions: [],
    commands: [],
  });
  const audit = await get('audit?limit=2', 'admin');
  expect(audit).toMatchObject({ items: [{ chain: 'system' }, { chain: 'system' }] });
  const older: { items: { seq: number }[] } = await get(
    `audit?limit=1&cursor=${audit.nextCursor}`,
    'admin',
  );
  expect(older.items[0]?.seq).toBe(audit.items[1].seq - 1);
  expect(await get('audit/verify', 'admin')).toMatchObject({ chain: 'system', ok: true });
});

it('gives one token for a daemon that speaks for several real nodes', async () => {
  const answer = await h.app.inject({
    method: 'POST',
    url: '/api/v1/enrolments',
    payload: { cluster: 'rack', nodes: ['pve1', 'pve2', 'pve3'] },
    headers: bearer(who.admin),
  });
  expect(answer.statusCode).toBe(201);
  const { token } = answer.json<{ token: string }>();
  const secret = Buffer.from(token.split('.')[0] ?? '', 'utf8');
  expect(await h.directory.authenticate('rack/pve1', secret)).toMatchObject({
    enrolling: true,
    nodes: new Set(['pve1', 'pve2', 'pve3']),
  });
});

it('enrols 2,048 simulated nodes at once, with credentials that work', async () => {
  const nodes = Array.from({ length: 2_048 }, (_, index) => `node-${index}`);
  const answer = await h.app.inject({
    method: 'POST',
    url: '/api/v1/enrolments',
    payload: { cluster: 'elsewhere', nodes, simulated: true },
    headers: bearer(who.foreignAdmin),
  });
  expect(answer.statusCode).toBe(201);
  const { credentials, serverId, serverKeys } = answer.json<{
    credentials: { node: string; daemon: string; secret: string }[];
    serverId: string;
    serverKeys: unknown[];
  }>();
  expect(credentials).toHaveLength(2_048);
  expect({ serverId, serverKeys }).toEqual(h.deps.identity);
  const [first] = credentials;
  const secret = Buffer.from(first?.secret ?? '', 'utf8');
  const owner = await h.directory.authenticate(`elsewhere/${first?.daemon}`, secret);
  expect([...(owner?.nodes ?? [])]).toEqual([first?.node]);

  const { items } = await get('clusters/elsewhere/daemons', 'foreignAdmin');
  expect(items).toHaveLength(2_048);
  const revoked = await h.app.inject({
    method: 'DELETE',
    url: `/api/v1/clusters/elsewhere/daemons/${first?.daemon}`,
    headers: bearer(who.foreignAdmin),
  });
  expect(revoked.statusCode).toBe(204);
  expect(await h.directory.authenticate(`elsewhere/${first?.daemon}`, secret)).toBeUndefined();
  expect(h.kicked).toEqual([`elsewhere/${first?.daemon}`]);
  const after = await get('clusters/elsewhere/daemons', 'foreignAdmin');
  expect(after.items).toContainEqual(
    expect.objectContaining({ id: first?.daemon, revokedAt: expect.any(String) as string }),
  );
});

it('shows no secret in any answer or log line but where it is handed out', async () => {
  const secrets = Object.values(who).filter((token) => token !== null);
  const hashes = (await h.database.db.selectFrom('sessions').select('token_hash').execute()).map(
    (row) => row.token_hash,
  );
  const bodies: string[] = [];
  for (const { method, url } of h.server.routes) {
    if (method !== 'GET' || url.includes(':') || url.includes('*') || url.endsWith('/stream'))
      continue;
    const headers = bearer(who.admin);
    bodies.push((await h.app.inject({ url: `${url}?limit=5000`, headers })).body);
    bodies.push((await h.app.inject({ url, headers })).body);
  }
  const seen = [...bodies, JSON.stringify(h.log.lines)].join('\n');
  expect(seen.length).toBeGreaterThan(10_000);
  for (const secret of [...secrets, ...hashes, h.server.setupToken() ?? '-']) {
    expect(seen.includes(secret)).toBe(false);
  }
  expect(seen).not.toMatch(/argon2id\$|password_hash|token_hash|secret_hash/);
});

it('checks a draft by line and column, and says what it would change for a cluster', async () => {
  const check = async (payload: object) =>
    (
      await h.app.inject({
        method: 'POST',
        url: '/api/v1/policies/check',
        headers: bearer(who.viewer),
        payload,
      })
    ).json();
  expect(await check({ yaml: 'extends: balance\nrelieve:\n  cpuRatio: {above: 7}' })).toMatchObject(
    {
      problems: [{ line: 3, column: 21, field: 'relieve.cpuRatio.above' }],
      yaml: null,
      differences: null,
    },
  );
  const yaml = 'extends: balance\nlimits: {migrationsPerCluster: 3}';
  expect(await check({ yaml, cluster: 'home' })).toMatchObject({
    problems: [],
    differences: [{ field: 'limits.migrationsPerCluster', before: '2', after: '3' }],
  });
  expect((await check({ yaml })).differences).toBeNull();
});

it('keeps every version of a policy, and lets a cluster go back to one', async () => {
  const ask = async (method: 'GET' | 'POST' | 'PUT', url: string, payload?: object) => {
    const headers = bearer(who.admin);
    return h.app.inject({ method, url, headers, ...(payload && { payload }) });
  };
  const store = (moves: number) =>
    ask('POST', '/api/v1/policies', {
      name: 'house',
      yaml: `extends: balance\nlimits: {guestMovesPerDay: ${moves}}`,
    });
  for (const moves of [3, 4]) expect((await store(moves)).statusCode).toBe(201);
  const versions = (await ask('GET', '/api/v1/policies/house/versions')).json<{
    items: object[];
  }>();
  expect(versions.items).toMatchObject([
    { version: 2, author: 'account:admin' },
    { version: 1, author: 'account:admin' },
  ]);
  const follow = (version?: number) =>
    ask('PUT', '/api/v1/clusters/home/policy', {
      policy: 'house',
      ...(version !== undefined && { version }),
    });
  expect((await follow()).json()).toMatchObject({ version: 2 });
  expect((await follow(1)).json()).toMatchObject({ version: 1 });
  const followed = await h.database.db
    .selectFrom('clusters as c')
    .innerJoin('policies as p', 'p.id', 'c.policy_id')
    .select('p.version')
    .where('c.id', '=', 'home')
    .executeTakeFirstOrThrow();
  expect(followed.version).toBe(1);
  expect((await follow(7)).json()).toMatchObject({ code: 'KR_NOT_FOUND', field: 'version' });
  const none = await ask('GET', '/api/v1/policies/nobody/versions');
  expect(none.json()).toMatchObject({ code: 'KR_NOT_FOUND', field: 'name' });
});

it('shows the steps of a start that wakes its node first', async () => {
  const at = { cluster: 'home', executor: 'n4', planned_at_ms: 1, expires_at_ms: 2 };
  const id = h.newId();
  const start = { ...at, id, target_id: 'n4.100', plan_id: id, state: 'PLANNED' as const };
  const wake = {
    ...at,
    id: h.newId(),
    kind: 'node.wake',
    target_kind: 'node' as const,
    target_id: 'n4',
    plan_id: id,
    state: 'SUCCEEDED' as const,
    generation: 1,
  };
  const waits = { generation: 900, state_reason: 'ready: no sample yet' };
  const rows = [commandRow({ ...start, ...waits }), commandRow(wake)];
  await h.database.db.insertInto('commands').values(rows).execute();
  expect((await get(`commands/${id}`)).steps).toEqual([
    { step: 'wake', node: 'n4', command: wake.id, state: 'done', reason: null },
    { step: 'ready', node: 'n4', command: null, state: 'running', reason: 'no sample yet' },
    { step: 'start', node: 'n4', command: id, state: 'waiting', reason: null },
  ]);
});
