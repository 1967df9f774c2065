/**
 * Pages out of sorted keys. A cursor names the last key seen, so items that come or go between
 * two pages shift nothing. Pure.
 */
import { httpError } from './errors.ts';

export type PageQuery = {
  limit: number;
  offset?: number | undefined;
  cursor?: string | undefined;
};

export type Page<T> = { items: T[]; total: number; nextCursor: string | null };

export const cursorOf = (key: string): string => Buffer.from(key, 'utf8').toString('base64url');

export function keyOf(cursor: string): string {
  const key = Buffer.from(cursor, 'base64url').toString('utf8');
  if (cursorOf(key) === cursor) return key;
  throw httpError('KR_QUERY', 'This is not a cursor of this API.', {
    field: 'cursor',
    wayOut: 'Pass nextCursor of the page before, or leave it out.',
  });
}

/** First index whose key is not below (`after`: is above) the given one. */
export function lowerBound(keys: readonly string[], key: string, after = false): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = keys[middle] ?? '';
    if (at < key || (after && at === key)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Keys `<cluster>/<id>` of the given clusters; each cluster is one contiguous run. */
export function keysOfClusters(
  keys: readonly string[],
  clusters: Iterable<string>,
): readonly string[] {
  const runs = [...clusters]
    // '0' is the character after '/'.
    .map((cluster) => keys.slice(lowerBound(keys, `${cluster}/`), lowerBound(keys, `${cluster}0`)))
    .filter((run) => run.length > 0);
  return runs.length === 1 ? (runs[0] ?? []) : runs.flat().sort();
}

/** `read` may answer undefined for a key that has just gone; it is left out. */
export function pageOfKeys<T>(
  keys: readonly string[],
  query: PageQuery,
  read: (key: string) => T | undefined,
): Page<T> {
  const start =
    query.cursor === undefined ? (query.offset ?? 0) : lowerBound(keys, keyOf(query.cursor), true);
  const slice = keys.slice(start, start + query.limit);
  const last = slice.at(-1);
  return {
    items: slice.map(read).filter((item) => item !== undefined),
    total: keys.length,
    nextCursor: last !== undefined && start + query.limit < keys.length ? cursorOf(last) : null,
  };
}

export type KeyIndex<V> = {
  at(nowMs: number): readonly string[];
  /** Those whose value passes; scanned at most once a second per name. */
  where(nowMs: number, name: string, isWanted: (value: V) => boolean): readonly string[];
};

/**
 * The sorted keys of a map that changes under us. Sorting 40,000 guests costs 25 ms, which no list
 * request should pay: when keys came or went it is done at most once a second, otherwise every
 * 5 s, since one may have gone as another came. Reads by id never wait for it.
 */
export function sortedKeys<V>(source: () => ReadonlyMap<string, V>): KeyIndex<V> {
  let keys: readonly string[] = [];
  let sortedAtMs = Number.NEGATIVE_INFINITY;
  const found = new Map<string, { atMs: number; keys: readonly string[] }>();
  const at = (nowMs: number): readonly string[] => {
    const map = source();
    const hasGrown = keys.length !== map.size;
    const isDue = nowMs - sortedAtMs >= (hasGrown ? 1_000 : 5_000);
    if (isDue || (hasGrown && map.size < 10_000)) {
      keys = [...map.keys()].sort();
      sortedAtMs = nowMs;
      found.clear();
    }
    return keys;
  };
  return {
    at,
    where(nowMs, name, isWanted) {
      const all = at(nowMs);
      const known = found.get(name);
      if (known && nowMs - known.atMs < 1_000) return known.keys;
      const map = source();
      const wanted = all.filter((key) => {
        const value = map.get(key);
        return value !== undefined && isWanted(value);
      });
      found.set(name, { atMs: nowMs, keys: wanted });
      return wanted;
    },
  };
}
