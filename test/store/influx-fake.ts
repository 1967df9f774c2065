/**
 * The InfluxDB 2 HTTP API as far as we use it: takes line protocol (gzip or not), answers our own
 * Flux queries in annotated CSV. It reads from a query only what decides its answer: range,
 * filters, window and function. Hand-written, so that the real client's parser is exercised.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { gunzipSync } from 'node:zlib';

type Tags = Record<string, string>;
type Point = { measurement: string; tags: Tags; field: string; value: number; timeMs: number };

export type InfluxFake = {
  url: string;
  points: Map<string, Point>;
  requests: { path: string; lines: string[]; authorization: string | undefined }[];
  queries: string[];
  /** Answer writes with this status and body instead of 204. */
  refuse: { status: number; body: string } | null;
  inFlightMax: number;
  /** Awaited before each write is answered. */
  gate: Promise<unknown>;
  stop(): Promise<void>;
};

const unescape = (text: string): string => text.replaceAll(/\\([,= \\])/g, '$1');
const split = (text: string, by: ',' | ' ' | '='): string[] =>
  text.split(new RegExp(`(?<!\\\\)${by}`));

function pointsOf(line: string): Point[] {
  const [head = '', fields = '', time = ''] = split(line, ' ');
  const [measurement = '', ...pairs] = split(head, ',');
  const tags = Object.fromEntries(pairs.map((pair) => split(pair, '=').map(unescape)));
  return split(fields, ',').map((pair) => {
    const [field = '', text = ''] = split(pair, '=');
    if (!/^-?[0-9.e+-]+i?$/.test(text) || !/^[0-9]+$/.test(time)) {
      throw new Error(`unable to parse '${line}'`);
    }
    const value = Number(text.replace(/i$/, ''));
    return { measurement, tags, field, value, timeMs: Number(time) };
  });
}

/** Tags in the order of the line, which our lines always keep. */
const keyOf = ({ measurement, tags, field, timeMs }: Point): string =>
  JSON.stringify([measurement, tags, field, timeMs]);

/** A Flux string literal's value. */
const literal = (text: string): string => JSON.parse(text.replaceAll('\\${', '${')) as string;

