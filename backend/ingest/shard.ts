/**
 * Which ingest worker stores which cluster: a stable hash of the cluster's id, the same in every
 * process and version, so that workers agree without talking to each other. All samples of a
 * cluster go through one worker, in order, as receipts need. Pure.
 */

/** `index` from 1 to `count`. */
export type Shard = { index: number; count: number };

export const shardsMax = 64;

/** Of `2/4`; null for anything else. */
export function parseShard(text: string): Shard | null {
  const [, index, count] = /^([1-9]\d?)\/([1-9]\d?)$/.exec(text) ?? [];
  const shard = { index: Number(index), count: Number(count) };
  return shard.index <= shard.count && shard.count <= shardsMax ? shard : null;
}

/** FNV-1a over the id, then the finalizer of MurmurHash3: ids that differ in a digit spread too. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

export const isOfShard = (cluster: string, { index, count }: Shard): boolean =>
  (hashOf(cluster) % count) + 1 === index;
