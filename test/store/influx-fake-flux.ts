/**
 * Answers the Flux queries of backend/store/metrics/flux.ts over points in memory. It reads from a
 * query only what decides its answer: bucket, range, filters, window, function, grouping, and where
 * to write. A query it does not know is an error, as it is to the server.
 */
type Tags = Record<string, string>;
export type Value = number | string;
export type Point = {
  bucket: string;
  measurement: string;
  tags: Tags;
  field: string;
  value: Value;
  timeMs: number;
};
export type Row = Record<string, Value>;

/** A Flux string literal's value. */
const literal = (text: string): string => JSON.parse(text.replaceAll('\\${', '${')) as string;

const bucketOf = (query: string): string =>
  literal(/from\(bucket: ("(?:[^"\\]|\\.)*")\)/.exec(query)?.[1] ?? '""');

const timeIn = (query: string, name: string): number | undefined => {
  const found = new RegExp(`${name}: time\\(v: "([^"]+)"\\)`).exec(query)?.[1];
  return found === undefined ? undefined : Date.parse(found);
};

function selected(points: readonly Point[], query: string): Point[] {
  const startMs = timeIn(query, 'start') ?? 0;
  const stopMs = timeIn(query, 'stop') ?? Infinity;
  const bucket = bucketOf(query);
  const wanted = new Map<string, Set<string>>();
  for (const [, name = '', value = '""'] of query.matchAll(/r\.(\w+) == ("(?:[^"\\]|\\.)*")/g)) {
    wanted.set(name, (wanted.get(name) ?? new Set()).add(literal(value)));
  }
  const unwanted = [...query.matchAll(/r\._field != "(\w+)"/g)].map(([, name]) => name);
  const patterns = [...query.matchAll(/r\._field (=~|!~) \/([^/\n]+)\//g)].map(
    ([, operator, pattern = '']) => ({ isIn: operator === '=~', pattern: new RegExp(pattern) }),
  );
  const isWanted = (field: string) =>
    !unwanted.includes(field) &&
    patterns.every(({ isIn, pattern }) => pattern.test(field) === isIn);
  return points.filter((point) => {
    const columns: Tags = { ...point.tags, _measurement: point.measurement, _field: point.field };
    const matches = [...wanted].every(([name, values]) => values.has(columns[name] ?? ''));
    const inRange = point.timeMs >= startMs && point.timeMs < stopMs;
    return point.bucket === bucket && matches && isWanted(point.field) && inRange;
  });
}

const groupBy = <T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> => {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
};

/** As Flux's exact_mean: between the two nearest, by how near each is. */
function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const [low = 0, high = 0] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return low + (high - low) * (at - Math.floor(at));
}

const functions: Record<string, (values: number[]) => number> = {
  mean: (values) => values.reduce((sum, value) => sum + value, 0) / values.length,
  min: (values) => Math.min(...values),
  max: (values) => Math.max(...values),
  last: (values) => values.at(-1) as number,
  quantile: (values) => quantile(values, 0.95),
};

const seriesKey = ({ tags, field, measurement }: Point): string =>
  JSON.stringify([measurement, tags, field]);

const unitsMs: Record<string, number> = { ms: 1, m: 60_000, h: 3_600_000 };

/** The function of a window, of a text like `fn: mean` or `fn: (column, ...) => ... quantile(`. */
function windowsOf(points: readonly Point[], query: string): Point[] {
  const every =
    /every: (?:duration\(v: ")?(\d+)(ms|m|h)"?\)?, fn: (?:\(.*?\|> )?(\w+)/.exec(query) ?? [];
  const stepMs = Number(every[1]) * (unitsMs[every[2] ?? ''] ?? NaN);
  const apply = functions[every[3] ?? ''];
  if (!apply || Number.isNaN(stepMs)) throw new Error(`unknown window in ${query}`);
  const startMs = timeIn(query, 'start') ?? 0;
  const key = (point: Point) => `${seriesKey(point)}${Math.floor(point.timeMs / stepMs)}`;
  return [...groupBy(points, key).values()].map((group) => {
    const [first] = group as [Point];
    // The first window is cut by the range, and its _start with it.
    const timeMs = Math.max(startMs, Math.floor(first.timeMs / stepMs) * stepMs);
    return { ...first, timeMs, value: apply(group.map(({ value }) => Number(value))) };
  });
}

const iso = (timeMs: number): string => new Date(timeMs).toISOString();
const row = ({ tags, field, timeMs, value }: Point): Row => ({
  ...tags,
  _field: field,
  _time: iso(timeMs),
  _value: value,
});

type Sample = { cluster: string; node: string; incarnation: number; seq: number };

/** One row per tag set and time, with a column per field. */
const pivoted = (points: readonly Point[]): Row[] =>
  [...groupBy(points, (p) => JSON.stringify([p.tags, p.timeMs])).values()].map((group) => ({
    ...group[0]!.tags,
    ...Object.fromEntries(group.map(({ field, value }) => [field, value])),
    _time: iso(group[0]!.timeMs),
  }));

function spans(points: readonly Point[]): Row[] {
  const samples = pivoted(points) as unknown as Sample[];
  const key = (each: Sample) => JSON.stringify([each.cluster, each.node, each.incarnation]);
  return [...groupBy(samples, key).values()].map((group) => {
    const seqs = group.map(({ seq }) => seq);
    const { cluster, node, incarnation } = group[0] as Sample;
    const [first, last] = [Math.min(...seqs), Math.max(...seqs)];
    return { cluster, node, incarnation, stored: seqs.length, first, last };
  });
}

const limitOf = (query: string): number => Number(/limit\(n: (\d+)\)/.exec(query)?.[1]);

function totals(points: readonly Point[], query: string): Row[] {
  const name = /group\([^)]*\)\s*\|> (\w+)\(/.exec(query)?.[1] ?? '';
  const groups = groupBy(windowsOf(points, query), ({ field, timeMs }) => `${field} ${timeMs}`);
  return [...groups.values()].map((group) => ({
    _field: group[0]!.field,
    _time: iso(group[0]!.timeMs),
    _value: functions[name]!(group.map(({ value }) => Number(value))),
  }));
}

function ranked(points: readonly Point[], query: string): Row[] {
  const name = /\|> (mean|min|max|last|quantile)\(/.exec(query)?.[1] ?? '';
  return [...groupBy(points, seriesKey).values()]
    .map((group): Row => {
      const values = group.map(({ value }) => Number(value));
      return { ...group[0]!.tags, _value: functions[name]!(values) };
    })
    .sort((a, b) => Number(b['_value']) - Number(a['_value']))
    .slice(0, limitOf(query));
}

const eventsOf = (points: readonly Point[], query: string): Row[] =>
  pivoted(points)
    .sort((a, b) => String(b['_time']).localeCompare(String(a['_time'])))
    .slice(0, limitOf(query));

/** What a query with `to()` writes. */
export function written(points: readonly Point[], query: string): Point[] {
  const bucket = /\|> to\(bucket: "([^"]+)"\)/.exec(query)?.[1];
  if (bucket === undefined) return [];
  const suffix = query.includes('r._field + "_max"') ? '_max' : '';
  const chosen = selected(points, query).sort((a, b) => a.timeMs - b.timeMs);
  return windowsOf(chosen, query).map((point) => {
    return { ...point, bucket, field: point.field + suffix };
  });
}

export function answer(points: readonly Point[], query: string): Row[] {
  const chosen = selected(points, query).sort((a, b) => a.timeMs - b.timeMs);
  if (query.includes('r._measurement == "event"')) return eventsOf(chosen, query);
  if (query.includes('group(columns: ["_field", "_time"])')) return totals(chosen, query);
  if (query.includes('aggregateWindow(')) return windowsOf(chosen, query).map(row);
  if (query.includes('reduce(')) return spans(chosen);
  if (query.includes('sort(columns: ["_value"]')) return ranked(chosen, query);
  if (!query.includes('|> last()')) throw new Error(`unknown query ${query}`);
  return [...groupBy(chosen, seriesKey).values()].map((group) => row(group.at(-1) as Point));
}
