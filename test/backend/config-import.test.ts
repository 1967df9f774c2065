import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkConfigFile } from '../../backend/config-file.ts';
import { ConfigConflict, importConfig } from '../../backend/config-import.ts';
import { administration } from '../../backend/store/sql/clusters.ts';
import { ensurePolicy, followPolicy } from '../../backend/store/sql/policies.ts';
import { type Database, openDatabase } from '../../backend/store/sql/database.ts';
import { verifyChain } from '../../backend/audit/chain.ts';
import { idsOf, seededRandom, virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';

let database: Database;
const clock = virtualClock();
const newId = idsOf(clock, seededRandom(3));
beforeEach(async () => {
  database = await openDatabase({
    file: ':memory:',
    nowMs: () => clock.wallMs(),
    log: memoryLog(),
  });
});
afterEach(() => database.close());

const apply = async (yaml: string): Promise<void> => {
  const checked = checkConfigFile(yaml);
  if (!checked.ok) throw new Error(JSON.stringify(checked.problems));
  await importConfig(database, checked.file, { newId, nowMs: clock.wallMs() });
};

const calm = (above: number) => `
clusters:
  home: {policy: calm, autonomy: {default: approve}, nodes: {pve1: {protected: true}}}
policies:
  calm: {relieve: {cpuRatio: {above: ${above}, clear: 0.7}}}
`;

it('points a cluster at its policy and protects its nodes', async () => {
  await apply(calm(0.9));
  const { clusters, nodes } = await administration(database.db);
  expect(clusters[0]).toMatchObject({ id: 'home', autonomy: { default: 'approve' } });
  expect(clusters[0]?.policyYaml).toContain('above: 0.9');
  expect(nodes).toMatchObject([{ node: 'pve1', protected: true }]);
  expect(await verifyChain(database.db, 'system')).toEqual({ ok: true, entries: 1 });
});

it('makes a new version only when the text of a policy changed', async () => {
  await apply(calm(0.9));
  await apply(calm(0.9));
  await apply(calm(0.8));
  const versions = await database.db.selectFrom('policies').select(['version', 'source']).execute();
  expect(versions).toEqual([
    { version: 1, source: 'file' },
    { version: 2, source: 'file' },
  ]);
});

it('applies nothing of a file that contradicts what exists', async () => {
  await apply(calm(0.9));
  const wrong = 'clusters:\n  new: {}\n  home: {simulated: true}';
  await expect(apply(wrong)).rejects.toThrow(ConfigConflict);
  const { clusters } = await administration(database.db);
  expect(clusters.map(({ id }) => id)).toEqual(['home']);
});

const followed = async (): Promise<string | null> => {
  const { clusters } = await administration(database.db);
  return clusters.find(({ id }) => id === 'home')?.policyYaml ?? null;
};

it('stores a shipped policy that a cluster names', async () => {
  await apply('clusters:\n  home: {policy: save-power}');
  expect(await followed()).toContain('mode: on');
  const rows = await database.db.selectFrom('policies').select(['name', 'source']).execute();
  expect(rows).toEqual([{ name: 'save-power', source: 'shipped' }]);
});

it('takes back a policy that the file no longer names, and leaves one that a person enabled', async () => {
  await apply(calm(0.9));
  expect(await followed()).toContain('above: 0.9');
  await apply('clusters:\n  home: {}');
  expect(await followed()).toBeNull();
  const enabled = await database.transaction(async (trx) => {
    const own = {
      name: 'mine',
      source: 'panel',
      yaml: 'save: {}',
      hash: 'h',
      author: 'ada',
    } as const;
    const row = await ensurePolicy(trx, { id: newId(), ...own, nowMs: clock.wallMs() });
    return followPolicy(trx, 'home', row.id);
  });
  expect(enabled).toBe('done');
  await apply('clusters:\n  home: {}');
  expect(await followed()).toBe('save: {}');
});

it('does not let a person replace what the file says', async () => {
  await apply(calm(0.9));
  const row = await database.db.selectFrom('policies').select('id').executeTakeFirstOrThrow();
  const follow = (cluster: string) =>
    database.transaction((trx) => followPolicy(trx, cluster, row.id));
  expect(await follow('home')).toBe('file');
  expect(await follow('gone')).toBe('unknown');
});
