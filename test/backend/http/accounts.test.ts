import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyChain } from '../../../backend/audit/chain.ts';
import { createQueries } from '../../../backend/http/queries.ts';
import { hashOf } from '../../../backend/http/secrets.ts';
import { createAccounts } from '../../../backend/store/sql/accounts.ts';
import { type Database, openDatabase } from '../../../backend/store/sql/database.ts';
import { createSessions, createTokens } from '../../../backend/store/sql/sessions.ts';
import { realClock } from '../../broker/wire.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { startMariadb } from '../../support/servers.ts';

type Opened = { database: Database; close(): Promise<void> };

async function embedded(): Promise<Opened> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-accounts-'));
  const file = join(folder, 'kr.sqlite');
  const database = await openDatabase({ file, nowMs: () => 1_000, log: memoryLog() });
  const close = async () => {
    await database.close();
    await rm(folder, { recursive: true });
  };
  return { database, close };
}

async function mariadb(): Promise<Opened> {
  const server = await startMariadb();
  const store = { url: server.url, clock: realClock, file: '' };
  const options = { ...store, nowMs: () => 1_000, log: memoryLog() };
  const database = await openDatabase(options);
  const close = async () => {
    await database.close();
    await server.stop();
  };
  return { database, close };
}

const by = { actor: 'test', nowMs: 1_000 };
const newId = idsOf(virtualClock(), seededRandom(3));
const accountOf = (username: string, role: 'viewer' | 'admin' = 'admin') => ({
  id: newId(),
  username,
  passwordHash: '$argon2id$',
  role,
  clusters: null,
});

describe.each([
  ['node:sqlite', embedded],
  ['MariaDB', mariadb],
])('accounts on %s', (_name, open) => {
  let opened: Opened;
  let database: Database;
  beforeAll(async () => {
    opened = await open();
    ({ database } = opened);
  });
  afterAll(() => opened.close());

  it('lets one of twelve first accounts be the first', async () => {
    const accounts = createAccounts(database);
    const attempts = Array.from({ length: 12 }, (_, n) => accountOf(`first-${n}`));
    const wins = await Promise.all(attempts.map((account) => accounts.createFirst(account, by)));
    expect(wins.filter(Boolean)).toHaveLength(1);
    expect(await accounts.list()).toHaveLength(1);
  });

  it('keeps one administrator of six that demote each other at the same time', async () => {
    const accounts = createAccounts(database);
    for (let n = 0; n < 5; n += 1) await accounts.create(accountOf(`admin-${n}`), by);
    const admins = await accounts.list();
    const updates = await Promise.all(
      admins.map(({ id }) => accounts.update(id, { role: 'viewer' }, by)),
    );
    expect(updates.filter(({ ok }) => !ok)).toEqual([{ ok: false, why: 'last-admin' }]);
    const left = (await accounts.list()).filter(({ role }) => role === 'admin');
    expect(left).toHaveLength(1);
  });

  it('says so when a name is taken or an account unknown', async () => {
    const accounts = createAccounts(database);
    expect(await accounts.create(accountOf('taken', 'viewer'), by)).toBe(true);
    expect(await accounts.create(accountOf('taken', 'viewer'), by)).toBe(false);
    const unknown = await accounts.update(newId(), { role: 'viewer' }, by);
    expect(unknown).toEqual({ ok: false, why: 'unknown' });
  });

  it('knows a credential until it expires, is closed or revoked, or its account is disabled', async () => {
    const accounts = createAccounts(database);
    const sessions = createSessions(database);
    const tokens = createTokens(database);
    const account = accountOf('carla', 'viewer');
    await accounts.create(account, by);
    const session = {
      id: newId(),
      tokenHash: hashOf('session'),
      accountId: account.id,
      expiresAtMs: 5_000,
      address: '127.0.0.1',
      userAgent: 'test',
    };
    await sessions.open(session, by);
    const token = {
      id: newId(),
      name: 'token',
      tokenHash: hashOf('token'),
      accountId: account.id,
      role: 'viewer' as const,
      clusters: ['home'],
      expiresAtMs: null,
    };
    await tokens.create(token, by);
    const look = (secret: string, nowMs = 2_000) => sessions.credential(hashOf(secret), nowMs);
    expect(await look('session')).toMatchObject({ kind: 'session', username: 'carla' });
    expect(await look('session', 5_000)).toBeUndefined();
    expect(await look('token')).toMatchObject({ kind: 'token', tokenClusters: '["home"]' });
    await accounts.update(account.id, { disabled: true }, by);
    expect(await look('token')).toBeUndefined();
    await accounts.update(account.id, { disabled: false }, by);
    expect(await look('session')).toBeUndefined();
    expect(await tokens.revoke(token.id, newId(), by)).toBe(false);
    expect(await tokens.revoke(token.id, account.id, by)).toBe(true);
    expect(await look('token')).toBeUndefined();
    expect(await tokens.list(account.id)).toMatchObject([{ id: token.id, revoked_at_ms: 1_000 }]);
  });

  it('leaves an unbroken audit chain, paged with numbers for counts', async () => {
    expect(await verifyChain(database.db, 'system')).toMatchObject({ ok: true });
    const queries = createQueries(database);
    const { rows, total } = await queries.auditEntries('system', { limit: 2 });
    expect(total).toBe(rows[0]?.seq);
    const none = await queries.commands({ clusters: new Set() }, { limit: 2 }, ({ id }) => id);
    expect(none).toEqual({ items: [], total: 0, nextCursor: null });
  });
});
