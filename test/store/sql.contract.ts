/**
 * What the SQL store promises, whichever dialect keeps it: run once on node:sqlite and once on a
 * real MariaDB. Titles are promises; nothing here knows which one it runs on.
 */
import { simulatedLimits, simulatedSettings } from '../../backend/act/guard-limits.ts';
import { randomBytes } from 'node:crypto';
import { type Insertable, sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { appendAudit, verifyChain } from '../../backend/audit/chain.ts';
import {
  administration,
  ensureCluster,
  ensureNodes,
  setProtected,
} from '../../backend/store/sql/clusters.ts';
import { replaceCredentials, sha256 } from '../../backend/store/sql/credentials.ts';
import { createDirectory } from '../../backend/store/sql/daemons.ts';
import {
  changed,
  ConflictError,
  type Database,
  UniqueViolation,
} from '../../backend/store/sql/database.ts';
import { insertDecision } from '../../backend/store/sql/decisions.ts';
import { createEnrolments } from '../../backend/store/sql/enrolments.ts';
import { factsAt, factsBetween, recordFacts } from '../../backend/store/sql/facts-history.ts';
import { tables as firstTables } from '../../backend/store/sql/migrations/001-schema.ts';
import { controlTables } from '../../backend/store/sql/migrations/002-control.ts';
import { notificationTables } from '../../backend/store/sql/migrations/003-notifications.ts';
import { evacuationTables } from '../../backend/store/sql/migrations/004-evacuations.ts';
import { quotaTables } from '../../backend/store/sql/migrations/005-quotas.ts';
import type { Commands, Settings } from '../../backend/store/sql/schema.ts';
import { seededRandom } from '../support/clock.ts';
import { commandRow } from '../support/command-row.ts';

const tables = {
  ...firstTables,
  ...controlTables,
  ...notificationTables,
  ...evacuationTables,
  ...quotaTables,
};

export type Opened = {
  database: Database;
  /** A second, independent connection to the same store. */
  reopen(): Promise<Database>;
};

const nowMs = 1_800_000_000_000;
const uuid = (n: number): string => `01890000-0000-7000-8000-${String(n).padStart(12, '0')}`;

/** Lets both sides reach the same point before either goes on. */
function meeting(size: number): () => Promise<void> {
  let missing = size;
  const { promise, resolve } = Promise.withResolvers<void>();
  return () => {
    missing -= 1;
    if (missing <= 0) resolve();
    return promise;
  };
}

export function sqlContract(open: () => Promise<Opened>): void {
  let opened: Opened;
  let database: Database;

  beforeAll(async () => {
    opened = await open();
    database = opened.database;
  });
  afterAll(() => database.close());
  beforeEach(async () => {
    for (const table of Object.keys(tables) as (keyof typeof tables)[]) {
      await database.db.deleteFrom(table).execute();
    }
  });

  const setting = (name: string, change: Partial<Settings> = {}): Insertable<Settings> => ({
    name,
    value: '{}',
    ver: 1,
    ...change,
  });
  const insert = (row: Insertable<Settings>, db = database.db) =>
    db.insertInto('settings').values(row).execute();
  const stored = async (name: string): Promise<Settings | undefined> =>
    database.db.selectFrom('settings').selectAll().where('name', '=', name).executeTakeFirst();
  const swap = (name: string, from: number, value: string, db = database.db): Promise<boolean> =>
    changed(
      db
        .updateTable('settings')
        .set({ value, ver: from + 1 })
        .where('name', '=', name)
        .where('ver', '=', from),
    );

  describe('the tables', () => {
    it('have exactly the columns and nullability of schema.ts', async () => {
      const found = await database.db.introspection.getTables();
      const actual = Object.fromEntries(
        found.map(({ name, columns }) => [
          name,
          Object.fromEntries(columns.map((column) => [column.name, column.isNullable])),
        ]),
      );
      const expected = Object.fromEntries(
        Object.entries(tables).map(([name, { columns }]) => [
          name,
          Object.fromEntries(
            Object.entries(columns).map(([column, { isNullable }]) => [column, isNullable]),
          ),
        ]),
      );
      expect(actual).toEqual(expected);
      expect(Object.keys(actual)).toHaveLength(32);
    });

    it('stay as they are when the store is opened again', async () => {
      await insert(setting('kept'));
      const again = await opened.reopen();
      await again.close();
      expect(await stored('kept')).toEqual(setting('kept'));
    });

    it('refuse to be opened by a version that does not know their newest migration', async () => {
      const history = database.db.$extendTables<{
        kysely_migration: { name: string; timestamp: string };
      }>();
      const future = { name: '999-future', timestamp: '2030-01-01T00:00:00.000Z' };
      await history.insertInto('kysely_migration').values(future).execute();
      try {
        await expect(opened.reopen()).rejects.toMatchObject({
          code: 'KR_STORE_MISCONFIGURED',
          message: expect.stringContaining('999-future'),
        });
      } finally {
        await history.deleteFrom('kysely_migration').where('name', '=', future.name).execute();
      }
    });
  });

  describe('a conditional update', () => {
    it('lets exactly one of two writers win', async () => {
      await insert(setting('a'));
      const won = await Promise.all(
        ['x', 'y'].map((value) => database.transaction((trx) => swap('a', 1, value, trx))),
      );
      expect(won.filter(Boolean)).toHaveLength(1);
      expect(await stored('a')).toMatchObject({ ver: 2, value: won[0] ? 'x' : 'y' });
    });

    it('counts a row that matched although nothing in it changed', async () => {
      await insert(setting('a'));
      const same = database.db.updateTable('settings').set({ value: '{}' }).where('name', '=', 'a');
      expect(await changed(same)).toBe(true);
      expect(await changed(same.where('ver', '=', 9))).toBe(false);
    });

    it('gives sixteen readers who write back sixteen different versions', async () => {
      await insert(setting('counter', { value: '0' }));
      await Promise.all(
        Array.from({ length: 16 }, () =>
          database.transaction(async (trx) => {
            const row = await trx
              .selectFrom('settings')
              .selectAll()
              .where('name', '=', 'counter')
              .executeTakeFirstOrThrow();
            if (!(await swap('counter', row.ver, String(Number(row.value) + 1), trx))) {
              throw new ConflictError('lost the race');
            }
          }),
        ),
      );
      expect(await stored('counter')).toMatchObject({ value: '16', ver: 17 });
    });
  });

  describe('a transaction', () => {
    it('leaves nothing behind when its work fails', async () => {
      const failure = new Error('the work failed');
      const work = database.transaction(async (trx) => {
        await insert(setting('a'), trx);
        await insert(setting('b'), trx);
        throw failure;
      });
      await expect(work).rejects.toBe(failure);
      expect(await database.db.selectFrom('settings').select('name').execute()).toEqual([]);
    });

    it('begins anew with a clean slate after a ConflictError', async () => {
      let attempts = 0;
      await database.transaction(async (trx) => {
        attempts += 1;
        await insert(setting('a', { ver: attempts }), trx);
        if (attempts < 3) throw new ConflictError('again');
      });
      expect(attempts).toBe(3);
      expect(await stored('a')).toMatchObject({ ver: 3 });
    });

    it('gives up after twenty attempts with the conflict itself', async () => {
      let attempts = 0;
      const work = database.transaction(async () => {
        attempts += 1;
        throw new ConflictError('always');
      });
      await expect(work).rejects.toMatchObject({ code: 'KR_STORE_CONFLICT', message: 'always' });
      expect(attempts).toBe(20);
    });

    it('survives taking the same rows in the opposite order of another', async () => {
      await insert(setting('a'));
      await insert(setting('b'));
      const bump = (name: string, trx: Database['db']) =>
        trx
          .updateTable('settings')
          .set((eb) => ({ ver: eb('ver', '+', 1) }))
          .where('name', '=', name)
          .execute();
      let attempts = 0;
      const isConcurrent = database.dialect.name === 'mariadb';
      const bothHoldOne = meeting(isConcurrent ? 2 : 1);
      const cross = (first: string, second: string) =>
        database.transaction(async (trx) => {
          attempts += 1;
          await bump(first, trx);
          await bothHoldOne();
          await bump(second, trx);
        });
      await Promise.all([cross('a', 'b'), cross('b', 'a')]);
      expect(await stored('a')).toMatchObject({ ver: 3 });
      expect(await stored('b')).toMatchObject({ ver: 3 });
      expect(attempts).toBe(isConcurrent ? 3 : 2);
    });

    it('reads what others committed before it, and never what they have not', async () => {
      await insert(setting('a'));
      const other = await opened.reopen();
      try {
        await expect(
          database.transaction(async (trx) => {
            await swap('a', 1, 'unfinished', trx);
            const seen = await other.db.selectFrom('settings').selectAll().execute();
            expect(seen).toEqual([setting('a')]);
            throw new Error('stop');
          }),
        ).rejects.toThrow('stop');
        expect(await swap('a', 1, 'done', other.db)).toBe(true);
        expect(await stored('a')).toMatchObject({ value: 'done', ver: 2 });
      } finally {
        await other.close();
      }
    });
  });

  describe('a unique key', () => {
    it('refuses the second row with one error on every dialect', async () => {
      await insert(setting('a'));
      const error = await insert(setting('a')).catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(UniqueViolation);
      expect(database.dialect.isUniqueViolation(error)).toBe(true);
      expect(database.dialect.isUniqueViolation(new Error('other'))).toBe(false);
    });

    it('leaves the transaction usable after a refused insert', async () => {
      await insert(setting('a'));
      await database.transaction(async (trx) => {
        await expect(insert(setting('a'), trx)).rejects.toBeInstanceOf(UniqueViolation);
        await insert(setting('b'), trx);
      });
      expect(await stored('b')).toBeDefined();
    });

    it('lets null stand many times where the key is nullable', async () => {
      const { db } = database;
      const index = queued(1, { idempotency_key: null });
      await db.insertInto('commands').values(index).execute();
      await db.insertInto('commands').values(queued(2, {})).execute();
      const again = db.insertInto('commands').values(queued(3, { idempotency_key: 'k' }));
      await again.execute();
      const taken = queued(4, { idempotency_key: 'k' });
      await expect(db.insertInto('commands').values(taken).execute()).rejects.toBeInstanceOf(
        UniqueViolation,
      );
    });

    it('lets one target have one command per kind and generation', async () => {
      const { db } = database;
      await db.insertInto('commands').values(queued(1, {})).execute();
      const twin = queued(2, { generation: 1 });
      await expect(db.insertInto('commands').values(twin).execute()).rejects.toBeInstanceOf(
        UniqueViolation,
      );
    });
  });

  describe('values', () => {
    it('come back as they went in: numbers, fractions, null and any text', async () => {
      const value = JSON.stringify({ emoji: '🦊', quote: `'"\\`, nul: '\u0001', line: 'a\nb' });
      await insert(setting('text', { value, ver: Number.MAX_SAFE_INTEGER }));
      expect(await stored('text')).toEqual({ name: 'text', value, ver: Number.MAX_SAFE_INTEGER });
      const tokens = { cluster: 'c', bucket: 'b', tokens: 0.1 + 0.2, updated_at_ms: -1, ver: 0 };
      await database.db.insertInto('limiter').values(tokens).execute();
      expect(await database.db.selectFrom('limiter').selectAll().execute()).toEqual([tokens]);
    });

    it('keep a JSON text byte by byte, spaces and key order included', async () => {
      const value = '{ "b": 1,\t"a" : [1.0, 1e3] }';
      await insert(setting('json', { value }));
      expect((await stored('json'))?.value).toBe(value);
      const large = JSON.stringify('x'.repeat(1_000_000));
      await insert(setting('large', { value: large }));
      expect((await stored('large'))?.value).toBe(large);
    });

    it('count and sum as numbers', async () => {
      await insert(setting('a', { ver: 2 }));
      await insert(setting('b', { ver: 3 }));
      const totals = await database.db
        .selectFrom('settings')
        .select((eb) => [eb.fn.countAll<number>().as('rows'), eb.fn.sum<number>('ver').as('sum')])
        .executeTakeFirstOrThrow();
      expect(totals).toEqual({ rows: 2, sum: 5 });
    });

    it('beyond 2^53 are refused, written or read', async () => {
      await expect(insert(setting('a', { ver: 2 ** 53 }))).rejects.toThrow(RangeError);
      await expect(insert(setting('a', { ver: Number.NaN }))).rejects.toThrow(RangeError);
      await expect(insert(setting('a', { ver: Infinity }))).rejects.toThrow(RangeError);
      await sql`insert into settings (name, value, ver) values ('big', '{}', 9007199254740993)`.execute(
        database.db,
      );
      await expect(stored('big')).rejects.toThrow(/range|safe|represent/i);
    });

    it.each([true, undefined, new Date(0), 1n])(
      'of a kind one dialect would bend are refused: %s',
      async (odd) => {
        const query = sql`insert into settings (name, value, ver) values ('a', '{}', ${odd})`;
        await expect(query.execute(database.db)).rejects.toThrow(TypeError);
        expect(await stored('a')).toBeUndefined();
      },
    );

    it('that are too long or null where they must not be are refused', async () => {
      await expect(insert(setting('n'.repeat(129)))).rejects.toThrow(/name/);
      await insert(setting('ä'.repeat(128)));
      const empty = setting('a', { value: null as unknown as string });
      await expect(insert(empty)).rejects.toThrow(/value/);
      expect(await database.db.selectFrom('settings').selectAll().execute()).toHaveLength(1);
    });

    it('compare and sort by their bytes: case, accents and trailing spaces count', async () => {
      const names = ['a', 'A', 'ä', 'a ', 'b', 'B', '10', '9', 'é', 'e', '_', '🦊', '\uffee'];
      for (const name of names) await insert(setting(name));
      const sorted = await database.db
        .selectFrom('settings')
        .select('name')
        .orderBy('name')
        .execute();
      const byBytes = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect(sorted.map(({ name }) => name)).toEqual(byBytes);
      expect((await stored('a'))?.name).toBe('a');
      expect((await stored('a '))?.name).toBe('a ');
      expect(await stored('E')).toBeUndefined();
    });
  });

  describe('the clock', () => {
    it('of the store is in whole milliseconds and near the one passed in', async () => {
      const before = Date.now();
      let last = before - 2_000;
      for (let round = 0; round < 20; round += 1) {
        const { rows } = await sql<{
          now: number;
        }>`select ${database.dialect.nowMs()} as now`.execute(database.db);
        const now = rows[0]?.now ?? 0;
        expect(Number.isInteger(now)).toBe(true);
        expect(now).toBeGreaterThanOrEqual(last);
        last = now;
      }
      expect(Math.abs(last - Date.now())).toBeLessThan(60_000);
    });

    it('can be compared and written inside a statement', async () => {
      const later = database.dialect.nowMs();
      await insert(setting('a', { ver: 1 }));
      const expired = database.db
        .updateTable('settings')
        .set({ ver: later })
        .where('name', '=', 'a')
        .where('ver', '<', later);
      expect(await changed(expired)).toBe(true);
      expect((await stored('a'))?.ver).toBeGreaterThan(1_700_000_000_000);
    });
  });

  describe('the audit chain', () => {
    const entry = { chain: 'c', actor: 'ada', action: 'x', subject: 's', phase: 'done' as const };

    it('stays unbroken under sixteen parallel writers', async () => {
      const written = await Promise.all(
        Array.from({ length: 16 }, (_, index) =>
          database.transaction((trx) =>
            appendAudit(trx, { ...entry, detail: { index }, atMs: nowMs + index }),
          ),
        ),
      );
      expect(written.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual(
        Array.from({ length: 16 }, (_, index) => index + 1),
      );
      expect(await verifyChain(database.db, 'c')).toEqual({ ok: true, entries: 16 });
    });

    it('knows nothing of an entry whose transaction was rolled back', async () => {
      await database.transaction((trx) => appendAudit(trx, { ...entry, detail: {}, atMs: 1 }));
      await expect(
        database.transaction(async (trx) => {
          await appendAudit(trx, { ...entry, detail: {}, atMs: 2 });
          throw new Error('stop');
        }),
      ).rejects.toThrow('stop');
      expect(await verifyChain(database.db, 'c')).toEqual({ ok: true, entries: 1 });
    });
  });

  describe('clusters and nodes', () => {
    const node = { cluster: 'home', node: 'pve1' };
    const made = (simulated = true) =>
      database.transaction(async (trx) => {
        await ensureCluster(trx, { id: 'home', simulated, nowMs });
        await ensureNodes(trx, { cluster: 'home', nodes: ['pve1', 'pve2'], nowMs });
      });

    it('are made once, and a cluster stays what it was made as', async () => {
      await Promise.all([made(), made()]);
      expect(
        await database.transaction((trx) =>
          ensureCluster(trx, { id: 'home', simulated: false, nowMs }),
        ),
      ).toBe('other-kind');
      const { clusters, nodes } = await administration(database.db);
      expect(clusters).toEqual([
        {
          id: 'home',
          simulated: true,
          timeScale: 1,
          hold: false,
          frozenUntilMs: null,
          frozenReason: null,
          autonomy: { default: 'auto' },
          policyHash: null,
          policyYaml: null,
          limits: JSON.stringify(simulatedLimits),
          settings: JSON.stringify(simulatedSettings),
        },
      ]);
      expect(nodes.map(({ node: id }) => id)).toEqual(['pve1', 'pve2']);
    });

    it('never run faster than real time when they are real', async () => {
      await database.transaction((trx) =>
        ensureCluster(trx, { id: 'real', simulated: false, timeScale: 60, nowMs }),
      );
      const { clusters } = await administration(database.db);
      expect(clusters[0]).toMatchObject({ timeScale: 1, autonomy: { default: 'recommend' } });
    });

    it('show protection and the kind of the active command', async () => {
      await made();
      await database.transaction((trx) =>
        setProtected(trx, { ...node, reason: 'runs the backend' }),
      );
      const command = queued(1, { kind: 'node.wake' });
      await database.db.insertInto('commands').values(command).execute();
      await database.db
        .insertInto('targets')
        .values({
          cluster: 'home',
          kind: 'node',
          id: 'pve2',
          generation: 1,
          active_command: command.id,
          paused_until_ms: null,
          paused_by: null,
          ver: 1,
        })
        .execute();
      const rest = {
        cluster: 'home',
        desired: 'awake',
        maintenance: false,
        evacuation: null,
        hasSaidHello: false,
      };
      expect((await administration(database.db)).nodes).toEqual([
        { ...rest, node: 'pve1', protected: true, activeKind: null },
        { ...rest, node: 'pve2', protected: false, activeKind: 'node.wake' },
      ]);
    });
  });

  describe('credentials', () => {
    const clock = { nowMs };
    const make = async (caFingerprint: string | null = null) => {
      clock.nowMs = nowMs;
      const directory = await createDirectory(database.db, () => clock.nowMs);
      let next = 100;
      const kicked: string[] = [];
      const enrolments = createEnrolments({
        database,
        directory,
        caFingerprint,
        kick: (clientId) => void kicked.push(clientId),
        secretOf: (enrolment) => sha256(`key of this test ${enrolment}`),
        random: { ...seededRandom(1), bytes: (count) => Uint8Array.from(randomBytes(count)) },
        newId: () => uuid((next += 1)),
        nowMs: () => clock.nowMs,
      });
      return { directory, enrolments, kicked };
    };
    const bytes = (secret: string): Uint8Array => Buffer.from(secret);
    const order = { cluster: 'home', node: 'pve1', actor: 'ada' };
    const first = { cluster: 'home', daemon: 'pve1' };

    it('let one daemon speak for several nodes when its token says so', async () => {
      const { directory, enrolments } = await make();
      await enrolments.createToken({ ...order, others: ['pve2', 'pve3', 'pve1'] });
      const redeemed = await enrolments.redeem(first);
      if (!redeemed.ok) throw new Error(redeemed.refusal.detail);
      expect(redeemed.nodes).toEqual(['pve1', 'pve2', 'pve3']);
      const owner = await directory.authenticate('home/pve1', bytes(redeemed.secret));
      expect([...(owner?.nodes ?? [])].sort()).toEqual(['pve1', 'pve2', 'pve3']);
    });

    it('come by a token that opens nothing but an enrolment, until they first connect', async () => {
      const { directory, enrolments } = await make();
      const made = await enrolments.createToken(order);
      if (!made.ok) throw new Error(made.refusal.detail);
      expect(made.expiresAtMs).toBe(nowMs + 900_000);
      const before = await directory.authenticate('home/pve1', bytes(made.token));
      expect(before).toEqual({
        ...first,
        simulated: false,
        nodes: new Set(['pve1']),
        enrolling: true,
      });
      expect(await directory.authenticate('home/pve2', bytes(made.token))).toBeUndefined();

      const answers = await Promise.all([enrolments.redeem(first), enrolments.redeem(first)]);
      const [redeemed, repeated] = answers;
      if (!redeemed?.ok) throw new Error('nobody could redeem');
      expect(redeemed).toMatchObject({ daemon: 'pve1', simulated: false });
      expect(redeemed.secret).toMatch(/^[0-9a-f]{64}$/);
      // The answer may have been lost on the way: asked again, it is the same.
      expect(repeated).toEqual(redeemed);
      expect(await directory.authenticate('home/pve1', bytes(made.token))).toEqual(before);
      expect(await enrolments.redeem(first)).toEqual(redeemed);
      expect(await directory.authenticate('home/pve1', bytes(redeemed.secret))).toEqual({
        ...first,
        simulated: false,
        nodes: new Set(['pve1']),
        enrolling: false,
      });
      expect(await directory.authenticate('home/pve1', bytes(made.token))).toBeUndefined();
      await directory.reload();
      expect(await directory.authenticate('home/pve1', bytes(made.token))).toBeUndefined();
      expect(await enrolments.redeem(first)).toMatchObject({
        refusal: { code: 'KR_ENROLMENT_VOID', field: 'token' },
      });
      const afterRestart = await createDirectory(database.db, () => clock.nowMs);
      expect(await afterRestart.authenticate('home/pve1', bytes(made.token))).toBeUndefined();
      expect(directory.ownership('home/pve1')?.enrolling).toBe(false);
      expect(directory.mosquittoUsers()[0]?.mqttHash).toMatch(/^\$7\$101\$/);
      expect(await verifyChain(database.db, 'home')).toEqual({ ok: true, entries: 2 });
    });

    it('are taken away at once and for good, until the daemon is enrolled anew', async () => {
      const { directory, enrolments, kicked } = await make();
      await enrolments.createToken(order);
      const redeemed = await enrolments.redeem(first);
      const token = await enrolments.createToken(order);
      if (!redeemed.ok || !token.ok) throw new Error('refused');
      const opens = (secret: string) => directory.authenticate('home/pve1', bytes(secret));
      expect(await opens(redeemed.secret)).toMatchObject({ enrolling: false });

      const revocation = { ...first, actor: 'ada' };
      expect(await enrolments.revoke(revocation)).toEqual({ ok: true });
      expect(kicked).toEqual(['home/pve1']);
      expect(await opens(redeemed.secret)).toBeUndefined();
      expect(await opens(token.token)).toBeUndefined();
      expect(directory.ownership('home/pve1')).toBeUndefined();
      expect(await enrolments.redeem(first)).toMatchObject({ ok: false });
      expect(await enrolments.revoke(revocation)).toMatchObject({
        refusal: { status: 404, code: 'KR_DAEMON_UNKNOWN' },
      });
      expect(kicked).toHaveLength(1);

      const again = await enrolments.createToken(order);
      const renewed = await enrolments.redeem(first);
      if (!again.ok || !renewed.ok) throw new Error('refused');
      expect(await opens(redeemed.secret)).toBeUndefined();
      expect(await opens(renewed.secret)).toMatchObject({ enrolling: false });
      expect(await verifyChain(database.db, 'home')).toMatchObject({ ok: true });
    });

    it('never stand in the store as they are', async () => {
      const { enrolments } = await make();
      const made = await enrolments.createToken(order);
      const redeemed = await enrolments.redeem(first);
      if (!made.ok || !redeemed.ok) throw new Error('refused');
      const dump = JSON.stringify([
        await database.db.selectFrom('daemons').selectAll().execute(),
        await database.db.selectFrom('enrolments').selectAll().execute(),
        await database.db.selectFrom('audit').selectAll().execute(),
      ]);
      expect(dump).toContain('enrolment.redeem');
      expect(dump).not.toContain(made.token);
      expect(dump).not.toContain(redeemed.secret);
    });

    it('are refused when the token is too old or replaced by a newer one', async () => {
      const { directory, enrolments } = await make('f'.repeat(64));
      const old = await enrolments.createToken(order);
      const made = await enrolments.createToken(order);
      if (!made.ok || !old.ok) throw new Error('refused');
      expect(made.token).toMatch(/^[0-9a-f]{64}\.f{64}$/);
      const [secret = ''] = made.token.split('.');
      expect(
        await directory.authenticate('home/pve1', bytes(old.token.slice(0, 64))),
      ).toBeUndefined();
      expect(await directory.authenticate('home/pve1', bytes(secret))).toBeDefined();
      expect(await enrolments.redeem(first)).toMatchObject({ ok: true });
      // A used one is void after 15 minutes as well, and so is what a newer one replaced.
      expect(await enrolments.redeem(first)).toMatchObject({ ok: true });

      const late = await enrolments.createToken(order);
      const lateSecret = late.ok ? late.token.slice(0, 64) : '';
      expect(await directory.authenticate('home/pve1', bytes(secret))).toBeUndefined();
      expect(await directory.authenticate('home/pve1', bytes(lateSecret))).toBeDefined();
      clock.nowMs = nowMs + 900_000;
      expect(await directory.authenticate('home/pve1', bytes(lateSecret))).toBeUndefined();
      expect(await enrolments.redeem(first)).toMatchObject({ ok: false });
    });

    it('of before a renewal work until it is redeemed and do not use the new token up', async () => {
      const { directory, enrolments } = await make();
      await enrolments.createToken(order);
      const former = await enrolments.redeem(first);
      const token = await enrolments.createToken(order);
      if (!former.ok || !token.ok) throw new Error('refused');
      const opens = async (secret: string) =>
        (await directory.authenticate('home/pve1', bytes(secret)))?.enrolling;
      expect(await opens(former.secret)).toBe(false);
      expect(await opens(token.token)).toBe(true);
      const renewed = await enrolments.redeem(first);
      if (!renewed.ok) throw new Error('refused');
      expect(await opens(former.secret)).toBeUndefined();
      expect(await opens(token.token)).toBe(true);
      clock.nowMs = nowMs + 900_000;
      expect(await opens(token.token)).toBeUndefined();
      expect(await enrolments.redeem(first)).toMatchObject({ ok: false });
      expect(await opens(renewed.secret)).toBe(false);
    });

    it('of a second enrolment replace the first, with a higher generation', async () => {
      const { directory, enrolments } = await make();
      const secrets: string[] = [];
      for (let round = 0; round < 2; round += 1) {
        await enrolments.createToken(order);
        const redeemed = await enrolments.redeem(first);
        if (redeemed.ok) secrets.push(redeemed.secret);
      }
      const [former = '', present = ''] = secrets;
      expect(await directory.authenticate('home/pve1', bytes(former))).toBeUndefined();
      expect(await directory.authenticate('home/pve1', bytes(present))).toBeDefined();
      const owned = await database.db.selectFrom('daemon_nodes').selectAll().execute();
      expect(owned).toMatchObject([{ node: 'pve1', daemon: 'pve1', generation: 2 }]);
    });

    it('of a node taken from a daemon with several leave it the others', async () => {
      const { directory, enrolments } = await make();
      await database.transaction(async (trx) => {
        await ensureCluster(trx, { id: 'home', simulated: false, nowMs });
        await replaceCredentials(trx, {
          cluster: 'home',
          simulated: false,
          credentials: [
            { daemon: 'all', nodes: ['pve1', 'pve2'], secretHash: sha256('s'), mqttHash: 'h' },
          ],
          nowMs,
        });
      });
      await enrolments.createToken(order);
      await enrolments.redeem(first);
      expect([...(directory.ownership('home/all')?.nodes ?? [])]).toEqual(['pve2']);
      expect([...(directory.ownership('home/pve1')?.nodes ?? [])]).toEqual(['pve1']);
    });

    it('for 2048 simulated daemons are made and repeated in one transaction each', async () => {
      const { directory, enrolments } = await make();
      const nodes = Array.from({ length: 2_048 }, (_, index) => `n${index}`);
      for (const round of [1, 2]) {
        const startMs = performance.now();
        const made = await enrolments.createCredentials({ cluster: 'sim', nodes, actor: 'ada' });
        const elapsedMs = Math.round(performance.now() - startMs);
        process.stdout.write(`${database.dialect.name}: 2048 credentials in ${elapsedMs} ms\n`);
        if (!made.ok) throw new Error(made.refusal.detail);
        expect(new Set(made.credentials.map(({ secret }) => secret)).size).toBe(2_048);
        const last = made.credentials[2_047];
        const opened = await directory.authenticate('sim/n2047', bytes(last?.secret ?? ''));
        expect(opened).toMatchObject({ simulated: true, enrolling: false });
        const rows = await database.db.selectFrom('daemon_nodes').selectAll().execute();
        expect(rows).toHaveLength(2_048);
        expect(new Set(rows.map(({ generation }) => generation))).toEqual(new Set([round]));
      }
      expect(directory.ownerships()).toHaveLength(2_048);
      expect([...(directory.ownerOf('sim', 'n2047')?.nodes ?? [])]).toEqual(['n2047']);
      expect(directory.ownerOf('other', 'n2047')).toBeUndefined();
      expect(await verifyChain(database.db, 'sim')).toEqual({ ok: true, entries: 2 });
    });

    it('are never ready-made for a cluster of real nodes', async () => {
      const { enrolments } = await make();
      await enrolments.createToken(order);
      const refused = await enrolments.createCredentials({
        cluster: 'home',
        nodes: ['pve9'],
        actor: 'ada',
      });
      expect(refused).toMatchObject({
        refusal: { status: 409, code: 'KR_SIMULATED_FIXED', field: 'cluster' },
      });
      expect(await database.db.selectFrom('daemons').select('id').execute()).toEqual([]);
    });
  });

  describe('the facts history', () => {
    const change = (entityId: string, facts: object) =>
      ({ cluster: 'home', entity: 'guest', entityId, facts }) as const;
    const record = (changes: ReturnType<typeof change>[], atMs: number) =>
      database.transaction((trx) => recordFacts(trx, changes, atMs));
    const subject = { cluster: 'home', entity: 'guest', entityId: '100' } as const;

    it('writes on change only and answers for any moment', async () => {
      expect(await record([change('100', { node: 'a' }), change('101', { node: 'a' })], 10)).toBe(
        2,
      );
      expect(await record([change('100', { node: 'a' })], 20)).toBe(0);
      expect(await record([change('100', { node: 'b' })], 30)).toBe(1);
      const at = (atMs: number) => factsAt(database.db, { cluster: 'home', entity: 'guest', atMs });
      expect(await at(9)).toEqual([]);
      expect(await at(29)).toEqual([
        { entityId: '100', validFromMs: 10, facts: { node: 'a' } },
        { entityId: '101', validFromMs: 10, facts: { node: 'a' } },
      ]);
      expect((await at(30))[0]).toMatchObject({ entityId: '100', facts: { node: 'b' } });
      const range = await factsBetween(database.db, subject, { fromMs: 20, toMs: 31 });
      expect(range.map(({ validFromMs }) => validFromMs)).toEqual([10, 30]);
      const empty = await factsBetween(database.db, subject, { fromMs: 0, toMs: 10 });
      expect(empty).toEqual([]);
    });

    it('keeps the order of events when the wall clock goes back', async () => {
      await record([change('100', { node: 'a' })], 1_000);
      await record([change('100', { node: 'b' })], 400);
      await record([change('100', { node: 'c' })], 400);
      const all = await factsBetween(database.db, subject, { fromMs: 0, toMs: 9_999 });
      expect(all.map(({ facts }) => facts)).toEqual([{ node: 'a' }, { node: 'b' }, { node: 'c' }]);
    });

    it('takes thousands of entities of several clusters in one transaction', async () => {
      const many = Array.from({ length: 1_200 }, (_, index) => ({
        ...change(`g${index}`, { index }),
        cluster: index % 2 === 0 ? 'home' : 'away',
      }));
      const write = () => database.transaction((trx) => recordFacts(trx, many, 5));
      expect(await write()).toBe(1_200);
      expect(await write()).toBe(0);
    });
  });

  describe('a decision', () => {
    it('is kept whole, and its measured effect is still open', async () => {
      const decision = {
        id: uuid(1),
        cluster: 'home',
        at_ms: nowMs,
        epoch: 1,
        policy_hash: null,
        inputs_hash: 'f'.repeat(64),
        intents: 0,
        outcome: 'nothing' as const,
        summary: 'no node is hot; '.repeat(200),
        plan: '{"intents": []}',
        report: '{"summary": "quiet"}',
      };
      await database.transaction((trx) => insertDecision(trx, decision));
      const rows = await database.db.selectFrom('decisions').selectAll().execute();
      expect(rows).toEqual([{ ...decision, measured: null, ver: 1 }]);
    });
  });

  const queued = (n: number, change: Partial<Commands>): Commands =>
    commandRow({
      id: uuid(n),
      cluster: 'home',
      target_id: '100',
      executor: 'pve1',
      generation: n,
      simulated: 0,
      origin: 'person',
      actor: 'ada',
      planned_at_ms: nowMs,
      expires_at_ms: nowMs,
      ...change,
    });
}
