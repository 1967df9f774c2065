/**
 * Where every telemetry message of a run has gone:
 *
 *   sent = stored + duplicates + rejected + dropped.link + dropped.ingest + unaccounted
 *
 * Each term is counted by somebody else: what was sent by the lines, what is stored by query, the
 * rest by the server. `unaccounted` is what does not add up, and must be 0: a message that is
 * missing although no connection broke, or one too many. Pure.
 */
import { areComparable, type Reading } from './reading.ts';

export type Accounts = {
  /** Telemetry messages given to open connections, repetitions and broken ones included. */
  sent: number;
  /** Samples of this run in the store, each once. */
  stored: number;
  /** Came more than once, and were stored once. */
  duplicates: number;
  rejected: number;
  /** By the code of the refusal. */
  rejectedBy: Record<string, number>;
  dropped: {
    /** Went down with a connection that broke. */
    link: number;
    /** Fell out of the server's full buffer. */
    ingest: number;
  };
  unaccounted: number;
};

export type Books = {
  before: Reading | null;
  after: Reading | null;
  sent: number;
  /** By query, of this run alone; null: nobody could tell. */
  stored: number | null;
  /** Connections that ended without a goodbye. */
  breaks: number;
};

function difference(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): Record<string, number> {
  const counts = Object.entries(after).map(
    ([name, count]) => [name, count - (before[name] ?? 0)] as const,
  );
  return Object.fromEntries(counts.filter(([, count]) => count !== 0));
}

/** null when the server was restarted meanwhile or did not answer: then nobody can tell. */
export function accountsOf({ before, after, sent, stored, breaks }: Books): Accounts | null {
  if (!before || !after || stored === null || !areComparable(before, after)) return null;
  const duplicates = after.duplicates - before.duplicates;
  const rejected = after.rejected - before.rejected;
  const ingest = after.dropped - before.dropped;
  const missing = sent - (stored + duplicates + rejected + ingest);
  // The server also stores for others, and never fewer than we find of ours.
  const others = after.stored - before.stored - stored;
  const link = breaks > 0 ? Math.max(0, missing) : 0;
  return {
    sent,
    stored,
    duplicates,
    rejected,
    rejectedBy: difference(before.rejectedBy, after.rejectedBy),
    dropped: { link, ingest },
    unaccounted: missing - link + Math.min(0, others),
  };
}
