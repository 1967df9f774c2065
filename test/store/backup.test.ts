/**
 * A backup of either store, wiped and restored into either: every row of every table is there
 * again, but for what restoring changes on purpose.
 */
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createBackups } from '../../backend/backup/backups.ts';
import { refuseHalfRestored, restore } from '../../backend/backup/restore.ts';
import { readIdentities } from '../../backend/backup/seal.ts';
import {
  type Database,
  type DatabaseOptions,
  openDatabase,
  readSnapshot,
} from '../../backend/store/sql/database.ts';
import { type DumpedRow, dumpRows, insertRows } from '../../backend/store/sql/dump.ts';
import { realClock } from '../broker/wire.ts';
import { memoryLog } from '../support/log.ts';
import { type Mariadb, startMariadb } from '../support/servers.ts';

let mariadb: Mariadb;
let folder: string;
beforeAll(async () => {
  mariadb = await startMariadb();
  folder = await mkdtemp(join(tmpdir(), 'kr-backup-'));
});
afterAll(async () => {
  await mariadb.stop();
  await rm(folder, { recursive: true });
});

const log = memoryLog();
const stores = ['sqlite', 'mariadb'] as const;
type Kind = (typeof stores)[number];

/** Each installation has its own data folder, and MariaDB its own database. */
async function optionsFor(kind: Kind, dataDir: string): Promise<DatabaseOptions> {
  const file = join(dataDir, 'kernreaktor.sqlite');
  const common = { file, nowMs: () => Date.now(), log, clock: realClock };
  if (kind === 'sqlite') return { ...common, url: undefined };
  return { ...common, url: mariadb.url };
}

async function emptyMariadb(): Promise<void> {
  const options = { ...(await optionsFor('mariadb', folder)) };
  const database = await openDatabase(options);
  const tables = await database.db.introspection.getTables({ withInternalKyselyTables: true });
  for (const { name } of tables) await sql`drop table ${sql.table(name)}`.execute(database.db);
  await database.close();
}

/** Rows for each table that fit its columns: texts of all sorts, large numbers, nulls. */
async function fill(database: Database): Promise<void> {
  const tables = await database.db.introspection.getTables();
  for (const { name, columns } of tables) {
    const rows = Array.from({ length: name === 'audit' ? 0 : 90 }, (_, n) =>
      Object.fromEntries(
        columns.map((column): [string, string | number | null] => {
          if (column.isNullable && n % 3 === 0) return [column.name, null];
          const isNumber = /int|real|double/i.test(column.dataType);
          if (isNumber) return [column.name, /real|double/i.test(column.dataType) ? n / 8 : n];
          return [column.name, `${n}-ä\n"'`];
        }),
      ),
    );
    await insertRows(database.db, { table: name, rows });
  }
}

async function dumped(options: DatabaseOptions): Promise<Record<string, DumpedRow[]>> {
  const tables: Record<string, DumpedRow[]> = {};
  await readSnapshot(options, async (snapshot) => {
    for await (const { table, rows } of dumpRows(snapshot)) (tables[table] ??= []).push(...rows);
  });
  for (const rows of Object.values(tables)) {
    rows.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  }
  return tables;
}

const backupsOf = (options: DatabaseOptions, dataDir: string) =>
  createBackups({
    places: { dataDir, configPath: join(dataDir, 'kernreaktor.yaml') },
    folder: join(dataDir, 'backups'),
    everyMs: 0,
    recipients: [],
    serverId: '01890000-0000-7000-8000-000000000001',
    version: '0.1.0',
    readSnapshot: (read) => readSnapshot(options, read),
    clock: realClock,
    log,
  });

async function installation(kind: Kind) {
  const dataDir = await mkdtemp(join(folder, `${kind}-`));
  if (kind === 'mariadb') await emptyMariadb();
  await mkdir(join(dataDir, 'keys'));
  await writeFile(join(dataDir, 'keys', 'server-1.pem'), 'a key', { mode: 0o600 });
  await writeFile(join(dataDir, 'kernreaktor.yaml'), 'clusters: {}\n');
  const options = await optionsFor(kind, dataDir);
  return { dataDir, options };
}

