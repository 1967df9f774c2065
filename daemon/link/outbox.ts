/**
 * Samples the server has not confirmed yet, oldest first: a ring bounded by age and by bytes.
 * Every sample that `add` takes leaves it in exactly one way: covered by a receipt, evicted to
 * the caller (who spills it to disk or counts it as dropped), or taken at the end. Pure.
 */

export type Sample = {
  readonly node: string;
  /** The daemon start it belongs to; `seq` counts within it. */
  readonly incarnation: number;
  readonly seq: number;
  /** Monotonic. */
  readonly takenAtMs: number;
  /** The encoded message. */
  readonly payload: string;
};

export type OutboxLimits = { ageMaxMs: number; bytesMax: number };

export type Outbox = {
  /** Seqs of a node only grow. Returns what no longer fits, oldest first. */
  add(sample: Sample): Sample[];
  /** Forgets everything of the node up to this seq; returns how many. */
  cover(node: string, storedSeq: number): number;
  /** The oldest kept sample of the node above `seq`. */
  after(node: string, seq: number): Sample | undefined;
  /** Empties the ring. */
  takeAll(): Sample[];
  count(): number;
  bytes(): number;
};

export function createOutbox(limits: OutboxLimits): Outbox {
  // A Set and a Map keep insertion order, so their first entry is the oldest.
  const all = new Set<Sample>();
  const byNode = new Map<string, Map<number, Sample>>();
  let bytes = 0;

  function remove(sample: Sample): void {
    all.delete(sample);
    byNode.get(sample.node)?.delete(sample.seq);
    bytes -= sample.payload.length;
  }

  function evict(nowMs: number): Sample[] {
    const evicted: Sample[] = [];
    for (const sample of all) {
      const isTooOld = nowMs - sample.takenAtMs > limits.ageMaxMs;
      if (!isTooOld && bytes <= limits.bytesMax) break;
      remove(sample);
      evicted.push(sample);
    }
    return evicted;
  }

  return {
    add(sample) {
      const ring = byNode.get(sample.node) ?? new Map<number, Sample>();
      byNode.set(sample.node, ring);
      ring.set(sample.seq, sample);
      all.add(sample);
      bytes += sample.payload.length;
      return evict(sample.takenAtMs);
    },
    cover(node, storedSeq) {
      let covered = 0;
      for (const sample of byNode.get(node)?.values() ?? []) {
        if (sample.seq > storedSeq) break;
        remove(sample);
        covered += 1;
      }
      return covered;
    },
    after(node, seq) {
      const ring = byNode.get(node);
      const next = ring?.get(seq + 1);
      if (next) return next;
      // Evictions take from the front, so what follows a hole starts at the ring's first entry.
      const [first] = ring?.values() ?? [];
      return first && first.seq > seq ? first : undefined;
    },
    takeAll() {
      const taken = [...all];
      for (const sample of taken) remove(sample);
      return taken;
    },
    count: () => all.size,
    bytes: () => bytes,
  };
}
