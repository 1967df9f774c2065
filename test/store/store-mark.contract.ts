/**
 * Tables that another tool put back, as mysqldump or a copied file would: noticed at the start by
 * what the data folder remembers, on whichever dialect keeps them.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { appendAudit } from '../../backend/audit/chain.ts';
import { forgetMark, guardWhenTurnedBack, keepMark } from '../../backend/backup/store-mark.ts';
import { ensureCluster } from '../../backend/store/sql/clusters.ts';
import type { Database } from '../../backend/store/sql/database.ts';
import { type DumpedRows, dumpRows, insertRows } from '../../backend/store/sql/dump.ts';
import { commandRow } from '../support/command-row.ts';
import { virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';

const cluster = 'home';
const own = [
  'audit',
  'audit_heads',
  'commands',
  'clusters',
  'leases',
  'command_history',
  'settings',
] as const;
const isOwn = ({ table }: DumpedRows): boolean => own.some((name) => name === table);

export function storeMarkContract(open: () => Promise<Database>): void {
  let database: Database;
  let dataDir = '';
  const clock = virtualClock();
  const deps = () => ({ database, dataDir, clock, log: memoryLog() });

  beforeAll(async () => {
    database = await open();
    dataDir = await mkdtemp(join(tmpdir(), 'kr-mark-'));
  });
  afterAll(async () => {
    await database.close();
    await rm(dataDir, { recursive: true });
  });

  const audit = (action: string) =>
    database.transaction((trx) =>
      appendAudit(trx, {
        chain: cluster,
        actor: 'ada',
        action,
        subject: 'node:n1',
        phase: 'done',
        detail: {},
        atMs: clock.wallMs(),
      }),
    );
  async function empty(): Promise<void> {
    for (const table of own) await database.db.deleteFrom(table).execute();
  }
  async function taken(): Promise<DumpedRows[]> {
    const rows: DumpedRows[] = [];
    // Others test in the same store, and leave their rows in other tables.
    for await (const batch of dumpRows(database.db)) if (isOwn(batch)) rows.push(batch);
    return rows;
  }
  async function putBack(rows: DumpedRows[]): Promise<void> {
    await empty();
    for (const batch of rows) await insertRows(database.db, batch);
  }
  const epoch = async () =>
    (await database.db.selectFrom('leases').select('epoch').executeTakeFirst())?.epoch;
  const hold = async () =>
    (await database.db.selectFrom('settings').select('value').executeTakeFirst())?.value ?? '';
  const id = '01890000-0000-7000-8000-000000000001';

  beforeEach(async () => {
    await empty();
    await forgetMark(dataDir);
    await database.transaction((trx) =>
      ensureCluster(trx, { id: cluster, simulated: false, nowMs: clock.wallMs() }),
    );
    const times = { planned_at_ms: clock.wallMs(), expires_at_ms: clock.wallMs() + 60_000 };
    const who = { id, cluster, target_id: '100', executor: 'n1', generation: 1 };
    await database.db
      .insertInto('commands')
      .values(commandRow({ ...who, ...times }))
      .execute();
    const lease = { cluster, owner: 'us', epoch: 7, expires_at_ms: 0, ver: 1 };
    await database.db.insertInto('leases').values(lease).execute();
    await audit('before');
  });

  describe('tables that were put back by another tool', () => {
    it('bring the server up held, in a later epoch, with what waited in doubt', async () => {
      const old = await taken();
      const mark = keepMark(deps());
      await audit('a command was granted');
      await clock.advance(10_000);
      await putBack(old);
      expect(await guardWhenTurnedBack(deps())).toBe(true);
      expect(await epoch()).toBe(1_007);
      expect(JSON.parse(await hold())).toMatchObject({ all: true });
      expect(await hold()).toContain('it was put back by another tool');
      const states = await database.db.selectFrom('commands').select('state').execute();
      expect(states).toEqual([{ state: 'INDETERMINATE' }]);
      // Once: what was seen and said need not be said at the next start.
      expect(await guardWhenTurnedBack(deps())).toBe(false);
      expect(await epoch()).toBe(1_007);
      await mark.stop();
    });

    it('are noticed, too, when they went on elsewhere and have as many entries', async () => {
      const old = await taken();
      await audit('here');
      await keepMark(deps()).stop();
      await putBack(old);
      await audit('elsewhere');
      expect(await guardWhenTurnedBack(deps())).toBe(true);
    });

    it('are no such thing when nothing happened since, or only went on', async () => {
      const old = await taken();
      await keepMark(deps()).stop();
      await putBack(old);
      expect(await guardWhenTurnedBack(deps())).toBe(false);
      await audit('on');
      expect(await guardWhenTurnedBack(deps())).toBe(false);
      expect(await hold()).toBe('');
    });

    it('are no such thing on a first start, in a folder that remembers another store', async () => {
      await keepMark(deps()).stop();
      await empty();
      expect(await guardWhenTurnedBack(deps())).toBe(false);
    });
  });
}
