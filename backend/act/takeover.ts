/**
 * What a new leader does to running commands: it grants their silence anew. Heartbeats that came
 * while nobody led were heard by nobody, so their absence proves nothing. Nothing is executed,
 * offered terms are not stretched, and what was uncertain is asked about at once.
 */
import type { CommandRows } from '../store/command-store.ts';
import { silenceTimeoutMs } from './lifecycle.ts';

const listenedTo = ['GRANTED', 'RUNNING', 'VERIFYING', 'CANCELLING'];

export async function recomputeDeadlines(
  rows: CommandRows,
  clusters: readonly string[],
  nowMs: number,
): Promise<void> {
  await rows.postponeDeadlines(clusters, listenedTo, nowMs + silenceTimeoutMs);
  await rows.probeSoon(clusters, nowMs);
}
