/**
 * Decisions as stored: what the engine saw, wanted and left alone, so that each can be explained
 * later. Ids are UUIDv7, so their order is the order of time.
 */
import type { Transaction } from 'kysely';
import type { Decisions, Schema } from './schema.ts';

export async function insertDecision(
  trx: Transaction<Schema>,
  decision: Omit<Decisions, 'ver' | 'measured'>,
): Promise<void> {
  await trx
    .insertInto('decisions')
    .values({ ...decision, measured: null, ver: 1 })
    .execute();
}
