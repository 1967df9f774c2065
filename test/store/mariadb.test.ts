import { once } from 'node:events';
import { connect, createServer, type Server as NetServer, type Socket } from 'node:net';
import { sql } from 'kysely';
import { SqlError } from 'mariadb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase, StoreUnavailable } from '../../backend/store/sql/database.ts';
import { mariadbBacking } from '../../backend/store/sql/mariadb.ts';
import { realClock } from '../broker/wire.ts';
import { memoryLog } from '../support/log.ts';
import { freeze, type Server, startMariadb, until } from '../support/servers.ts';
import { commandStoreContract } from './command-store.contract.ts';
import { controlRowsContract } from './control-rows.contract.ts';
import { sqlBench } from './sql-bench.ts';
import { sqlContract } from './sql.contract.ts';
import { storeMarkContract } from './store-mark.contract.ts';

const openUrl = (url: string): Promise<Database> =>
  openDatabase({
    url,
    file: '',
    nowMs: () => Date.now(),
    clock: realClock,
    log: memoryLog(),
  });

let server: Server;
beforeAll(async () => {
  server = await startMariadb();
});
afterAll(() => server.stop());

describe('SQL on MariaDB', () => {
  sqlContract(async () => ({
    database: await openUrl(server.url),
    reopen: () => openUrl(server.url),
  }));
});

describe('the mark of a store on MariaDB', () => {
  storeMarkContract(() => openUrl(server.url));
});

describe('a connection', () => {
  it('is in UTC, strict, and reads what others committed meanwhile', async () => {
    const database = await openUrl(server.url);
    try {
      const { rows } = await sql<{ zone: string; mode: string; isolation: string }>`
        select @@time_zone as zone, @@sql_mode as mode, @@tx_isolation as isolation
      `.execute(database.db);
      expect(rows[0]).toMatchObject({ zone: '+00:00', isolation: 'READ-COMMITTED' });
      expect(rows[0]?.mode).toContain('STRICT_ALL_TABLES');
    } finally {
      await database.close();
    }
  });

  it('is shared by more callers than there are connections', async () => {
    const database = await openUrl(server.url);
    try {
      const answers = await Promise.all(
        Array.from({ length: 200 }, (_, index) =>
          sql<{ n: number }>`select ${index} as n`.execute(database.db),
        ),
      );
      expect(answers.map(({ rows }) => rows[0]?.n)).toEqual(
        Array.from({ length: 200 }, (_, index) => index),
      );
      const { rows } = await sql<{ n: number }>`
        select count(*) as n from information_schema.processlist where db = 'kernreaktor'
      `.execute(database.db);
      expect(rows[0]?.n).toBeLessThanOrEqual(10);
    } finally {
      await database.close();
    }
  });

  it.each([
    [1026, 'Error writing file'],
    [1030, 'Got error 28 "No space left on device" from storage engine InnoDB'],
    [1180, 'Got error 28 during COMMIT'],
  ])('whose server says %i for a full disk is a store that is away', (errno, message) => {
    const { judge } = mariadbBacking(server.url, realClock);
    expect(judge(new SqlError(message, undefined, false, undefined, 'HY000', errno))).toBe(
      'unavailable',
    );
  });

  it('that breaks in the middle of a write is a store that is away, not a bug', () => {
    const marks = { errno: -104, code: 'ECONNRESET', sqlState: 'HY000' };
    const { judge } = mariadbBacking(server.url, realClock);
    const broken = Object.assign(new Error('write ECONNRESET'), { ...marks, fatal: true });
    expect(judge(broken)).toBe('unavailable');
    expect(judge(Object.assign(new Error('ours'), marks))).toBe('other');
  });

  it('that stands still in a transaction loses its locks to others, and its work', async () => {
    const still = await openUrl(server.url);
    const other = await openUrl(server.url);
    try {
      const lease = { cluster: 'still', owner: 'first', epoch: 1, expires_at_ms: 0, ver: 1 };
      await still.db.insertInto('leases').values(lease).execute();
      const take = ({ db }: Pick<Database, 'db'>, owner: string) =>
        db.updateTable('leases').set({ owner }).where('cluster', '=', 'still').execute();
      let goOn = (): void => undefined;
      const paused = new Promise<void>((resolve) => (goOn = resolve));
      let hasLocked = false;
      const lost = still
        .transaction(async (trx) => {
          await take({ db: trx }, 'still');
          hasLocked = true;
          await paused;
          await take({ db: trx }, 'still again');
        })
        .catch((error: unknown) => error);
      await until(() => hasLocked);
      await other.transaction((trx) => take({ db: trx }, 'other'));
      goOn();
      expect(await lost).toBeInstanceOf(StoreUnavailable);
      const row = await other.db.selectFrom('leases').selectAll().executeTakeFirstOrThrow();
      expect(row.owner).toBe('other');
    } finally {
      await other.db.deleteFrom('leases').execute();
      await still.close();
      await other.close();
    }
  }, 30_000);

  it('that the server ended is replaced by a new one', async () => {
    const database = await openUrl(server.url);
    const other = await openUrl(server.url);
    try {
      const id = await sql<{ id: number }>`select connection_id() as id`.execute(database.db);
      await sql.raw(`kill ${id.rows[0]?.id ?? 0}`).execute(other.db);
      const query = () => database.db.selectFrom('settings').selectAll().execute();
      // What was under way when it died is the caller's to judge: nothing is repeated here.
      const unexpected: unknown[] = [];
      await until(() =>
        query().then(
          () => true,
          (error: unknown) => {
            if (!(error instanceof StoreUnavailable)) unexpected.push(error);
            return false;
          },
        ),
      );
      expect(unexpected).toEqual([]);
    } finally {
      await other.close();
      await database.close();
    }
  });
});