const changed = new Set(['outbox', 'sessions', 'leases', 'settings', 'audit', 'audit_heads']);

describe.each(stores)('a backup of %s', (from) => {
  it.each(stores)(
    'is restored into %s with every row, on HOLD and in a later epoch',
    async (to) => {
      const { dataDir, options } = await installation(from);
      const database = await openDatabase(options);
      await fill(database);
      const made = await backupsOf(options, dataDir).make();
      await database.close();
      const before = await dumped(options);
      const identity = join(dataDir, 'keys', 'backup-identity.txt');

      const target = await mkdtemp(join(folder, `to-${to}-`));
      await cp(identity, join(target, 'id.txt'));
      if (to === 'mariadb') await emptyMariadb();
      const into = await optionsFor(to, target);
      const order = {
        path: join(dataDir, 'backups', made.name),
        identities: await readIdentities(join(target, 'id.txt')),
        isReplacing: false,
      };
      const places = { dataDir: target, configPath: join(target, 'kernreaktor.yaml') };
      const deps = { places, database: into, clock: realClock, log };
      const restored = await restore(order, deps);
      expect(restored.files).toBe(3);
      expect(existsSync(join(target, 'keys', 'server-1.pem'))).toBe(true);

      const after = await dumped(into);
      expect(Object.keys(before).length).toBeGreaterThan(20);
      for (const [table, rows] of Object.entries(before).filter(([name]) => !changed.has(name))) {
        expect({ table, rows: after[table] }).toEqual({ table, rows });
      }
      expect(after['sessions']).toBeUndefined();
      const epochs = (rows: DumpedRow[] = []) =>
        rows.map(({ epoch }) => Number(epoch)).sort((a, b) => a - b);
      expect(epochs(after['leases'])).toEqual(
        epochs(before['leases'])
          .map((epoch) => epoch + 1_000)
          .sort((a, b) => a - b),
      );
      const hold = after['settings']?.find(({ name }) => name === 'hold');
      expect(JSON.parse(String(hold?.['value']))).toMatchObject({ all: true, by: 'restore' });
      expect(after['audit']?.map(({ action }) => action)).toEqual(['backup.restored']);

      // What is there is not overwritten by accident, and is by intent.
      await expect(restore(order, deps)).rejects.toThrow('--replace');
      const again = await restore({ ...order, isReplacing: true }, deps);
      expect(again.rows).toBe(restored.rows);
      expect(again.movedTo === null).toBe(to === 'mariadb');
    },
    120_000,
  );
});

describe('a restore that is cut off', () => {
  it('bars the start and is finished by repeating it', async () => {
    const { dataDir, options } = await installation('sqlite');
    const database = await openDatabase(options);
    await fill(database);
    const made = await backupsOf(options, dataDir).make();
    await database.close();
    const target = await mkdtemp(join(folder, 'cut-'));
    const order = {
      path: join(dataDir, 'backups', made.name),
      identities: await readIdentities(join(dataDir, 'keys', 'backup-identity.txt')),
      isReplacing: false,
    };
    const places = { dataDir: target, configPath: join(target, 'kernreaktor.yaml') };
    const good = { places, clock: realClock, log };
    // A folder stands where the database should be: the store refuses in the middle of it.
    const bad = { ...(await optionsFor('sqlite', target)), file: join(target, 'no', 'db', 'x') };
    await mkdir(join(target, 'no'), { mode: 0o500 });
    await writeFile(join(target, 'no', 'db'), 'no folder');
    await expect(restore(order, { ...good, database: bad })).rejects.toMatchObject({
      code: 'KR_STORE_UNAVAILABLE',
    });
    expect(() => refuseHalfRestored(target)).toThrow('cut off');
    await restore(order, { ...good, database: await optionsFor('sqlite', target) });
    refuseHalfRestored(target);
  });
});
