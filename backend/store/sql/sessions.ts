/**
 * Sessions and API tokens: opaque secrets of which only the SHA-256 is kept. What one stands for
 * is asked of the tables at every request, so a revocation holds from the next one on.
 */
import type { Selectable } from 'kysely';
import { audit, type Change, clustersJson, type Role } from './accounts.ts';
import type { Database } from './database.ts';
import type { ApiTokens } from './schema.ts';

export type ApiToken = Selectable<ApiTokens>;

export type NewSession = {
  id: string;
  tokenHash: string;
  accountId: string;
  expiresAtMs: number;
  address: string;
  userAgent: string;
};

export type NewToken = {
  id: string;
  name: string;
  tokenHash: string;
  accountId: string;
  role: Role;
  clusters: readonly string[] | null;
  expiresAtMs: number | null;
};

/** What a bearer secret stands for, as the tables say at this moment. */
export type Credential = {
  id: string;
  accountId: string;
  username: string;
  accountRole: Role;
  accountClusters: string | null;
  expiresAtMs: number | null;
} & (
  | { kind: 'session'; reauthenticatedAtMs: number }
  | { kind: 'token'; tokenRole: Role; tokenClusters: string | null }
);

export type SessionStore = ReturnType<typeof createSessions>;
export type TokenStore = ReturnType<typeof createTokens>;

export function createSessions(database: Database) {
  const { db } = database;
  return {
    open: (session: NewSession, by: Change): Promise<void> =>
      database.transaction(async (trx) => {
        await trx.deleteFrom('sessions').where('expires_at_ms', '<=', by.nowMs).execute();
        await trx
          .insertInto('sessions')
          .values({
            id: session.id,
            token_hash: session.tokenHash,
            account_id: session.accountId,
            created_at_ms: by.nowMs,
            expires_at_ms: session.expiresAtMs,
            reauthenticated_at_ms: by.nowMs,
            address: session.address,
            user_agent: session.userAgent,
            ver: 1,
          })
          .execute();
        const detail = { address: session.address };
        await audit(trx, by, { action: 'session.open', subject: by.actor, detail });
      }),

    close: (id: string, by: Change): Promise<void> =>
      database.transaction(async (trx) => {
        const gone = await trx.deleteFrom('sessions').where('id', '=', id).executeTakeFirst();
        if (gone.numDeletedRows === 0n) return;
        await audit(trx, by, { action: 'session.close', subject: by.actor, detail: {} });
      }),

    /** Still valid ones, the newest first; of one account, or of all. */
    list: (accountId: string | null, nowMs: number) =>
      db
        .selectFrom('sessions as s')
        .innerJoin('accounts as a', 'a.id', 's.account_id')
        .select(['s.id', 'a.username', 's.address', 's.user_agent'])
        .select(['s.created_at_ms', 's.expires_at_ms'])
        .where('s.expires_at_ms', '>', nowMs)
        .$if(accountId !== null, (query) => query.where('s.account_id', '=', accountId ?? ''))
        .orderBy('s.created_at_ms', 'desc')
        .execute(),

    /** Notes a fresh proof of the password. */
    async touch(id: string, nowMs: number): Promise<void> {
      await db
        .updateTable('sessions')
        .set((eb) => ({ reauthenticated_at_ms: nowMs, ver: eb('ver', '+', 1) }))
        .where('id', '=', id)
        .execute();
    },

    credential: (tokenHash: string, nowMs: number): Promise<Credential | undefined> =>
      findCredential(database, tokenHash, nowMs),
  };
}

export function createTokens(database: Database) {
  const { db } = database;
  return {
    create: (token: NewToken, by: Change): Promise<void> =>
      database.transaction(async (trx) => {
        await trx
          .insertInto('api_tokens')
          .values({
            id: token.id,
            name: token.name,
            token_hash: token.tokenHash,
            account_id: token.accountId,
            role: token.role,
            clusters: clustersJson(token.clusters),
            created_at_ms: by.nowMs,
            expires_at_ms: token.expiresAtMs,
            revoked_at_ms: null,
            ver: 1,
          })
          .execute();
        const { name, role, clusters } = token;
        const subject = `token:${token.id}`;
        await audit(trx, by, { action: 'token.create', subject, detail: { name, role, clusters } });
      }),

    /** Of one account, or of all. */
    list: (accountId: string | null): Promise<ApiToken[]> =>
      db
        .selectFrom('api_tokens')
        .selectAll()
        .$if(accountId !== null, (query) => query.where('account_id', '=', accountId ?? ''))
        .orderBy('id')
        .execute(),

    /** False when there is no such token still valid, in `accountId` where that is given. */
    revoke: (id: string, accountId: string | null, by: Change): Promise<boolean> =>
      database.transaction(async (trx) => {
        const revoked = await trx
          .updateTable('api_tokens')
          .set((eb) => ({ revoked_at_ms: by.nowMs, ver: eb('ver', '+', 1) }))
          .where('id', '=', id)
          .where('revoked_at_ms', 'is', null)
          .$if(accountId !== null, (query) => query.where('account_id', '=', accountId ?? ''))
          .executeTakeFirst();
        if (revoked.numUpdatedRows === 0n) return false;
        await audit(trx, by, { action: 'token.revoke', subject: `token:${id}`, detail: {} });
        return true;
      }),
  };
}

async function findCredential(
  { db }: Database,
  tokenHash: string,
  nowMs: number,
): Promise<Credential | undefined> {
  const session = await db
    .selectFrom('sessions as s')
    .innerJoin('accounts as a', 'a.id', 's.account_id')
    .select(['s.id', 'a.id as accountId', 'a.username', 'a.role as accountRole'])
    .select(['a.clusters as accountClusters', 's.expires_at_ms as expiresAtMs'])
    .select('s.reauthenticated_at_ms as reauthenticatedAtMs')
    .where('s.token_hash', '=', tokenHash)
    .where('s.expires_at_ms', '>', nowMs)
    .where('a.disabled', '=', 0)
    .executeTakeFirst();
  if (session) return { ...session, kind: 'session' };
  const token = await db
    .selectFrom('api_tokens as t')
    .innerJoin('accounts as a', 'a.id', 't.account_id')
    .select(['t.id', 'a.id as accountId', 'a.username', 'a.role as accountRole'])
    .select(['a.clusters as accountClusters', 't.expires_at_ms as expiresAtMs'])
    .select(['t.role as tokenRole', 't.clusters as tokenClusters'])
    .where('t.token_hash', '=', tokenHash)
    .where('t.revoked_at_ms', 'is', null)
    .where('a.disabled', '=', 0)
    .executeTakeFirst();
  if (!token || (token.expiresAtMs !== null && token.expiresAtMs <= nowMs)) return undefined;
  return { ...token, kind: 'token' };
}