describe('a wrong address', () => {
  it.each([
    ['nonsense', 'no URL'],
    ['postgres://kr:geheim@127.0.0.1/kernreaktor', 'postgres:'],
    ['mariadb://kr:geheim@127.0.0.1/', 'database'],
    ['mariadb://kr:geheim@127.0.0.1/kernreaktor?charset=latin1', 'charset'],
    ['mariadb://kr:geheim@127.0.0.1/kernreaktor?ssl=maybe', 'ssl'],
  ])('%s is refused with the way out and without the password', async (url, named) => {
    const error: unknown = await openUrl(url).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'KR_STORE_MISCONFIGURED' });
    const { message } = error as Error;
    expect(message).toContain(named);
    expect(message).toContain('mariadb://user:password@host:3306/database');
    expect(message).not.toContain('geheim');
  });

  it('or password fails at once, typed, without the password', async () => {
    const url = server.url.replace('secret', 'geheim');
    const error: unknown = await openUrl(url).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(StoreUnavailable);
    expect((error as Error).message).not.toContain('geheim');
  });
});

describe('an absent server', () => {
  const refused = async (database: Database): Promise<unknown> =>
    database.db
      .selectFrom('settings')
      .selectAll()
      .execute()
      .catch((error: unknown) => error);

  it('is a typed failure, and its return is noticed without a restart', async () => {
    const own = await startMariadb();
    const proxy = await forward(own.port);
    const database = await openUrl(own.url.replace(String(own.port), String(proxy.port)));
    try {
      expect(await refused(database)).toEqual([]);
      await proxy.cut();
      const failures = await Promise.all(Array.from({ length: 50 }, () => refused(database)));
      for (const failure of failures) {
        expect(failure).toMatchObject({ code: 'KR_STORE_UNAVAILABLE' });
      }
      const work = database.transaction((trx) => trx.selectFrom('settings').selectAll().execute());
      await expect(work).rejects.toBeInstanceOf(StoreUnavailable);
      await proxy.mend();
      await until(async () => Array.isArray(await refused(database)));
    } finally {
      await database.close();
      await proxy.cut();
      await own.stop();
    }
  });

  it('that hangs is given up, and used again when it goes on', async () => {
    const own = await startMariadb();
    const database = await openUrl(own.url);
    try {
      expect(await refused(database)).toEqual([]);
      await freeze(own.pid);
      // More callers than connections: those who wait for one must be freed as well.
      const failures = await Promise.all(Array.from({ length: 30 }, () => refused(database)));
      for (const failure of failures) {
        expect(failure).toMatchObject({ code: 'KR_STORE_UNAVAILABLE' });
      }
      process.kill(own.pid, 'SIGCONT');
      await until(async () => Array.isArray(await refused(database)));
    } finally {
      process.kill(own.pid, 'SIGCONT');
      await database.close();
      await own.stop();
    }
  });

  it('that hangs refuses newcomers first, and what was only slow is told as done', async () => {
    const own = await startMariadb();
    const database = await openUrl(own.url);
    const lease = { cluster: 'slow', owner: 'a', epoch: 1, expires_at_ms: 0, ver: 1 };
    try {
      expect(await refused(database)).toEqual([]);
      const slow = database.transaction(async (trx) => {
        await trx.insertInto('leases').values(lease).execute();
        await freeze(own.pid);
      });
      const seen: unknown[] = [];
      await until(() => {
        void refused(database).then((answer) => seen.push(answer));
        return seen.some((answer) => answer instanceof StoreUnavailable);
      });
      process.kill(own.pid, 'SIGCONT');
      const ended = await slow.then(
        () => 'committed',
        (error: Error) => error.name,
      );
      await until(async () => Array.isArray(await refused(database)));
      const rows = await database.db.selectFrom('leases').select('cluster').execute();
      // Given up under way it may have happened or not; told as done it has.
      const outcomes = ['committed 1', 'StoreUnavailable 0', 'StoreUnavailable 1'];
      expect(outcomes).toContain(`${ended} ${rows.length}`);
    } finally {
      process.kill(own.pid, 'SIGCONT');
      await database.close();
      await own.stop();
    }
  });

  it('that takes the connection and says nothing is given up', async () => {
    const sockets = new Set<Socket>();
    const mute = createServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const address = mute.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    await expect(openUrl(`mariadb://a:b@127.0.0.1:${port}/c`)).rejects.toMatchObject({
      code: 'KR_STORE_UNAVAILABLE',
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
    for (const socket of sockets) socket.destroy();
    mute.close();
    await once(mute, 'close');
  });
});

/** Passes bytes on, so that a test can take a server away and bring it back. */
async function forward(target: number) {
  const open = new Set<Socket>();
  const listen = async (port: number): Promise<NetServer> => {
    const server = createServer((near) => {
      const far = connect(target, '127.0.0.1');
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        open.add(from);
        from.on('error', () => to.destroy());
        from.on('close', () => to.destroy());
        from.pipe(to);
      }
    }).listen(port, '127.0.0.1');
    await once(server, 'listening');
    return server;
  };
  let server = await listen(0);
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  return {
    port,
    async cut() {
      if (!server.listening) return;
      server.close();
      for (const socket of open) socket.destroy();
      open.clear();
      await once(server, 'close');
    },
    async mend() {
      server = await listen(port);
    },
  };
}

describe('the command store on MariaDB', () => {
  const open = async () => sqlBench(await openUrl(server.url), await openUrl(server.url));
  commandStoreContract(open);
  controlRowsContract(open);
});
