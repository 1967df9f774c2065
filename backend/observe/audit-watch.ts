/**
 * Verifies every audit chain from its first entry, one after the other, soon after the start and
 * then twice a day, and keeps what it found for whoever asks. It only reads and repairs nothing.
 */
import type { Cancel, Clock, Log } from '../../broker/contract/ports.ts';
import type { Verified } from '../audit/entry.ts';

const firstAfterMs = 60_000;
const everyMs = 12 * 3_600_000;

export type Found = { chain: string; ok: boolean; entries: number };

export type AuditWatchDeps = {
  chains: () => Promise<readonly string[]>;
  verify: (chain: string) => Promise<Verified>;
  clock: Clock;
  log: Log;
};

export function watchAudit({ chains, verify, clock, log }: AuditWatchDeps) {
  const found = new Map<string, Found>();
  let cancel: Cancel = () => undefined;
  let isStopped = false;
  const look = async (): Promise<void> => {
    try {
      for (const chain of await chains()) {
        if (isStopped) return;
        const verified = await verify(chain);
        const entries = verified.ok ? verified.entries : verified.brokenAtSeq;
        found.set(chain, { chain, ok: verified.ok, entries });
        if (!verified.ok) log.error({ chain, ...verified }, 'the audit chain is broken');
      }
    } catch (error) {
      log.warn({ err: error }, 'audit chains not verified this time');
    }
    if (!isStopped) cancel = clock.after(everyMs, look);
  };
  cancel = clock.after(firstAfterMs, look);
  return {
    found: (): Iterable<Found> => found.values(),
    stop() {
      isStopped = true;
      cancel();
    },
  };
}
