import { afterEach, beforeEach, expect, it } from 'vitest';
import { setKeepAwake, ensureNodes } from '../../../backend/store/sql/clusters.ts';
import { setPause } from '../../../backend/store/sql/pauses.ts';
import { commandRow } from '../../support/command-row.ts';
import { addCluster, addNode, bearer, type Harness, signInAll, startHarness } from './harness.ts';

const hourMs = 3_600_000;
const guest = { cluster: 'home', kind: 'guest', id: '100' } as const;

let h: Harness;
let operator: string | null;
beforeEach(async () => {
  h = await startHarness();
  ({ operator } = await signInAll(h));
  await addCluster(h.database, h.fleet, 'home');
  addNode(h.fleet, { cluster: 'home', node: 'n1', guests: ['100'] });
});
afterEach(() => h.stop());

async function ask(method: 'GET' | 'PUT', of: string, payload?: object) {
  const url = `/api/v1/clusters/home/${of}/automation`;
  const headers = bearer(operator);
  return h.server.app.inject({ method, url, headers, ...(payload && { payload }) });
}
const iso = (ms: number): string => new Date(ms).toISOString();

it('leaves a guest alone for as long as somebody says, and acts again when told, both audited', async () => {
  expect((await ask('GET', 'guests/100')).json()).toEqual({ paused: null, keptAwakeUntil: null });
  const untilMs = h.clock.wallMs() + hourMs;
  const paused = await ask('PUT', 'guests/100', { pauseForMs: hourMs, reason: 'new disk' });
  expect(paused.json().paused).toMatchObject({ until: iso(untilMs), because: null });
  expect((await ask('GET', 'guests/100')).json()).toEqual(paused.json());
  // Snoozed: counted from now on, not added.
  const longer = await ask('PUT', 'guests/100', { pauseForMs: 2 * hourMs });
  expect(longer.json().paused.until).toBe(iso(untilMs + hourMs));
  expect((await ask('PUT', 'guests/100', { pauseForMs: null })).json().paused).toBe(null);
  const rows = await h.database.db.selectFrom('audit').selectAll().execute();
  const own = rows.filter(({ subject }) => subject === 'guest:100');
  expect(own.map(({ action }) => action)).toEqual([
    'automation.paused',
    'automation.paused',
    'automation.resumed',
  ]);
  expect(own[0]?.detail).toContain('new disk');
});

it('is over by itself', async () => {
  await ask('PUT', 'nodes/n1', { pauseForMs: 60_000 });
  await h.clock.advance(60_001);
  expect((await ask('GET', 'nodes/n1')).json().paused).toBe(null);
});

it('names the command that began a pause, and no other', async () => {
  const nowMs = h.clock.wallMs();
  await h.database.db
    .updateTable('clusters')
    .set({ limits: JSON.stringify({ manualPauseMs: hourMs }) })
    .execute();
  const [id, actor] = ['01890000-0000-7000-8000-000000000007', 'account:ada'];
  const row = { id, cluster: 'home', target_id: '100', executor: 'n1', generation: 1 };
  const times = { planned_at_ms: nowMs, expires_at_ms: nowMs + 60_000 };
  await h.database.db
    .insertInto('commands')
    .values(commandRow({ ...row, ...times, origin: 'person', actor }))
    .execute();
  const until = (untilMs: number) =>
    h.database.transaction((trx) => setPause(trx, guest, { untilMs, by: actor }));
  await until(nowMs + hourMs);
  expect((await ask('GET', 'guests/100')).json().paused).toEqual({
    until: iso(nowMs + hourMs),
    by: actor,
    because: { command: id, kind: 'guest.start', at: iso(nowMs) },
  });
  // Snoozed afterwards: it is no longer the command's pause.
  await until(nowMs + 2 * hourMs);
  expect((await ask('GET', 'guests/100')).json().paused).toMatchObject({
    by: actor,
    because: null,
  });
});

it('says until when a node is kept awake', async () => {
  const untilMs = h.clock.wallMs() + hourMs;
  await h.database.transaction(async (trx) => {
    await ensureNodes(trx, { cluster: 'home', nodes: ['n1'], nowMs: 1 });
    await setKeepAwake(trx, { cluster: 'home', node: 'n1', untilMs });
  });
  expect((await ask('GET', 'nodes/n1')).json()).toEqual({
    paused: null,
    keptAwakeUntil: iso(untilMs),
  });
  await h.clock.advance(hourMs + 1);
  expect((await ask('GET', 'nodes/n1')).json().keptAwakeUntil).toBe(null);
});

it.each([
  ['nodes/n9', { pauseForMs: 60_000 }, { status: 404, code: 'KR_NOT_FOUND', field: 'node' }],
  ['guests/9', { pauseForMs: null }, { status: 404, code: 'KR_NOT_FOUND', field: 'guest' }],
  ['guests/100', { pauseForMs: 1 }, { status: 400, field: 'pauseForMs' }],
  ['guests/100', {}, { status: 400, field: 'pauseForMs' }],
])('refuses %s with %j, naming the field', async (of, body, problem) => {
  expect((await ask('PUT', of, body)).json()).toMatchObject(problem);
});
