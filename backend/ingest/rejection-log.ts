/**
 * Says what ingest refused, and from whom: at most one line per client and minute, however much
 * it sends, and for a bounded number of clients.
 */
import type { Clock, Log } from '../../broker/contract/ports.ts';
import type { Incoming } from '../../broker/port.ts';
import type { IngestRejection } from './judge.ts';

const logPerClientMs = 60_000;
const loggedClientsMax = 4_096;

export function createRejectionLog({ clock, log }: { clock: Clock; log: Log }) {
  const loggedAtMs = new Map<string, number>();
  return (incoming: Incoming, { code, field, hint }: IngestRejection): void => {
    const client = incoming.client ?? 'external broker';
    const nowMs = clock.monotonicMs();
    const lastMs = loggedAtMs.get(client);
    if (lastMs !== undefined && nowMs - lastMs < logPerClientMs) return;
    if (loggedAtMs.size >= loggedClientsMax) loggedAtMs.clear();
    loggedAtMs.set(client, nowMs);
    const topic = incoming.topic.slice(0, 256);
    log.warn({ client, topic, code, field, hint }, 'message refused');
  };
}
