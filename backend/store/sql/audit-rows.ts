/** The rows of the audit chains in SQL, under the hashing of audit/entry.ts. */
import type { Kysely, Transaction } from 'kysely';
import type { AuditReads, AuditRows } from '../command-store.ts';
import { changed } from './database.ts';
import { retryIfTaken } from './errors.ts';
import type { Audit, Schema } from './schema.ts';

type Trx = Transaction<Schema>;

const pageRows = 500;

async function moveHead(trx: Trx, row: Audit): Promise<boolean> {
  const { chain, seq, hash, prev_hash } = row;
  if (seq === 1) {
    await retryIfTaken(
      trx.insertInto('audit_heads').values({ chain, seq, hash, ver: 1 }).execute(),
    );
    return true;
  }
  return changed(
    trx
      .updateTable('audit_heads')
      .set({ seq, hash })
      .where('chain', '=', chain)
      .where('seq', '=', seq - 1)
      .where('hash', '=', prev_hash),
  );
}

export const auditReads = (db: Kysely<Schema>): AuditReads => ({
  auditHead: (chain) =>
    db
      .selectFrom('audit_heads')
      .select(['seq', 'hash'])
      .where('chain', '=', chain)
      .executeTakeFirst(),
  auditRows: (chain, fromSeq, toSeq) =>
    db
      .selectFrom('audit')
      .selectAll()
      .where('chain', '=', chain)
      .where('seq', '>=', fromSeq)
      .where('seq', '<=', toSeq)
      .orderBy('seq')
      .limit(pageRows)
      .execute(),
});

export const auditRows = (trx: Trx): AuditRows => ({
  /**
   * Bumping `ver` first takes the row's lock, so that the head read next is the newest and no
   * other writer of this chain can get in between; reading it first would lose every race but one.
   */
  async takeAuditHead(chain) {
    const isTaken = await changed(
      trx
        .updateTable('audit_heads')
        .set((eb) => ({ ver: eb('ver', '+', 1) }))
        .where('chain', '=', chain),
    );
    return isTaken ? auditReads(trx).auditHead(chain) : undefined;
  },
  async appendAuditRow(row) {
    if (!(await moveHead(trx, row))) return false;
    await trx.insertInto('audit').values(row).execute();
    return true;
  },
});
