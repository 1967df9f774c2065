/**
 * Accounts. Every change is written with its audit entry in one transaction. At least one enabled, unscoped administrator remains
 * at all times: changes that could end that first take the row `accounts` of settings, which
 * makes them wait for each other.
 */
import type { Selectable, Transaction } from 'kysely';
import { appendAudit } from '../../audit/chain.ts';
import type { Database } from './database.ts';
import type { Accounts, Schema } from './schema.ts';

export type Role = Accounts['role'];
export type Account = Selectable<Accounts>;
export type Change = { actor: string; nowMs: number };

export type NewAccount = {
  id: string;
  username: string;
  passwordHash: string;
  role: Role;
  clusters: readonly string[] | null;
};

export type AccountChange = {
  role?: Role;
  clusters?: readonly string[] | null;
  disabled?: boolean;
  passwordHash?: string;
  /** Sealed; null takes the second factor away. */
  totpSecret?: string | null;
};

type Trx = Transaction<Schema>;

const guardName = 'accounts';

export const clustersJson = (clusters: readonly string[] | null): string | null =>
  clusters === null ? null : JSON.stringify(clusters);

export const audit = (
  trx: Trx,
  change: Change,
  entry: { action: string; subject: string; detail: object },
) =>
  appendAudit(trx, {
    chain: 'system',
    actor: change.actor,
    phase: 'done',
    atMs: change.nowMs,
    ...entry,
  });

const insertAccount = (trx: Trx, account: NewAccount, nowMs: number) =>
  trx
    .insertInto('accounts')
    .values({
      id: account.id,
      username: account.username,
      password_hash: account.passwordHash,
      role: account.role,
      clusters: clustersJson(account.clusters),
      totp_secret: null,
      disabled: 0,
      created_at_ms: nowMs,
      password_changed_at_ms: nowMs,
      ver: 1,
    })
    .execute();

const administrators = (trx: Trx) =>
  trx
    .selectFrom('accounts')
    .select('id')
    .where('role', '=', 'admin')
    .where('disabled', '=', 0)
    .where('clusters', 'is', null)
    .execute();

const remainsAdmin = (account: Account, change: AccountChange): boolean =>
  (change.role ?? account.role) === 'admin' &&
  !(change.disabled ?? account.disabled === 1) &&
  (change.clusters === undefined ? account.clusters === null : change.clusters === null);

function columnsOf(change: AccountChange, nowMs: number) {
  return {
    ...(change.role === undefined ? {} : { role: change.role }),
    ...(change.clusters === undefined ? {} : { clusters: clustersJson(change.clusters) }),
    ...(change.disabled === undefined
      ? {}
      : { disabled: change.disabled ? (1 as const) : (0 as const) }),
    ...(change.totpSecret === undefined ? {} : { totp_secret: change.totpSecret }),
    ...(change.passwordHash === undefined
      ? {}
      : { password_hash: change.passwordHash, password_changed_at_ms: nowMs }),
  };
}

export type Updated = { ok: true; account: Account } | { ok: false; why: 'unknown' | 'last-admin' };

async function updateAccount(
  trx: Trx,
  id: string,
  change: AccountChange,
  by: Change,
): Promise<Updated> {
  // The first statement is a write on purpose: it takes the guard's row lock before the
  // transaction's snapshot exists, so the count below sees what the one before us committed.
  await trx
    .updateTable('settings')
    .set((eb) => ({ ver: eb('ver', '+', 1) }))
    .where('name', '=', guardName)
    .execute();
  const account = await trx
    .selectFrom('accounts')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirst();
  if (!account) return { ok: false, why: 'unknown' };
  if (!remainsAdmin(account, change)) {
    const admins = await administrators(trx);
    if (admins.every((admin) => admin.id === id) && admins.length > 0) {
      return { ok: false, why: 'last-admin' };
    }
  }
  await trx
    .updateTable('accounts')
    .set((eb) => ({ ...columnsOf(change, by.nowMs), ver: eb('ver', '+', 1) }))
    .where('id', '=', id)
    .execute();
  // A new password or a disabled account ends what was opened under the old terms.
  if (change.disabled === true || change.passwordHash !== undefined) {
    await trx.deleteFrom('sessions').where('account_id', '=', id).execute();
  }
  const { passwordHash, totpSecret, ...shown } = change;
  await audit(trx, by, {
    action: 'account.change',
    subject: `account:${account.username}`,
    detail: {
      ...shown,
      ...(passwordHash === undefined ? {} : { password: 'changed' }),
      ...(totpSecret === undefined ? {} : { secondFactor: totpSecret === null ? 'off' : 'on' }),
    },
  });
  const updated = await trx
    .selectFrom('accounts')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
  return { ok: true, account: updated };
}

export type AccountStore = ReturnType<typeof createAccounts>;

export function createAccounts(database: Database) {
  const { db, dialect } = database;

  /** undefined when a row with the same unique value exists. */
  const unlessTaken = async <T>(work: (trx: Trx) => Promise<T>): Promise<T | undefined> => {
    try {
      return await database.transaction(work);
    } catch (error) {
      if (dialect.isUniqueViolation(error)) return undefined;
      throw error;
    }
  };

  return {
    async exists(): Promise<boolean> {
      const row = await db.selectFrom('accounts').select('id').limit(1).executeTakeFirst();
      return row !== undefined;
    },

    /** False when somebody else set up first: the guard row can be inserted only once. */
    async createFirst(account: NewAccount, by: Change): Promise<boolean> {
      const done = await unlessTaken(async (trx) => {
        await trx.insertInto('settings').values({ name: guardName, value: '{}', ver: 1 }).execute();
        await insertAccount(trx, account, by.nowMs);
        const subject = `account:${account.username}`;
        await audit(trx, by, { action: 'account.setup', subject, detail: { role: account.role } });
        return true;
      });
      return done ?? false;
    },

    /** False when the user name is taken. */
    async create(account: NewAccount, by: Change): Promise<boolean> {
      const done = await unlessTaken(async (trx) => {
        await insertAccount(trx, account, by.nowMs);
        const { username, role, clusters } = account;
        const subject = `account:${username}`;
        await audit(trx, by, { action: 'account.create', subject, detail: { role, clusters } });
        return true;
      });
      return done ?? false;
    },

    list: (): Promise<Account[]> =>
      db.selectFrom('accounts').selectAll().orderBy('username').execute(),

    find: (id: string): Promise<Account | undefined> =>
      db.selectFrom('accounts').selectAll().where('id', '=', id).executeTakeFirst(),

    findByUsername: (username: string): Promise<Account | undefined> =>
      db.selectFrom('accounts').selectAll().where('username', '=', username).executeTakeFirst(),

    update: (id: string, change: AccountChange, by: Change): Promise<Updated> =>
      database.transaction((trx) => updateAccount(trx, id, change, by)),
  };
}
