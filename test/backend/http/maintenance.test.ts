import { afterEach, beforeEach, expect, it } from 'vitest';
import { administration, ensureNodes } from '../../../backend/store/sql/clusters.ts';
import { addCluster, bearer, type Harness, signInAll, startHarness } from './harness.ts';

let h: Harness;
beforeEach(async () => {
  h = await startHarness();
  await addCluster(h.database, h.fleet, 'home');
  await h.database.transaction((trx) =>
    ensureNodes(trx, { cluster: 'home', nodes: ['n1'], nowMs: 1 }),
  );
});
afterEach(() => h.stop());

async function put(node: string, body: object) {
  const { admin } = await signInAll(h);
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
