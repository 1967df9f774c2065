/**
 * What a new leader does to running commands: it grants their silence anew. Heartbeats that came
 * while nobody led were heard by nobody, so their absence proves nothing. Nothing is executed,
 * offered terms are not stretched, and what was uncertain is asked about at once.
 */
import type { Transaction } from 'kysely';
import type { Schema } from '../store/sql/schema.ts';
import { silenceTimeoutMs } from './lifecycle.ts';

export async function recomputeDeadlines(
  trx: Transaction<Schema>,
  clusters: readonly string[],
  nowMs: number,
): Promise<void> {
  const untilMs = nowMs + silenceTimeoutMs;
  await trx
    .updateTable('commands')
    .set((eb) => ({ deadline_at_ms: untilMs, ver: eb('ver', '+', 1) }))
    .where('cluster', 'in', clusters)
    .where('state', 'in', ['GRANTED', 'RUNNING', 'VERIFYING', 'CANCELLING'])
    .where('deadline_at_ms', '<', untilMs)
    .execute();
  await trx
    .updateTable('commands')
    .set((eb) => ({ next_probe_at_ms: nowMs, ver: eb('ver', '+', 1) }))
    .where('cluster', 'in', clusters)
    .where('state', 'in', ['VERIFYING', 'INDETERMINATE'])
    .where('next_probe_at_ms', '>', nowMs)
    .execute();
}
