/** The rest of the command store's promises: tried wakes, campaigns, watches and settings. */
import { strict as assert } from 'node:assert';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommandRows } from '../../backend/store/command-store.ts';
import { UniqueViolation } from '../../backend/store/sql/errors.ts';
import type { WakeCampaigns, WakeProofs } from '../../backend/store/sql/schema.ts';
import type { Bench } from './command-store.contract.ts';

let count = 0;
const fresh = (): number => {
  count += 1;
  return count;
};
const uuid = (): string => `01890000-0000-7000-9000-${String(fresh()).padStart(12, '0')}`;

const proofOf = (cluster: string, change: Partial<WakeProofs> = {}): WakeProofs => ({
  id: uuid(),
  cluster,
  node: 'n1',
  waker: 'n2',
  binding_hash: 'a'.repeat(64),
  binding: '{}',
  off_at_ms: 1,
  woken_at_ms: 100,
  boot_ms: 1,
  succeeded: 1,
  command_id: null,
  created_at_ms: fresh(),
  ...change,
});

const campaignOf = (cluster: string, change: Partial<WakeCampaigns> = {}): WakeCampaigns => ({
  id: uuid(),
  cluster,
  node: 'n1',
  waker: 'n2',
  actor: 'ada',
  cycles: 3,
  done: 0,
  proven: 0,
  attempts: 0,
  phase: 'off',
  state: 'running',
  command_id: null,
  binding_hash: null,
  binding: null,
  why: '',
  is_cancelled: 0,
  off_at_ms: null,
  started_at_ms: fresh(),
  next_at_ms: 1,
  deadline_at_ms: 1,
  finished_at_ms: null,
  ver: 1,
  ...change,
});

