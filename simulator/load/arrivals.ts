/**
 * What our own subscriber behind a bare broker has seen: which message of which node, how often,
 * and how long after the instant at which it was due. Counts only what comes; whoever sends says
 * beforehand what is due. Time is passed in.
 */
import { decode } from '../../broker/contract/codec.ts';
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { Buckets } from '../histogram.ts';
import type { Reading } from './reading.ts';

/** Messages of one node. Below `from` all have been seen. */
type Seen = { from: number; beyond: Set<number>; highest: number; distinct: number };

/** Due times of the newest messages of one node; older ones are too late to matter. */
const dueKept = 1_024;

/** 20 buckets a decade from 10 us to 1000 s: quantiles are exact to 12 %. */
const perDecade = 20;
const lowestSeconds = 1e-5;
const bounds = Array.from(
  { length: 8 * perDecade + 1 },
  (_, index) => lowestSeconds * 10 ** (index / perDecade),
);

function bucketOf(seconds: number): number {
  if (seconds <= lowestSeconds) return 0;
  return Math.min(bounds.length, Math.ceil(Math.log10(seconds / lowestSeconds) * perDecade));
}

/** The head of an envelope stands before its body; a seq further in is something else's. */
const seqOf = (payload: Uint8Array): number => {
  const head = Buffer.from(payload.buffer, payload.byteOffset, Math.min(payload.byteLength, 400));
  return Number(/"seq":(\d+)/.exec(head.toString('latin1'))?.[1] ?? 0);
};

function note(seen: Seen, seq: number): boolean {
  if (seq < seen.from || seen.beyond.has(seq)) return false;
  seen.beyond.add(seq);
  seen.highest = Math.max(seen.highest, seq);
  seen.distinct += 1;
  while (seen.beyond.delete(seen.from)) seen.from += 1;
  return true;
}

export type Arrivals = {
  /** Before it is sent. */
  due(cluster: string, node: string, message: { seq: number; atMs: number }): void;
  arrived(topic: string, payload: Uint8Array, nowMs: number): void;
  distinct(cluster: string, node: string): number;
  held(): { samples: number; missing: number };
  /** Since when nothing has come, monotonic ms. */
  quietSinceMs(): number;
  reading(nowMs: number): Reading;
};

/** `isChecked`: every message is read as a whole, as a server would, and broken ones are told. */
export function createArrivals(isChecked: boolean, startMs: number): Arrivals {
  const nodes = new Map<NodeKey, Seen>();
  const dues = new Map<NodeKey, Float64Array>();
  const counts = new Float64Array(bounds.length + 1);
  const rejectedBy: Record<string, number> = {};
  let [received, duplicates, rejected, stored] = [0, 0, 0, 0];
  let lastMs = startMs;

  function isBroken(topic: string, payload: Uint8Array): boolean {
    const decoded = decode(topic, payload);
    if (decoded.ok) return false;
    const { code } = decoded.rejection;
    rejectedBy[code] = (rejectedBy[code] ?? 0) + 1;
    rejected += 1;
    return true;
  }
  function latency(): Buckets {
    const buckets = new Map<number, number>();
    let sum = 0;
    for (const [index, count] of counts.entries()) {
      sum += count;
      buckets.set(bounds[index] ?? Infinity, sum);
    }
    return buckets;
  }
  return {
    due(cluster, node, { seq, atMs }) {
      const key = nodeKey(cluster, node);
      const ring = dues.get(key) ?? new Float64Array(dueKept);
      dues.set(key, ring);
      ring[seq % dueKept] = atMs;
    },
    arrived(topic, payload, nowMs) {
      received += 1;
      lastMs = nowMs;
      if (isChecked && isBroken(topic, payload)) return;
      const [, , cluster = '', node = ''] = topic.split('/');
      const key = nodeKey(cluster, node);
      const seen = nodes.get(key) ?? { from: 1, beyond: new Set(), highest: 0, distinct: 0 };
      nodes.set(key, seen);
      const seq = seqOf(payload);
      if (!note(seen, seq)) {
        duplicates += 1;
        return;
      }
      stored += 1;
      const dueMs = dues.get(key)?.[seq % dueKept];
      if (dueMs === undefined) return;
      const bucket = bucketOf((nowMs - dueMs) / 1_000);
      counts[bucket] = (counts[bucket] ?? 0) + 1;
    },
    distinct: (cluster, node) => nodes.get(nodeKey(cluster, node))?.distinct ?? 0,
    held() {
      let missing = 0;
      for (const { highest, distinct } of nodes.values()) missing += highest - distinct;
      return { samples: stored, missing };
    },
    quietSinceMs: () => lastMs,
    reading: (nowMs) => ({
      atMs: nowMs,
      startedAtSeconds: null,
      latency: latency(),
      received,
      stored,
      duplicates,
      dropped: 0,
      rejected,
      rejectedBy: { ...rejectedBy },
    }),
  };
}