function selected(points: readonly Point[], query: string): Point[] {
  const time = (name: string) => {
    const found = new RegExp(`${name}: time\\(v: "([^"]+)"\\)`).exec(query)?.[1];
    return found === undefined ? undefined : Date.parse(found);
  };
  const startMs = time('start') ?? 0;
  const stopMs = time('stop') ?? Infinity;
  const equals = [...query.matchAll(/r\.(\w+) == ("(?:[^"\\]|\\.)*")/g)];
  const wanted = new Map<string, Set<string>>();
  for (const [, name = '', value = '""'] of equals) {
    wanted.set(name, (wanted.get(name) ?? new Set()).add(literal(value)));
  }
  return points.filter((point) => {
    const columns: Tags = { ...point.tags, _measurement: point.measurement, _field: point.field };
    const matches = [...wanted].every(([name, values]) => values.has(columns[name] ?? ''));
    return matches && point.timeMs >= startMs && point.timeMs < stopMs;
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

type Row = Record<string, string | number>;

const functions: Record<string, (values: number[]) => number> = {
  mean: (values) => values.reduce((sum, value) => sum + value, 0) / values.length,
  min: (values) => Math.min(...values),
  max: (values) => Math.max(...values),
  last: (values) => values.at(-1) as number,
};

const seriesKey = ({ tags, field, measurement }: Point): string =>
  JSON.stringify([measurement, tags, field]);

const row = (point: Point, timeMs: number, value: number): Row => ({
  ...point.tags,
  _field: point.field,
  _time: new Date(timeMs).toISOString(),
  _value: value,
});

function windows(points: readonly Point[], query: string): Row[] {
  const [, every = '1', name = ''] = /every: duration\(v: "(\d+)ms"\), fn: (\w+)/.exec(query) ?? [];
  const startMs = Date.parse(/start: time\(v: "([^"]+)"\)/.exec(query)?.[1] ?? '');
  const stepMs = Number(every);
  const key = (point: Point) => `${seriesKey(point)}${Math.floor(point.timeMs / stepMs)}`;
  return [...groupBy(points, key).values()].map((group) => {
    const [first] = group as [Point];
    const windowMs = Math.floor(first.timeMs / stepMs) * stepMs;
    // The first window is cut by the range, and its _start with it.
    const value = functions[name]!(group.map((point) => point.value));
    return row(first, Math.max(startMs, windowMs), value);
  });
}

type Sample = { cluster: string; node: string; incarnation: number; seq: number };

function spans(points: readonly Point[]): Row[] {
  const samples = [...groupBy(points, (p) => JSON.stringify([p.tags, p.timeMs])).values()].map(
    (group) => ({
      ...group[0]!.tags,
      ...Object.fromEntries(group.map(({ field, value }) => [field, value])),
    }),
  ) as unknown as Sample[];
  const key = (each: Sample) => JSON.stringify([each.cluster, each.node, each.incarnation]);
  return [...groupBy(samples, key).values()].map((group) => {
    const seqs = group.map(({ seq }) => seq);
    const { cluster, node, incarnation } = group[0] as Sample;
    const [first, last] = [Math.min(...seqs), Math.max(...seqs)];
    return { cluster, node, incarnation, stored: seqs.length, first, last };
  });
}

function answer(points: readonly Point[], query: string): Row[] {
  const chosen = selected(points, query).sort((a, b) => a.timeMs - b.timeMs);
  if (query.includes('aggregateWindow(')) return windows(chosen, query);
  if (query.includes('reduce(')) return spans(chosen);
  return [...groupBy(chosen, seriesKey).values()].map((group) => {
    const last = group.at(-1) as Point;
    return row(last, last.timeMs, last.value);
  });
}

/** One table per row: legal, and the shortest. */
const csvOf = (rows: readonly Row[]): string =>
  rows
    .map((each, table) => {
      const names = Object.keys(each);
      const type = (name: string) => {
        if (name === '_time') return 'dateTime:RFC3339';
        return typeof each[name] === 'number' ? 'double' : 'string';
      };
      const cell = (text: string | number) => `"${String(text).replaceAll('"', '""')}"`;
      return [
        `#datatype,string,long,${names.map(type).join(',')}`,
        `#group,false,false,${names.map(() => 'false').join(',')}`,
        `#default,_result,,${names.map(() => '').join(',')}`,
        `,result,table,${names.join(',')}`,
        `,,${table},${names.map((name) => cell(each[name] as string)).join(',')}`,
        '',
        '',
      ].join('\r\n');
    })
    .join('');

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  const isGzip = request.headers['content-encoding'] === 'gzip';
  return (isGzip ? gunzipSync(bytes) : bytes).toString('utf8');
}

export async function startInfluxFake(): Promise<InfluxFake> {
  let inFlight = 0;
  async function write(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const lines = (await bodyOf(request)).split('\n');
    const { url: path = '', headers } = request;
    fake.requests.push({ path, lines, authorization: headers.authorization });
    inFlight += 1;
    fake.inFlightMax = Math.max(fake.inFlightMax, inFlight);
    await fake.gate;
    inFlight -= 1;
    if (fake.refuse) {
      response.writeHead(fake.refuse.status, { 'content-type': 'application/json' });
      response.end(fake.refuse.body);
      return;
    }
    for (const point of lines.flatMap(pointsOf)) fake.points.set(keyOf(point), point);
    response.writeHead(204).end();
  }
  async function query(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { query } = JSON.parse(await bodyOf(request)) as { query: string };
    fake.queries.push(query);
    response.writeHead(200, { 'content-type': 'text/csv; charset=utf-8' });
    response.end(csvOf(answer([...fake.points.values()], query)));
  }
  const server = createServer((request, response) => {
    const handle = request.url?.startsWith('/api/v2/write') ? write : query;
    handle(request, response).catch((error: Error) => {
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ code: 'invalid', message: error.message }));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as { port: number };
  const fake: InfluxFake = {
    url: `http://127.0.0.1:${address.port}`,
    points: new Map(),
    requests: [],
    queries: [],
    refuse: null,
    inFlightMax: 0,
    gate: Promise.resolve(),
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return fake;
}
