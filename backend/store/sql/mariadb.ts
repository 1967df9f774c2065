/**
 * The real store: the `mariadb` driver, which only this file imports, under kysely-mariadb. Rows
 * come out as SQLite's do: numbers, JSON as text, exact or refused. affectedRows counts the rows
 * that matched, also where nothing changed (CLIENT_FOUND_ROWS), as SQLite counts them.
 *
 * READ COMMITTED: every change of state is one conditional UPDATE, so an old snapshot would only
 * feed it stale reads, and from MariaDB 11.6 on fail it.
 */
import { sql } from 'kysely';
import { MariadbDialect } from 'kysely-mariadb';
import { type Connection, type ConnectionConfig, createConnection, SqlError } from 'mariadb';
import type { Clock } from '../../../broker/contract/ports.ts';
import { lendConnections } from './connections.ts';
import type { Backing, Verdict } from './dialect.ts';
import { StoreMisconfigured, StoreUnavailable } from './errors.ts';

/** Beyond two cores' worth of queries more only wait inside the server; one more may ask for it. */
const connectionsMax = 9;

const errno = {
  duplicateEntry: 1062,
  /** Deadlock, lock wait timeout, record changed since the snapshot: the work may begin anew. */
  retry: new Set([1213, 1205, 1020]),
  /**
   * Too many connections, shutting down; disk full, table full, and what a full disk makes of a
   * write, of a storage engine and of a commit; read-only, no access.
   */
  unavailable: new Set([
    1040, 1053, 1021, 1114, 1026, 1030, 1180, 1290, 1836, 1044, 1045, 1049, 1698,
  ]),
};

/** The driver passes what a broken socket says on as it came, only marked as fatal. */
const isBrokenSocket = (error: unknown): boolean =>
  error instanceof Error && 'fatal' in error && error.fatal === true;

function judge(error: unknown): Verdict {
  if (!(error instanceof SqlError)) return isBrokenSocket(error) ? 'unavailable' : 'other';
  if (error.errno === errno.duplicateEntry) return 'duplicate';
  if (errno.retry.has(error.errno)) return 'retry';
  return error.fatal || errno.unavailable.has(error.errno) ? 'unavailable' : 'other';
}

const wrongUrl = (what: string): StoreMisconfigured =>
  new StoreMisconfigured(
    `KR_SQL_URL: ${what}; write mariadb://user:password@host:3306/database, with special ` +
      'characters percent-encoded, and ?ssl=true for a server across a network',
  );

function target(url: string): ConnectionConfig {
  // The message never repeats the address: it holds a password.
  if (!URL.canParse(url)) throw wrongUrl('this is no URL');
  const { protocol, hostname, port, username, password, pathname, searchParams } = new URL(url);
  if (protocol !== 'mariadb:' && protocol !== 'mysql:') throw wrongUrl(`${protocol} is unknown`);
  const database = decodeURIComponent(pathname.slice(1));
  if (hostname === '' || database === '') throw wrongUrl('host and database must be named');
  for (const [name, value] of searchParams) {
    if (name !== 'ssl' || (value !== 'true' && value !== 'false')) {
      throw wrongUrl(`the option ${name} is unknown or has a wrong value`);
    }
  }
  return {
    host: hostname,
    port: port === '' ? 3306 : Number(port),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database,
    ssl: searchParams.get('ssl') === 'true',
  };
}

const settings: ConnectionConfig = {
  bigIntAsNumber: true,
  decimalAsNumber: true,
  insertIdAsNumber: true,
  checkNumberRange: true,
  autoJsonMap: false,
  foundRows: true,
  timezone: 'Z',
  // Longer than any statement of ours waits for a lock: a server that says nothing for so long is
  // gone. It also ends connections that nobody used.
  socketTimeout: 5_000,
  sessionVariables: {
    sql_mode: 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',
    innodb_lock_wait_timeout: 2,
    // A leader that stands still in the middle of a transaction must not hold its locks until
    // somebody ends it: its successor needs them when the lease is over.
    idle_transaction_timeout: 3,
  },
  initSql: 'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED',
};

/**
 * A host that swallows packets is given up after the first; one that refuses fails at once. A
 * starved one may need longer to greet us than a dead one deserves, so each failure doubles it.
 */
const connectMs = { first: 3_000, most: 12_000 } as const;

export function mariadbBacking(url: string, clock: Clock): Backing {
  const address = target(url);
  let connectTimeout: number = connectMs.first;
  const connect = async (): Promise<Connection> => {
    try {
      const connection = await createConnection({ ...settings, ...address, connectTimeout });
      connectTimeout = connectMs.first;
      // One that dies unused says so here; `isValid` tells the next borrower.
      connection.on('error', () => undefined);
      return connection;
    } catch (error) {
      connectTimeout = Math.min(connectMs.most, connectTimeout * 2);
      const why = error instanceof Error ? error.message : String(error);
      const where = `${address.host}:${address.port}`;
      throw new StoreUnavailable(`MariaDB at ${where} gives no connection: ${why}`, {
        cause: error,
      });
    }
  };
  const silent = (): StoreUnavailable =>
    new StoreUnavailable(
      `MariaDB at ${address.host}:${address.port} is silent; what was under way may have happened`,
    );
  const lending = { max: connectionsMax, connect, clock, silent };
  return {
    kysely: new MariadbDialect({ mariadb: lendConnections(lending) }),
    judge,
    dialect: {
      name: 'mariadb',
      nowMs: () => sql<number>`cast(unix_timestamp(now(3)) * 1000 as signed)`,
    },
  };
}
