import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { sql } from 'kysely';
import { afterAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase, StoreUnavailable } from '../../backend/store/sql/database.ts';
import { memoryLog } from '../support/log.ts';
import { commandStoreContract } from './command-store.contract.ts';
import { controlRowsContract } from './control-rows.contract.ts';
import { sqlBench } from './sql-bench.ts';
import { sqlContract } from './sql.contract.ts';
import { storeMarkContract } from './store-mark.contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'kr-sqlite-'));
afterAll(() => rmSync(folder, { recursive: true }));

const openFile = (file: string): Promise<Database> =>
  openDatabase({ file, nowMs: () => Date.now(), log: memoryLog() });

describe('SQL on node:sqlite', () => {
  const file = join(folder, 'store', 'kernreaktor.db');
  sqlContract(async () => ({ database: await openFile(file), reopen: () => openFile(file) }));
});

describe('the command store on node:sqlite', () => {
  const file = join(folder, 'commands', 'kernreaktor.db');
  // One process has one connection to it; a second one would be a backup tool's.
  const open = async () => {
    const database = await openFile(file);
    return sqlBench(database, database);
  };
  commandStoreContract(open);
  controlRowsContract(open);
});

describe('the mark of a store on node:sqlite', () => {
  storeMarkContract(() => openFile(join(folder, 'mark', 'kernreaktor.db')));
});

describe('the embedded store', () => {
  it('is the owner’s alone, durable at commit, and in WAL mode', async () => {
    const file = join(folder, 'own', 'a.db');
    const database = await openFile(file);
    try {
      for (const name of [file, `${file}-wal`]) expect(statSync(name).mode & 0o777).toBe(0o600);
      const pragma = async (name: string): Promise<unknown> =>
        Object.values(
          (await sql.raw<object>(`pragma ${name}`).execute(database.db)).rows[0] ?? {},
        )[0];
      expect(await pragma('journal_mode')).toBe('wal');
      // 2 is FULL.
      expect(await pragma('synchronous')).toBe(2);
    } finally {
      await database.close();
    }
  });

  it('says so when another process holds the write lock, and goes on afterwards', async () => {
    const file = join(folder, 'held.db');
    const database = await openFile(file);
    const holder = new DatabaseSync(file);
    try {
      holder.exec('begin immediate');
      let attempts = 0;
      const write = () =>
        database.transaction(async (trx) => {
          attempts += 1;
          await trx.insertInto('settings').values({ name: 'a', value: '{}', ver: 1 }).execute();
        });
      await expect(write()).rejects.toBeInstanceOf(StoreUnavailable);
      expect(attempts).toBe(0);
      holder.exec('rollback');
      await write();
      expect(attempts).toBe(1);
    } finally {
      holder.close();
      await database.close();
    }
  });

  it('that is no database or cannot be opened is a typed failure', async () => {
    const file = join(folder, 'text.db');
    writeFileSync(file, 'this is a letter, not a database'.repeat(100));
    await expect(openFile(file)).rejects.toBeInstanceOf(StoreUnavailable);
    await expect(openFile(join(file, 'below', 'a.db'))).rejects.toMatchObject({
      code: 'KR_STORE_UNAVAILABLE',
    });
  });
});
