/**
 * Where ingest workers store, the backend sees from the telemetry itself whether they do: each
 * sample says up to where its daemon holds receipts. A node that goes on sending while that stands
 * still is stored by nobody: its worker is down, or no worker has its shard. Pure; times are
 * monotonic ms passed in.
 */
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { Message } from '../../broker/contract/messages.ts';

/** Receipts come every 10 s, and a daemon repeats what has none after 30 s. */
const patienceMs = 90_000;
/** Of a node that is silent nothing waits to be stored. */
const silenceMs = 60_000;

type Progress = {
  cluster: string;
  incarnation: number;
  confirmedSeq: number;
  movedAtMs: number;
  heardAtMs: number;
};

export type Unstored = {
  heard(message: Message<'telemetry'>, nowMs: number): void;
  /** Ids of clusters with such a node, sorted. */
  clusters(nowMs: number): string[];
};

export function createUnstored(): Unstored {
  const nodes = new Map<NodeKey, Progress>();
  return {
    heard({ cluster, node, body }, nowMs) {
      const { incarnation, confirmedSeq } = body;
      // An older daemon does not tell.
      if (confirmedSeq === undefined) return;
      const key = nodeKey(cluster, node);
      const known = nodes.get(key);
      // What is sent again tells of an earlier moment, and is no progress.
      const isOlder =
        known !== undefined &&
        (incarnation < known.incarnation ||
          (incarnation === known.incarnation && confirmedSeq <= known.confirmedSeq));
      if (isOlder) known.heardAtMs = nowMs;
      else {
        const progress = { cluster, incarnation, confirmedSeq };
        nodes.set(key, { ...progress, movedAtMs: nowMs, heardAtMs: nowMs });
      }
    },
    clusters(nowMs) {
      const stuck = [...nodes.values()].filter(
        ({ movedAtMs, heardAtMs }) =>
          nowMs - movedAtMs > patienceMs && nowMs - heardAtMs < silenceMs,
      );
      return [...new Set(stuck.map(({ cluster }) => cluster))].toSorted();
    },
  };
}
