import { afterEach, beforeEach, expect, it } from 'vitest';
import { administration, ensureNodes } from '../../../backend/store/sql/clusters.ts';
import { controlRows } from '../../../backend/store/sql/control-rows.ts';
import { endEvacuation, restEvacuated } from '../../../backend/store/sql/evacuations.ts';
import { guestSample } from '../../support/messages.ts';
import { addCluster, addNode, bearer, type Harness, signInAll, startHarness } from './harness.ts';

let h: Harness;
const rest = { movesPerDay: 2, forMs: 0 };
let admin: string | null;
let viewer: string | null;
beforeEach(async () => {
  h = await startHarness();
  ({ admin, viewer } = await signInAll(h));
  await addCluster(h.database, h.fleet, 'home');
  await h.database.transaction((trx) =>
    ensureNodes(trx, { cluster: 'home', nodes: ['n1'], nowMs: 1 }),
  );
});
afterEach(() => h.stop());

function put(node: string, body: object) {
  const url = `/api/v1/clusters/home/nodes/${node}/maintenance`;
  return h.server.app.inject({ method: 'PUT', url, headers: bearer(admin), payload: body });
}

it('takes a node in hand and gives it back, audited with the reason', async () => {
  const kept = async () => (await administration(h.database.db)).nodes[0]?.maintenance;
  expect((await put('n1', { maintenance: true, reason: 'new fans' })).statusCode).toBe(204);
  expect(await kept()).toBe(true);
  const rows = await h.database.db.selectFrom('audit').selectAll().execute();
  const entry = rows.find(({ action }) => action === 'node.maintenance-begun');
  expect(entry?.detail).toContain('new fans');
  expect(entry?.subject).toBe('node:n1');
});

it('knows no other node', async () => {
  const unknown = await put('n9', { maintenance: true });
  expect(unknown.json()).toMatchObject({ status: 404, code: 'KR_NOT_FOUND', field: 'node' });
});

it('tells who would leave it and to where, to everybody who may look', async () => {
  const web = { id: 'web', name: 'web', way: 'moves' as const, target: 'n2', targetCpuRatio: 0.4 };
  const found = { guests: [{ ...web, why: null }], wakes: [], inTheWay: [], isProven: true };
  h.emptyings.set('n1', { ...found, rest });
  const ask = (node: string) =>
    h.server.app.inject({
      url: `/api/v1/clusters/home/nodes/${node}/maintenance`,
      headers: bearer(viewer),
    });
  expect((await ask('n1')).json()).toEqual(found);
  expect((await ask('n9')).json()).toMatchObject({ status: 404, code: 'KR_NOT_FOUND' });
});

it('asks the guards about each move and the end of it, where that is wished', async () => {
  const moves = { way: 'moves' as const, target: 'n2', targetCpuRatio: 0.4, why: null };
  const guests = [
    { ...moves, id: 'web', name: 'web' },
    { ...moves, id: 'nas', name: 'nas', way: 'stays' as const, target: null, why: 'is pinned' },
  ];
  h.emptyings.set('n1', { guests, wakes: [], inTheWay: [], isProven: true, rest });
  addNode(h.fleet, { cluster: 'home', node: 'n1' }, { guests: [guestSample('web')] });
  const answer = await h.server.app.inject({
    url: '/api/v1/clusters/home/nodes/n1/maintenance?guards=true',
    headers: bearer(viewer),
  });
  const denial = { code: 'KR_QUORUM', reason: 'too few votes', wayOut: 'wake a node' };
  const emptyNode = { ...denial, rule: 'empty-node', code: 'KR_GUESTS_RUNNING' };
  expect(answer.json()).toMatchObject({
    guests: [{ id: 'web', denials: [emptyNode, { ...denial, rule: 'quorum' }] }, guests[1]],
    // Its guests have left by then.
    offDenials: [{ ...denial, rule: 'quorum' }],
  });
  const args = { targetNode: 'n2', online: true, withLocalDisks: false };
  expect(h.commands.rehearsed).toMatchObject([
    { kind: 'guest.migrate', node: 'n1', guest: 'web', args, origin: 'system' },
    { kind: 'node.shutdown', node: 'n1', args: { mode: 'poweroff' }, origin: 'system' },
  ]);
  expect(h.commands.submitted).toEqual([]);
});

it('writes down who runs there when it is emptied, and forgets it when all is over', async () => {
  addNode(h.fleet, { cluster: 'home', node: 'n1' }, { guests: [guestSample('web')] });
  const kept = async () => (await administration(h.database.db)).nodes[0];
  const at = { cluster: 'home', node: 'n1' };
  await put('n1', { maintenance: true, evacuate: true, sleep: true });
  const evacuation = { phase: 'evacuate', sleeps: true, guests: ['web'] };
  expect(await kept()).toMatchObject({ maintenance: false, evacuation });
  // Said again, it keeps the guests it began with.
  addNode(h.fleet, at, { guests: [] });
  await put('n1', { maintenance: true, evacuate: true });
  expect(await kept()).toMatchObject({ evacuation: { sleeps: false, guests: ['web'] } });
  const steps = (work: typeof restEvacuated) => h.database.transaction((trx) => work(trx, at));
  expect([await steps(restEvacuated), await steps(restEvacuated)]).toEqual([true, false]);
  expect(await kept()).toMatchObject({ maintenance: true });
  await put('n1', { maintenance: false });
  expect(await kept()).toMatchObject({ maintenance: false, evacuation: { phase: 'return' } });
  // What comes back is not taken in hand, however empty it is.
  expect(await steps(restEvacuated)).toBe(false);
  expect([await steps(endEvacuation), await steps(endEvacuation)]).toEqual([true, false]);
  expect(await kept()).toMatchObject({ maintenance: false, evacuation: null });
});

it('empties a node for its proof alone: it never rests, and fills again when that is over', async () => {
  addNode(h.fleet, { cluster: 'home', node: 'n1' }, { guests: [guestSample('web')] });
  const at = { cluster: 'home', node: 'n1' };
  const kept = async () => (await administration(h.database.db)).nodes[0];
  await put('n1', { maintenance: true, evacuate: true, forProof: true });
  expect(await kept()).toMatchObject({ evacuation: { phase: 'prove', guests: ['web'] } });
  expect(await h.database.transaction((trx) => restEvacuated(trx, at))).toBe(false);
  const fill = () =>
    h.database.transaction((trx) => controlRows(trx).fillProven({ cluster: 'home', id: 'n1' }));
  await fill();
  expect(await kept()).toMatchObject({ maintenance: false, evacuation: { phase: 'return' } });
  // A maintenance that somebody ordered is not ended by a proof.
  await put('n1', { maintenance: true, evacuate: true });
  await fill();
  expect(await kept()).toMatchObject({ evacuation: { phase: 'evacuate' } });
});

it.each([
  [{ maintenance: false, evacuate: true }, 'evacuate'],
  [{ maintenance: true, sleep: true }, 'sleep'],
  [{ maintenance: true, forProof: true }, 'forProof'],
  [{ maintenance: true, evacuate: true, sleep: true, forProof: true }, 'forProof'],
])('refuses %j, naming the field', async (body, field) => {
  expect((await put('n1', body)).json()).toMatchObject({ status: 400, field });
});
