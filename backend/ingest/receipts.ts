/**
 * Tells daemons what is durable: per node at most every 10 s, and the nodes spread over those
 * 10 s, so that 2048 of them are 205 messages a second and never a burst. A receipt names one
 * incarnation and covers only that one. Losing one costs nothing: the next covers more.
 */
import { encode } from '../../broker/contract/codec.ts';
import { receiptIntervalMaxMs } from '../../broker/contract/limits.ts';
import type { Clock, Log, NewId } from '../../broker/contract/ports.ts';
import type { ServerLink } from '../../broker/port.ts';
import type { NodeEntry } from './nodes.ts';
import { abandonHoles, repeatReceipts, type Stored, takeReceipts } from './sequence.ts';

/** Of a node that never spoke to this process: no session is addressed. */
const noSession = '00000000-0000-0000-0000-000000000000';
/** Golden ratio: any number of nodes is spread evenly, in whatever order they come. */
const spread = 0.618_033_988_749_895;

export type ReceiptsDeps = {
  link: ServerLink;
  clock: Clock;
  log: Log;
  newId: NewId;
  onPublished(): void;
  onFailed(): void;
  onAbandoned(node: NodeEntry, samples: number): void;
};

export type Receipts = {
  /** Something of the node was stored. */
  touch(node: NodeEntry): void;
  /** Publishes what is due; called every second. */
  tick(): void;
};

export function createReceipts(deps: ReceiptsDeps): Receipts {
  const { link, clock, log, newId } = deps;
  const touched = new Set<NodeEntry>();
  let phase = 0;

  function publish(entry: NodeEntry, { incarnation, seq: storedSeq }: Stored): Promise<void> {
    const { cluster, node, session } = entry;
    const head = { v: 1, id: newId(), cluster, node, session: session ?? noSession } as const;
    const envelope = { ...head, seq: 0, sentAtMs: clock.wallMs() };
    return link.publish(encode('receipt', { ...envelope, body: { incarnation, storedSeq } }));
  }

  async function send(entry: NodeEntry): Promise<void> {
    try {
      for (const stored of takeReceipts(entry.sequence)) {
        await publish(entry, stored);
        deps.onPublished();
      }
    } catch (error) {
      deps.onFailed();
      repeatReceipts(entry.sequence);
      touched.add(entry);
      log.debug({ err: error, node: entry.node }, 'receipt not published');
    }
  }

  return {
    touch(entry) {
      touched.add(entry);
      if (entry.receiptDueMs !== null) return;
      phase = (phase + spread) % 1;
      entry.receiptDueMs = clock.monotonicMs() + phase * receiptIntervalMaxMs;
    },
    tick() {
      if (!link.isConnected()) return;
      const nowMs = clock.monotonicMs();
      for (const entry of touched) {
        const dueMs = entry.receiptDueMs ?? nowMs;
        if (dueMs > nowMs) continue;
        touched.delete(entry);
        // Keeps its phase, and skips what a pause of the process made it miss.
        const missed = Math.floor((nowMs - dueMs) / receiptIntervalMaxMs);
        entry.receiptDueMs = dueMs + (missed + 1) * receiptIntervalMaxMs;
        const abandoned = abandonHoles(entry.sequence, nowMs, entry.replayer.replayedAtMs);
        if (abandoned > 0) deps.onAbandoned(entry, abandoned);
        void send(entry);
      }
    },
  };
}
