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

/**
 * The sorted keys of a map that changes under us, sorted anew at most once a second: sorting
 * 40,000 guests costs 20 ms, which no list request should pay.
 */
export function sortedKeys<V>(source: () => ReadonlyMap<string, V>): {
  at(nowMs: number): readonly string[];
} {
  let keys: readonly string[] = [];
  let sortedAtMs = Number.NEGATIVE_INFINITY;
  return {
    at(nowMs) {
      const map = source();
      if (nowMs - sortedAtMs >= 1_000 || (keys.length !== map.size && map.size < 10_000)) {
        keys = [...map.keys()].sort();
        sortedAtMs = nowMs;
      }
      return keys;
    },
  };
}