export function controlRowsContract(open: () => Promise<Bench>): void {
  let bench: Bench;
  beforeAll(async () => {
    bench = await open();
  });
  afterAll(() => bench?.close());
  const run = <T>(work: (rows: CommandRows) => Promise<T>): Promise<T> =>
    bench.store.transaction(work);
  const cluster = (): string => `control-${fresh()}`;

  describe('tried wakes', () => {
    it('come back newest first, those of one node, at most 64', async () => {
      const home = cluster();
      const proofs = Array.from({ length: 70 }, () => proofOf(home));
      proofs.push(proofOf(home, { created_at_ms: proofs[0]?.created_at_ms ?? 0, succeeded: 0 }));
      await run(async (rows) => {
        for (const proof of proofs) await rows.insertWakeProof(proof);
        await rows.insertWakeProof(proofOf(home, { node: 'n2' }));
        await rows.insertWakeProof(proofOf(`${home}x`));
      });
      const newest = proofs
        .toSorted((a, b) => b.created_at_ms - a.created_at_ms || (a.id < b.id ? 1 : -1))
        .slice(0, 64);
      const found = await bench.store.reads.wakeProofs({ cluster: home, id: 'n1' });
      expect(found).toEqual(newest);
      const nobody = await bench.other.reads.wakeProofs({ cluster: home, id: 'n3' });
      expect(nobody).toEqual([]);
    });

    it('of the same moment come by their later id, and none is kept twice', async () => {
      const home = cluster();
      const first = proofOf(home, { created_at_ms: 5 });
      const second = proofOf(home, { created_at_ms: 5 });
      await run(async (rows) => {
        await rows.insertWakeProof(second);
        await rows.insertWakeProof(first);
      });
      const key = { cluster: home, id: 'n1' };
      expect(await run((rows) => rows.wakeProofs(key))).toEqual([second, first]);
      const again = run((rows) => rows.insertWakeProof(first));
      await expect(again).rejects.toBeInstanceOf(UniqueViolation);
    });
  });

  describe('a campaign', () => {
    it('changes only from the version it was seen in', async () => {
      const row = campaignOf(cluster());
      await run((rows) => rows.insertCampaign(row));
      const twice = run((rows) => rows.insertCampaign(row));
      await expect(twice).rejects.toBeInstanceOf(UniqueViolation);
      const update = (ver: number): Promise<boolean> =>
        run((rows) => rows.updateCampaign({ id: row.id, ver }, { done: 1, why: 'woken' }));
      expect(await update(2)).toBe(false);
      expect(await update(1)).toBe(true);
      expect(await update(1)).toBe(false);
      const now = await run((rows) => rows.campaign(row.id));
      expect(now).toEqual({ ...row, done: 1, why: 'woken', ver: 2 });
      expect(await run((rows) => rows.campaign(uuid()))).toBeUndefined();
      expect(await run((rows) => rows.updateCampaign({ id: uuid(), ver: 1 }, { done: 1 }))).toBe(
        false,
      );
    });

    it('is found as the newest of its node, over or not, and while it runs', async () => {
      const home = cluster();
      const over = campaignOf(home, { state: 'failed' });
      const running = campaignOf(home);
      const elsewhere = campaignOf(home, { node: 'n2' });
      await run(async (rows) => {
        for (const row of [running, over, elsewhere]) await rows.insertCampaign(row);
      });
      const key = { cluster: home, id: 'n1' };
      expect(await bench.store.reads.newestCampaign(key)).toEqual(running);
      const found = (await bench.other.reads.runningCampaigns()).filter(
        (row) => row.cluster === home,
      );
      expect(found).toEqual(
        [running, elsewhere].map(({ id, node }) => ({ id, cluster: home, node })),
      );
      await run((rows) => rows.updateCampaign(running, { state: 'succeeded' }));
      expect(await run((rows) => rows.newestCampaign(key))).toMatchObject({ state: 'succeeded' });
      const ids = (await run((rows) => rows.runningCampaigns())).map(({ id }) => id);
      expect(ids).not.toContain(running.id);
      const nobody = { cluster: home, id: 'n3' };
      expect(await bench.store.reads.newestCampaign(nobody)).toBeUndefined();
    });

    it('leaves nothing of a transaction that failed', async () => {
      const row = campaignOf(cluster());
      const failing = run(async (rows) => {
        await rows.insertCampaign(row);
        await rows.updateCampaign(row, { done: 2 });
        throw new Error('no');
      });
      await expect(failing).rejects.toThrow('no');
      expect(await run((rows) => rows.campaign(row.id))).toBeUndefined();
      await run((rows) => rows.insertCampaign(row));
      expect(await run((rows) => rows.campaign(row.id))).toEqual(row);
    });
  });

  it('keep since when the engine is watched, per cluster and kind', async () => {
    const home = cluster();
    const put = (since_ms: number, reason: string) =>
      run((rows) => rows.putShadowRun({ cluster: home, kind: 'node.shutdown', since_ms, reason }));
    const get = (kind = 'node.shutdown') => run((rows) => rows.shadowRun(home, kind));
    expect(await get()).toBeUndefined();
    await put(1, 'new');
    expect(await get()).toMatchObject({ since_ms: 1, reason: 'new', ver: 1 });
    await put(2, 'policy changed');
    expect(await get()).toEqual({
      cluster: home,
      kind: 'node.shutdown',
      since_ms: 2,
      reason: 'policy changed',
      ver: 2,
    });
    expect(await get('node.wake')).toBeUndefined();
  });

  it('keep a setting, the newest value of many writers', async () => {
    const name = cluster();
    expect(await bench.store.reads.setting(name)).toBeUndefined();
    const stores = [bench.store, bench.other, bench.store];
    await Promise.all(
      stores.map((store) => store.transaction((rows) => rows.putSetting(name, '"first"'))),
    );
    await run((rows) => rows.putSetting(name, '"last"'));
    expect(await bench.other.reads.setting(name)).toBe('"last"');
    const failing = run(async (rows) => {
      await rows.putSetting(name, '"never"');
      assert.fail('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await run((rows) => rows.setting(name))).toBe('"last"');
  });
}
