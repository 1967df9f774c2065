/**
 * The audit trail: one hash chain per cluster and one named `system`. An entry is written in the
 * transaction of what it records, so that neither exists without the other. Each hash covers the
 * whole entry and the hash before it: a changed, missing or swapped row breaks the chain.
 *
 * Entries are never updated or deleted. Take the chain last in a transaction: it is held until
 * the commit.
 */
import { createHash } from 'node:crypto';
import type { Kysely, Transaction } from 'kysely';
import { changed } from '../store/sql/database.ts';
import { ConflictError, retryIfTaken } from '../store/sql/errors.ts';
import type { Audit, Schema } from '../store/sql/schema.ts';

export const systemChain = 'system';
const genesis = '0'.repeat(64);
const pageRows = 500;

export type AuditEntry = {
  /** A cluster id, or `system`. */
  chain: string;
  actor: string;
  action: string;
  subject: string;
  phase: Audit['phase'];
  /** The entry that this one closes. */
  openedSeq?: number | null;
  detail: object;
  atMs: number;
};

export type Verified =
  | { ok: true; entries: number }
  | { ok: false; brokenAtSeq: number; why: string };

/** An array of the fields in this order is canonical: there are no keys whose order could vary. */
const hashOf = (row: Omit<Audit, 'hash'>): string =>
  createHash('sha256')
    .update(
      JSON.stringify([
        row.chain,
        row.seq,
        row.at_ms,
        row.actor,
        row.action,
        row.subject,
        row.phase,
        row.opened_seq,
        row.detail,
        row.prev_hash,
      ]),
    )
    .digest('hex');

/**
 * Bumping `ver` first takes the row's lock, so that the head read next is the newest and no other
 * writer of this chain can get in between; reading it first would lose every race but one.
 */
async function takeHead(
  trx: Transaction<Schema>,
  chain: string,
): Promise<{ seq: number; hash: string } | undefined> {
  const isTaken = await changed(
    trx
      .updateTable('audit_heads')
      .set((eb) => ({ ver: eb('ver', '+', 1) }))
      .where('chain', '=', chain),
  );
  if (!isTaken) return undefined;
  return trx
    .selectFrom('audit_heads')
    .select(['seq', 'hash'])
    .where('chain', '=', chain)
    .executeTakeFirstOrThrow();
}

async function moveHead(
  trx: Transaction<Schema>,
  row: Pick<Audit, 'chain' | 'seq' | 'hash' | 'prev_hash'>,
): Promise<void> {
  const { chain, seq, hash, prev_hash } = row;
  const hasMoved = await changed(
    trx
      .updateTable('audit_heads')
      .set({ seq, hash })
      .where('chain', '=', chain)
      .where('seq', '=', seq - 1)
      .where('hash', '=', prev_hash),
  );
  if (!hasMoved) throw new ConflictError(`audit chain ${chain} moved past ${seq - 1}`);
}

/** Throws ConflictError when another writer began the same chain at the same time. */
export async function appendAudit(
  trx: Transaction<Schema>,
  entry: AuditEntry,
): Promise<{ seq: number; hash: string }> {
  const { chain, actor, action, subject, phase, openedSeq = null, detail, atMs } = entry;
  const head = await takeHead(trx, chain);
  const seq = (head?.seq ?? 0) + 1;
  const unhashed = {
    chain,
    seq,
    at_ms: atMs,
    actor,
    action,
    subject,
    phase,
    opened_seq: openedSeq,
    detail: JSON.stringify(detail),
    prev_hash: head?.hash ?? genesis,
  };
  const row = { ...unhashed, hash: hashOf(unhashed) };
  if (head) await moveHead(trx, row);
  else {
    const first = { chain, seq, hash: row.hash, ver: 1 };
    await retryIfTaken(trx.insertInto('audit_heads').values(first).execute());
  }
  await trx.insertInto('audit').values(row).execute();
  return { seq, hash: row.hash };
}

function flaw(row: Audit, expectedSeq: number, prevHash: string): string | null {
  const { hash, ...unhashed } = row;
  if (row.seq !== expectedSeq) return 'the entry is missing';
  if (row.prev_hash !== prevHash) return 'the entry does not follow the one before it';
  if (hashOf(unhashed) !== hash) return 'the entry was changed after it was written';
  return null;
}

/** Reads the chain from its first entry in pages, so that its length does not matter. */
export async function verifyChain(db: Kysely<Schema>, chain: string): Promise<Verified> {
  const head = await db
    .selectFrom('audit_heads')
    .select(['seq', 'hash'])
    .where('chain', '=', chain)
    .executeTakeFirst();
  // Entries beyond the head were appended after it was read.
  const lastSeq = head?.seq ?? 0;
  let prevHash = genesis;
  for (let seq = 1; seq <= lastSeq;) {
    const rows = await db
      .selectFrom('audit')
      .selectAll()
      .where('chain', '=', chain)
      .where('seq', '>=', seq)
      .where('seq', '<=', lastSeq)
      .orderBy('seq')
      .limit(pageRows)
      .execute();
    if (rows.length === 0) return { ok: false, brokenAtSeq: seq, why: 'the entry is missing' };
    for (const row of rows) {
      const why = flaw(row, seq, prevHash);
      if (why !== null) return { ok: false, brokenAtSeq: seq, why };
      prevHash = row.hash;
      seq += 1;
    }
  }
  if (head && prevHash !== head.hash) {
    return { ok: false, brokenAtSeq: lastSeq, why: 'the head names another last entry' };
  }
  return { ok: true, entries: lastSeq };
}
