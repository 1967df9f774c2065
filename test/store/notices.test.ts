/** Notices, their deliveries and the picture that rules judge, on a real MariaDB. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newDelivery } from '../../backend/notify/deliver.ts';
import { lastNight } from '../../backend/notify/morning.ts';
import { takePicture } from '../../backend/notify/picture.ts';
import { emptyFleet } from '../../backend/state/fleet.ts';
import { type Database, openDatabase } from '../../backend/store/sql/database.ts';
import { createNoticeStore, type NoticeRow } from '../../backend/store/sql/notices.ts';
import { realClock } from '../broker/wire.ts';
import { commandRow } from '../support/command-row.ts';
import { memoryLog } from '../support/log.ts';
import { type Mariadb, startMariadb } from '../support/servers.ts';

let mariadb: Mariadb;
let database: Database;
const nowMs = 1_800_000_000_000;

beforeAll(async () => {
  mariadb = await startMariadb();
  database = await openDatabase({
    file: '',
    url: mariadb.url,
    nowMs: () => nowMs,
    clock: realClock,
    log: memoryLog(),
  });
});
afterAll(async () => {
  await database.close();
  await mariadb.stop();
});

const notice = (id: string): NoticeRow => ({
  id,
  open_key: 'node-lost|home|pve1',
  rule: 'node-lost',
  severity: 'critical',
  cluster: 'home',
  title: 'pve1 of home is lost',
  body: '',
  command_id: null,
  opened_at_ms: nowMs,
  resolved_at_ms: null,
  ver: 1,
});

describe('on MariaDB', () => {
  it('opens a notice once, delivers, resolves and opens it again', async () => {
    const store = createNoticeStore(database);
    const delivery = newDelivery('n1', 'c1', 'opened', { id: 'd1', atMs: nowMs, dueAtMs: nowMs });
    expect(await store.insert(notice('n1'), [delivery])).toBe(true);
    expect(await store.insert(notice('n2'), [])).toBe(false);
    const [due] = await store.due(nowMs, 10);
    if (!due) throw new Error('nothing is due');
    expect(await store.change(due, { state: 'dead', attempts: 10 })).toBe(true);
    expect(await store.change(due, { state: 'delivered' })).toBe(false);
    expect(await store.dead(10)).toMatchObject([{ id: 'd1', title: 'pve1 of home is lost' }]);
    expect(await store.revive('d1', nowMs)).toBe(true);
    const [open] = await store.open();
    if (!open) throw new Error('nothing is open');
    await store.resolve(open, nowMs, []);
    expect(await store.open()).toEqual([]);
    expect(await store.insert(notice('n2'), [])).toBe(true);
    expect((await store.history(10)).map(({ id }) => id)).toEqual(['n2', 'n1']);
    await store.prune(nowMs + 100 * 86_400_000);
    expect((await store.history(10)).map(({ id }) => id)).toEqual(['n2']);
  });

  it('takes the picture of what waits and what is in doubt', async () => {
    const { db } = database;
    await db
      .insertInto('clusters')
      .values({
        id: 'home',
        simulated: 0,
        time_scale: 1,
        autonomy: '{}',
        policy_id: null,
        limits: '{}',
        settings: '{}',
        hold: 1,
        hold_reason: 'fans',
        hold_by: 'ada',
        hold_at_ms: 5,
        frozen_until_ms: null,
        frozen_reason: null,
        created_at_ms: 1,
        ver: 1,
      })
      .execute();
    const states = ['INDETERMINATE', 'PLANNED', 'FAILED'];
    for (const [at, state] of states.entries()) {
      const id = `01890000-0000-7000-8000-00000000000${at}`;
      const row = commandRow({
        id,
        cluster: 'home',
        kind: 'node.wake',
        target_id: `pve${at}`,
        executor: 'pve1',
        generation: at,
        planned_at_ms: nowMs - 1_000,
        expires_at_ms: nowMs,
      });
      await db
        .insertInto('commands')
        .values({ ...row, state, origin: 'engine' })
        .execute();
      const entry = { command_id: id, state, actor: 'test', reason: null, epoch: 1, data: null };
      for (const ver of [1, 2]) {
        await db
          .insertInto('command_history')
          .values({ ...entry, ver, at_ms: 40 + ver })
          .execute();
      }
    }
    const picture = await takePicture(
      {
        db,
        fleet: emptyFleet,
        certificateEndsAtMs: () => null,
        backupProblem: () => null,
      },
      { nowMs, monotonicMs: 0 },
    );
    expect(picture.indeterminate).toMatchObject([{ target: 'pve0', sinceMs: 41 }]);
    expect(picture.awaitingApproval).toMatchObject([{ target: 'pve1' }]);
    expect(picture.failedWakes).toMatchObject([{ target: 'pve2' }]);
    expect(picture.holds).toEqual([{ cluster: 'home', sinceMs: 5, reason: 'fans' }]);
    expect(picture.proofs).toEqual([]);
    const night = await lastNight(db, { range: async () => [] }, nowMs);
    expect(night).toEqual({ sleeps: [], refused: 0 });
  });
});
