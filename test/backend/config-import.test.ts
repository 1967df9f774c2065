import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkConfigFile } from '../../backend/config-file.ts';
import { ConfigConflict, importConfig } from '../../backend/config-import.ts';
import { administration } from '../../backend/store/sql/clusters.ts';
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
