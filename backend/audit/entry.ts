/**
 * What an audit entry is and how a chain of them is hashed, whatever store keeps it. Each hash
 * covers the whole entry and the hash before it: a changed, missing or swapped row breaks the
 * chain. Entries are never updated or deleted.
 */
import { hash as digest } from 'node:crypto';
import type { AuditReads, AuditRows } from '../store/command-store.ts';
import { ConflictError } from '../store/sql/errors.ts';
import type { Audit } from '../store/sql/schema.ts';

export const systemChain = 'system';
const genesis = '0'.repeat(64);

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
  digest(
    'sha256',
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
  );

/**
 * Take the chain last in a transaction: it is held until the commit. Throws ConflictError when
 * another writer began the same chain at the same time.
 */
export async function appendEntry(
  rows: AuditRows,
  entry: AuditEntry,
): Promise<{ seq: number; hash: string }> {
  const { chain, actor, action, subject, phase, openedSeq = null, detail, atMs } = entry;
  const head = await rows.takeAuditHead(chain);
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
  if (!(await rows.appendAuditRow(row))) {
    throw new ConflictError(`audit chain ${chain} moved past ${seq - 1}`);
  }
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
export async function verifyEntries(reads: AuditReads, chain: string): Promise<Verified> {
  const head = await reads.auditHead(chain);
  // Entries beyond the head were appended after it was read.
  const lastSeq = head?.seq ?? 0;
  let prevHash = genesis;
  for (let seq = 1; seq <= lastSeq;) {
    const rows = await reads.auditRows(chain, seq, lastSeq);
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
