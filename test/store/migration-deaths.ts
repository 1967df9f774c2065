/**
 * Migrations that are cut off at each of their statements: the next start finds its place, and the tables are those of a clean one. On both stores;
 * every migration, those that come later too.
 */
import { strict as assert } from 'node:assert';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type CompiledQuery, type Dialect, Kysely, sql } from 'kysely';
import { openDatabase } from '../../backend/store/sql/database.ts';
import { type Backing, guarded } from '../../backend/store/sql/dialect.ts';
import { mariadbBacking } from '../../backend/store/sql/mariadb.ts';
import { migrate } from '../../backend/store/sql/migrate.ts';
import type { Schema } from '../../backend/store/sql/schema.ts';
import { sqliteBacking } from '../../backend/store/sql/sqlite.ts';
import { realClock } from '../broker/wire.ts';
import { memoryLog } from '../support/log.ts';

class Killed extends Error {}
type Fuse = { left: number; isSent: boolean; isBlown: boolean };

const changes = /^\s*(create|alter|drop|insert|update|delete)\b/i;

/** Dies with the n-th changing statement; a dead process sends nothing more, no rollback either. */
function mortal(backing: Backing, fuse: Fuse): Dialect {
  const dialect = guarded(backing);
  return {
    ...dialect,
    createAdapter: () => dialect.createAdapter(),
    createQueryCompiler: () => dialect.createQueryCompiler(),
    createIntrospector: (db) => dialect.createIntrospector(db),
    createDriver() {
      const driver = dialect.createDriver();
      const acquire = driver.acquireConnection.bind(driver);
      const mined = new WeakSet<object>();
      driver.acquireConnection = async () => {
        const connection = await acquire();
        if (mined.has(connection)) return connection;
        mined.add(connection);
        const execute = connection.executeQuery.bind(connection);
        connection.executeQuery = async <R>(query: CompiledQuery) => {
          if (fuse.isBlown) throw new Killed();
          if (!changes.test(query.sql)) return execute<R>(query);
          fuse.left -= 1;
          if (fuse.left > 0) return execute<R>(query);
          if (fuse.isSent) await execute<R>(query);
          fuse.isBlown = true;
          throw new Killed();
        };
        return connection;
      };
      for (const end of ['commitTransaction', 'rollbackTransaction'] as const) {
        const finish = driver[end].bind(driver);
        driver[end] = async (connection) => {
          if (!fuse.isBlown) return finish(connection);
          if (end === 'commitTransaction') throw new Killed();
        };
      }
      return driver;
    },
  };
}

type House = {
  backing: () => Backing;
  wipe: () => Promise<void>;
  open: () => ReturnType<typeof openDatabase>;
};

export type Where = { kind: 'sqlite'; folder: string } | { kind: 'mariadb'; url: string };

function houseOf(where: Where): House {
  if (where.kind === 'sqlite') {
    const file = join(where.folder, 'kr.sqlite');
    return {
      backing: () => sqliteBacking(file, () => 0),
      async wipe() {
        for (const suffix of ['', '-wal', '-shm']) await rm(`${file}${suffix}`, { force: true });
      },
      open: () => openDatabase({ file, nowMs: () => 0, log: memoryLog() }),
    };
  }
  const { url } = where;
  const database = async () => {
    const options = { file: '', url, nowMs: () => 0, clock: realClock, log: memoryLog() };
    return openDatabase(options);
  };
  return {
    backing: () => mariadbBacking(url, realClock),
    async wipe() {
      const db = new Kysely<Schema>({ dialect: guarded(mariadbBacking(url, realClock)) });
      await sql`drop database kernreaktor`.execute(db);
      await sql`create database kernreaktor character set utf8mb4`.execute(db);
      await db.destroy();
    },
    open: database,
  };
}

/** Tables with their columns, keys and indexes, as the store itself tells them. */
async function shape({ open }: House): Promise<unknown> {
  const database = await open();
  try {
    if (database.dialect.name === 'sqlite') {
      const { rows } = await sql`select type, name, sql from sqlite_master order by name`.execute(
        database.db,
      );
      return rows;
    }
    const columns = await sql`
      select table_name, column_name, column_type, is_nullable, column_default, collation_name
      from information_schema.columns where table_schema = database()
      order by table_name, ordinal_position`.execute(database.db);
    const indexes = await sql`
      select table_name, index_name, seq_in_index, column_name, non_unique
      from information_schema.statistics where table_schema = database()
      order by table_name, index_name, seq_in_index`.execute(database.db);
    return [...columns.rows, ...indexes.rows].map((row) => ({ ...(row as object) }));
  } finally {
    await database.close();
  }
}

/** How many statements ran before it was through or dead. */
async function killedAt(house: House, fuse: Fuse): Promise<boolean> {
  const db = new Kysely<Schema>({ dialect: mortal(house.backing(), fuse) });
  try {
    await migrate(db, memoryLog());
    return false;
  } catch (error) {
    if (error instanceof Killed || fuse.isBlown) return true;
    throw error;
  } finally {
    await db.destroy();
  }
}

/**
 * Dies at each n-th changing statement, from the first to the last, and starts again after each.
 * Answers how many deaths that were. Throws where a start after one ended with other tables.
 */
export async function dieAtStatements(where: Where, every = 1): Promise<number> {
  const house = houseOf(where);
  await house.wipe();
  const clean = await shape(house);
  let deaths = 0;
  for (let at = 1; ; at += every) {
    await house.wipe();
    // In turns: to die after a statement and before the next one leaves the same behind.
    const fuse = { left: at, isSent: at % 2 === 0, isBlown: false };
    if (!(await killedAt(house, fuse))) return deaths;
    deaths += 1;
    assert.deepEqual(await shape(house), clean, `tables after a death at statement ${at}`);
  }
}
