/**
 * Decisions as stored: what the engine saw, wanted and left alone, so that each can be explained
 * later. Ids are UUIDv7, so their order is the order of time and the newest come first.
 */
import type { Kysely, Transaction } from 'kysely';
import type { Decisions, Schema } from './schema.ts';

export type Decision = Decisions;

export async function insertDecision(
  trx: Transaction<Schema>,
  decision: Omit<Decision, 'ver' | 'measured'>,
): Promise<void> {
  await trx
    .insertInto('decisions')
    .values({ ...decision, measured: null, ver: 1 })
    .execute();
}

export const getDecision = (db: Kysely<Schema>, id: string): Promise<Decision | undefined> =>
  db.selectFrom('decisions').selectAll().where('id', '=', id).executeTakeFirst();

export type DecisionQuery = {
  /** Only these clusters; null = every one. */
  clusters: readonly string[] | null;
  limit: number;
  /** Id of the last one of the page before. */
  cursor?: string | undefined;
};

/** Without plan and report, which are large; `getDecision` has them. */
export async function listDecisions(
  db: Kysely<Schema>,
  { clusters, limit, cursor }: DecisionQuery,
): Promise<{ items: Omit<Decision, 'plan' | 'report'>[]; nextCursor: string | null }> {
  if (clusters?.length === 0) return { items: [], nextCursor: null };
  const rows = await db
    .selectFrom('decisions')
    .select(['id', 'cluster', 'at_ms', 'epoch', 'policy_hash', 'inputs_hash', 'intents'])
    .select(['outcome', 'summary', 'measured', 'ver'])
    .$if(clusters !== null, (all) => all.where('cluster', 'in', clusters ?? []))
    .$if(cursor !== undefined, (all) => all.where('id', '<', cursor ?? ''))
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  const items = rows.slice(0, limit);
  return { items, nextCursor: rows.length > limit ? (items.at(-1)?.id ?? null) : null };
}
