/**
 * What the server has accepted in the last seconds. One that answers before its disk has the lines
 * (VictoriaMetrics: up to 5 s) forgets them when it is killed; so they are sent again once it was
 * gone, which changes nothing where it has them. Bounded by age and by bytes, the oldest first.
 */
import type { SpoolBatch } from './spool.ts';

/** Twice the 5 s after which VictoriaMetrics writes to its disk. */
const ageMaxMs = 10_000;
/** Some 5 s of 2048 nodes x 20 guests at 5 s; any small house whole. */
const bytesMax = 16 * 2 ** 20;

type Entry = { atMs: number; bytes: number; batch: SpoolBatch };

export type Accepted = {
  /** `nowMs` is monotonic. */
  add(batch: SpoolBatch, nowMs: number): void;
  /** Those of the last seconds, oldest first; forgets them. */
  take(nowMs: number): SpoolBatch[];
};

const sizeOf = ({ lines }: SpoolBatch): number =>
  lines.reduce((bytes, line) => bytes + line.length, 0);

export function createAccepted(): Accepted {
  let entries: Entry[] = [];
  let bytes = 0;
  function trim(nowMs: number): void {
    let count = 0;
    for (const entry of entries) {
      if (nowMs - entry.atMs <= ageMaxMs && bytes <= bytesMax) break;
      bytes -= entry.bytes;
      count += 1;
    }
    entries = count === 0 ? entries : entries.slice(count);
  }
  return {
    add(batch, nowMs) {
      const entry = { atMs: nowMs, bytes: sizeOf(batch), batch };
      entries.push(entry);
      bytes += entry.bytes;
      trim(nowMs);
    },
    take(nowMs) {
      trim(nowMs);
      const taken = entries.map(({ batch }) => batch);
      [entries, bytes] = [[], 0];
      return taken;
    },
  };
}
