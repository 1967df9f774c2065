/**
 * Policies as rows: versions that never change, and which one a cluster follows. Functions take
 * the transaction they belong to.
 */
import type { Kysely, Transaction } from 'kysely';
import type { Policies, Schema } from './schema.ts';

type Trx = Transaction<Schema>;

const versionsMax = 200;

export type NewPolicy = Pick<Policies, 'id' | 'name' | 'source' | 'yaml' | 'hash' | 'author'> & {
  nowMs: number;
};

/** The newest version of each name, by name. */
export async function newestPolicies(db: Kysely<Schema>): Promise<Policies[]> {
  const rows = await db
    .selectFrom('policies')
    .selectAll()
    .orderBy('name')
    .orderBy('version')
    .execute();
  return [...new Map(rows.map((row) => [row.name, row])).values()];
}

/** Every version of a name, the newest first. */
export const policyVersions = (db: Kysely<Schema>, name: string): Promise<Policies[]> =>
  db
    .selectFrom('policies')
    .selectAll()
    .where('name', '=', name)
    .orderBy('version', 'desc')
    .limit(versionsMax)
    .execute();

const newestOf = (trx: Trx, name: string): Promise<Policies | undefined> =>
  trx
    .selectFrom('policies')
    .selectAll()
    .where('name', '=', name)
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst();

/** The text of a hash, whatever version of whatever name it is. */
export const policyOfHash = (
  db: Kysely<Schema>,
  hash: string,
): Promise<Pick<Policies, 'name' | 'yaml'> | undefined> =>
  db
    .selectFrom('policies')
    .select(['name', 'yaml'])
    .where('hash', '=', hash)
    .limit(1)
    .executeTakeFirst();

/** This text's version, new only when the newest one of its name is another. */
export async function ensurePolicy(trx: Trx, policy: NewPolicy): Promise<Policies> {
  const { nowMs: created_at_ms, ...wanted } = policy;
  const newest = await newestOf(trx, policy.name);
  if (newest?.hash === policy.hash) return newest;
  const row = { ...wanted, version: (newest?.version ?? 0) + 1, created_at_ms };
  await trx.insertInto('policies').values(row).execute();
  return row;
}

/** `file`: the cluster's policy stands in kernreaktor.yaml, which would undo this at the next start. */
export async function followPolicy(
  trx: Trx,
  cluster: string,
  policyId: string,
): Promise<'done' | 'unknown' | 'file'> {
  const row = await trx
    .selectFrom('clusters')
    .leftJoin('policies', 'policies.id', 'clusters.policy_id')
    .select(['clusters.id', 'policies.source'])
    .where('clusters.id', '=', cluster)
    .executeTakeFirst();
  if (!row) return 'unknown';
  if (row.source === 'file') return 'file';
  await trx
    .updateTable('clusters')
    .set((eb) => ({ policy_id: policyId, ver: eb('ver', '+', 1) }))
    .where('id', '=', cluster)
    .execute();
  return 'done';
}

/** Takes a policy of the file away from a cluster that the file gives none any more. */
export async function dropFilePolicy(trx: Trx, cluster: string): Promise<void> {
  await trx
    .updateTable('clusters')
    .set((eb) => ({ policy_id: null, ver: eb('ver', '+', 1) }))
    .where('id', '=', cluster)
    .where('policy_id', 'in', (eb) =>
      eb.selectFrom('policies').select('id').where('source', '=', 'file'),
    )
    .execute();
}
