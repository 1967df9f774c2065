/**
 * Brings the tables forward, never back. Migrations are listed here by hand: what runs on a
 * database must not depend on which files lie in a folder.
 */
import type { Kysely } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import type { Log } from '../../../broker/contract/ports.ts';
import { StoreMisconfigured } from './errors.ts';
import { up as schema } from './migrations/001-schema.ts';
import { up as control } from './migrations/002-control.ts';
import { up as notifications } from './migrations/003-notifications.ts';
import { up as evacuations } from './migrations/004-evacuations.ts';
import { up as quotas } from './migrations/005-quotas.ts';
import type { Schema } from './schema.ts';

const migrations: Record<string, Migration> = {
  '001-schema': { up: schema },
  '002-control': { up: control },
  '003-notifications': { up: notifications },
  '004-evacuations': { up: evacuations },
  '005-quotas': { up: quotas },
};

async function namesDone(db: Kysely<Schema>): Promise<string[]> {
  const hasHistory = (await db.introspection.getTables({ withInternalKyselyTables: true })).some(
    ({ name }) => name === 'kysely_migration',
  );
  if (!hasHistory) return [];
  const done = await db
    .$extendTables<{ kysely_migration: { name: string } }>()
    .selectFrom('kysely_migration')
    .select('name')
    .execute();
  return done.map(({ name }) => name);
}

async function refuseNewerStore(db: Kysely<Schema>): Promise<void> {
  const unknown = (await namesDone(db)).filter((name) => !Object.hasOwn(migrations, name));
  if (unknown.length === 0) return;
  throw new StoreMisconfigured(
    `the SQL store was written by a newer version (${unknown.join(', ')}): start that version, ` +
      'or restore a backup taken with this one',
  );
}

/** The first migration that a store with a past still lacks; null for a new or current one. */
export async function firstPending(db: Kysely<Schema>): Promise<string | null> {
  const done = await namesDone(db);
  if (done.length === 0) return null;
  return Object.keys(migrations).find((name) => !done.includes(name)) ?? null;
}

/** Whether these, in this order, are where a store of this version may begin. */
export const knowsMigrations = (names: readonly string[]): boolean =>
  names.every((name, at) => Object.keys(migrations)[at] === name);

/** `last` stops at a migration of the past: the tables of a backup are made as it knew them. */
export async function migrate(db: Kysely<Schema>, log: Log, last?: string): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
  await refuseNewerStore(db);
  const { error, results = [] } = await (last === undefined
    ? migrator.migrateToLatest()
    : migrator.migrateTo(last));
  if (error !== undefined) throw error;
  for (const { migrationName } of results) log.info({ migrationName }, 'store migrated');
}
