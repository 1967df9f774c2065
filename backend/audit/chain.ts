/**
 * The audit trail in SQL: one hash chain per cluster and one named `system`. An entry is written
 * in the transaction of what it records, so that neither exists without the other.
 */
import type { Kysely, Transaction } from 'kysely';
import { auditReads, auditRows } from '../store/sql/audit-rows.ts';
import type { Schema } from '../store/sql/schema.ts';
import { appendEntry, type AuditEntry, type Verified, verifyEntries } from './entry.ts';

export { systemChain } from './entry.ts';

/** See `appendEntry`: last in its transaction. */
export const appendAudit = (
  trx: Transaction<Schema>,
  entry: AuditEntry,
): Promise<{ seq: number; hash: string }> => appendEntry(auditRows(trx), entry);

export const verifyChain = (db: Kysely<Schema>, chain: string): Promise<Verified> =>
  verifyEntries(auditReads(db), chain);
