/**
 * All rows of all tables as one moment saw them, and back into empty tables: the store's half of
 * backup and restore, the same on both dialects. What a table holds is not looked at. Our own
 * migrations' records are told apart, since the tables of a backup are made by running them.
 */
import { type Kysely, sql } from 'kysely';
import type { Schema } from './schema.ts';

export type DumpedRow = Record<string, string | number | null>;
export type DumpedRows = { table: string; rows: DumpedRow[] };

const rowsPerBatch = 200;
/** SQLite takes 32,766 parameters a statement, MariaDB 65,535. */
const parametersMax = 16_000;
/** MariaDB refuses a statement of 16 MiB. */
const statementCharactersMax = 1_000_000;

const isOwnTable = (name: string): boolean => !name.startsWith('kysely_');

type Any = Kysely<Record<string, DumpedRow>>;
const untyped = (db: Kysely<Schema>): Any => db as unknown as Any;

async function tableNames(db: Kysely<Schema>): Promise<string[]> {
  const tables = await db.introspection.getTables();
  return tables
    .map(({ name }) => name)
    .filter(isOwnTable)
    .sort();
}

export async function migrationsOf(db: Kysely<Schema>): Promise<string[]> {
  const rows = await untyped(db)
    .selectFrom('kysely_migration')
    .select('name')
    .orderBy('name')
    .execute();
  return rows.map(({ name }) => String(name));
}

async function* batchesOf(db: Any, table: string): AsyncGenerator<DumpedRows> {
  let rows: DumpedRow[] = [];
  for await (const row of db.selectFrom(table).selectAll().stream(rowsPerBatch)) {
    // The drivers' rows have prototypes and metadata of their own.
    rows.push({ ...row });
    if (rows.length < rowsPerBatch) continue;
    yield { table, rows };
    rows = [];
  }
  if (rows.length > 0) yield { table, rows };
}

/** Reads within one snapshot that `readSnapshot` has opened. */
export async function* dumpRows(snapshot: Kysely<Schema>): AsyncGenerator<DumpedRows> {
  for (const table of await tableNames(snapshot)) yield* batchesOf(untyped(snapshot), table);
}

function* statements({ rows }: DumpedRows): Generator<DumpedRow[]> {
  const columns = Math.max(1, Object.keys(rows[0] ?? {}).length);
  let batch: DumpedRow[] = [];
  let characters = 0;
  for (const row of rows) {
    const size = JSON.stringify(row).length;
    const isFull =
      (batch.length + 1) * columns > parametersMax || characters + size > statementCharactersMax;
    if (isFull && batch.length > 0) {
      yield batch;
      batch = [];
      characters = 0;
    }
    batch.push(row);
    characters += size;
  }
  if (batch.length > 0) yield batch;
}

export async function insertRows(db: Kysely<Schema>, dumped: DumpedRows): Promise<void> {
  for (const batch of statements(dumped)) {
    await untyped(db).insertInto(dumped.table).values(batch).execute();
  }
}

/** Whether anybody has begun to use these tables. */
export async function isInUse({ db }: { db: Kysely<Schema> }): Promise<boolean> {
  const names = await tableNames(db);
  for (const table of ['accounts', 'daemons', 'commands']) {
    if (!names.includes(table)) continue;
    if (await untyped(db).selectFrom(table).selectAll().limit(1).executeTakeFirst()) return true;
  }
  return false;
}

/** MariaDB has no file to move away; each of our tables goes, and the record of migrations. */
export async function dropTables(db: Kysely<Schema>): Promise<void> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  for (const { name } of tables) await sql`drop table ${sql.table(name)}`.execute(db);
}
