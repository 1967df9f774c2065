/**
 * The embedded store: node:sqlite under Kysely's own SQLite dialect. One connection, one process
 * (the data folder's lock sees to that). Synchronous is FULL: a commit is on the disk when it
 * returns, since a grant that was sent must never be forgotten.
 */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { SqliteDialect, sql } from 'kysely';
import type { Backing, Verdict } from './dialect.ts';

/** The code has a few hundred different statements; a list of any length makes a new one each. */
const statementsMax = 500;
/** Only a backup tool may hold the file, and waiting for it stops the whole process. */
const busyTimeoutMs = 500;

const SQLITE = {
  BUSY: 5,
  READONLY: 8,
  IOERR: 10,
  CORRUPT: 11,
  FULL: 13,
  CANTOPEN: 14,
  NOTADB: 26,
  CONSTRAINT_PRIMARYKEY: 1555,
  CONSTRAINT_UNIQUE: 2067,
} as const;

const unavailable: ReadonlySet<number> = new Set([
  SQLITE.BUSY,
  SQLITE.READONLY,
  SQLITE.IOERR,
  SQLITE.CORRUPT,
  SQLITE.FULL,
  SQLITE.CANTOPEN,
  SQLITE.NOTADB,
]);

const codeOf = (error: unknown): number =>
  error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'
    ? error.errcode
    : 0;

function judge(error: unknown): Verdict {
  // The folder of the file cannot be made or entered.
  if (error instanceof Error && 'syscall' in error) return 'unavailable';
  const code = codeOf(error);
  if (code === SQLITE.CONSTRAINT_UNIQUE || code === SQLITE.CONSTRAINT_PRIMARYKEY) {
    return 'duplicate';
  }
  // The low byte is the kind, the rest its variety.
  const kind = code & 0xff;
  return unavailable.has(kind) ? 'unavailable' : 'other';
}

function openFile(file: string): DatabaseSync {
  if (file !== ':memory:') {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    // Created by us, so that it and the journals SQLite models on it are the owner's alone.
    closeSync(openSync(file, 'a', 0o600));
  }
  const database = new DatabaseSync(file, { timeout: busyTimeoutMs });
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
  return database;
}

/** What Kysely's dialect expects of a statement. */
function statementOf(database: DatabaseSync, text: string) {
  // A transaction that reads first and writes later could not be granted the write lock.
  const statement = database.prepare(text === 'begin' ? 'begin immediate' : text);
  return {
    reader: statement.columns().length > 0,
    all: (values: readonly unknown[]) => statement.all(...(values as SQLInputValue[])),
    run: (values: readonly unknown[]) => statement.run(...(values as SQLInputValue[])),
    iterate: (values: readonly unknown[]) => statement.iterate(...(values as SQLInputValue[])),
  };
}

/** What Kysely's dialect expects of a driver, on top of node:sqlite. */
function shim(database: DatabaseSync) {
  const statements = new Map<string, ReturnType<typeof statementOf>>();
  return {
    close: () => database.close(),
    prepare(text: string) {
      const known = statements.get(text);
      if (known) return known;
      if (statements.size >= statementsMax) statements.clear();
      const statement = statementOf(database, text);
      statements.set(text, statement);
      return statement;
    },
  };
}

export function sqliteBacking(file: string, nowMs: () => number): Backing {
  return {
    kysely: new SqliteDialect({ database: async () => shim(openFile(file)) }),
    judge,
    dialect: {
      name: 'sqlite',
      nowMs: () => sql<number>`${nowMs()}`,
    },
  };
}
