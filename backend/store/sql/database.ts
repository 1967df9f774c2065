/**
 * Opens the SQL store, embedded or MariaDB, and brings its tables up to date. Inside `transaction`
 * every query must go through the transaction it was given: the embedded store has one connection,
 * and a query past it would wait for the transaction that waits for it.
 *
 * The work of a transaction may run several times, so it must touch nothing but the store.
 */
import { Kysely, sql, type Transaction, type UpdateResult } from 'kysely';
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import { type Backing, type Dialect, guarded, isUniqueViolation } from './dialect.ts';
import { ConflictError } from './errors.ts';
import { mariadbBacking } from './mariadb.ts';
import { isInUse } from './dump.ts';
import { firstPending, migrate } from './migrate.ts';
import type { Schema } from './schema.ts';
import { sqliteBacking } from './sqlite.ts';

export { ConflictError, StoreUnavailable, UniqueViolation } from './errors.ts';
export type { Dialect } from './dialect.ts';

/** Sixteen writers on one row lose at most fifteen times; beyond this something is wrong. */
const attemptsMax = 20;

export type Database = {
  db: Kysely<Schema>;
  dialect: Dialect;
  /** Retries deadlocks, lock waits and ConflictError with a fresh attempt of the whole work. */
  transaction<T>(work: (trx: Transaction<Schema>) => Promise<T>): Promise<T>;
  close(): Promise<void>;
};

export type DatabaseOptions = {
  file: string;
  nowMs: () => number;
  log: Log;
  /** Waited for before the tables of a store in use are brought forward; when it fails, they are not. */
  beforeMigration?: (migration: string) => Promise<unknown>;
} & (
  | {
      /** mariadb://...; undefined = the embedded store. */
      url: string | undefined;
      /** Notices a server that has fallen silent. */
      clock: Clock;
    }
  | { url?: undefined }
);

function transactionOf(db: Kysely<Schema>, { judge }: Backing, log: Log): Database['transaction'] {
  return async (work) => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await db.transaction().execute(work);
      } catch (error) {
        const mayRetry = error instanceof ConflictError || judge(error) === 'retry';
        if (!mayRetry || attempt >= attemptsMax) throw error;
        log.debug({ attempt, err: error }, 'transaction begins anew');
      }
    }
  };
}

const backingOf = (options: DatabaseOptions): Backing =>
  options.url === undefined
    ? sqliteBacking(options.file, options.nowMs)
    : mariadbBacking(options.url, options.clock);

/**
 * Reads everything as one moment saw it, on a connection of its own, while others go on writing.
 * `read` writes nothing.
 */
export async function readSnapshot<T>(
  options: DatabaseOptions,
  read: (snapshot: Kysely<Schema>) => Promise<T>,
): Promise<T> {
  const backing = backingOf(options);
  const db = new Kysely<Schema>({ dialect: guarded(backing) });
  try {
    return await db.connection().execute(async (snapshot) => {
      if (backing.dialect.name === 'mariadb') {
        // A reader that waits for its disk holds no locks that anybody waits for.
        await sql`set session idle_transaction_timeout = 0`.execute(snapshot);
        await sql`set session transaction isolation level repeatable read`.execute(snapshot);
        await sql`start transaction with consistent snapshot, read only`.execute(snapshot);
      } else {
        await sql`begin deferred`.execute(snapshot);
      }
      try {
        return await read(snapshot);
      } finally {
        await sql`rollback`.execute(snapshot);
      }
    });
  } finally {
    await db.destroy();
  }
}

async function prepare(db: Kysely<Schema>, { beforeMigration }: DatabaseOptions): Promise<void> {
  if (!beforeMigration) return;
  const migration = await firstPending(db);
  if (migration !== null && (await isInUse({ db }))) await beforeMigration(migration);
}

/** `last`: the migration to stop at, for tables as a backup knew them; default the newest. */
export async function openDatabase(options: DatabaseOptions, last?: string): Promise<Database> {
  const { log } = options;
  const backing = backingOf(options);
  const db = new Kysely<Schema>({ dialect: guarded(backing) });
  try {
    await prepare(db, options);
    await migrate(db, log, last);
  } catch (error) {
    await db.destroy();
    throw error;
  }
  return {
    db,
    dialect: { ...backing.dialect, isUniqueViolation },
    transaction: transactionOf(db, backing, log),
    close: () => db.destroy(),
  };
}

/** Whether a conditional UPDATE found its row: the one way state changes here. */
export async function changed(update: {
  executeTakeFirstOrThrow(): Promise<UpdateResult>;
}): Promise<boolean> {
  return (await update.executeTakeFirstOrThrow()).numUpdatedRows === 1n;
}
