/**
 * The InfluxDB 2 HTTP API as far as we use it: takes line protocol (gzip or not), answers our own
 * Flux queries in annotated CSV, keeps organizations, buckets and tasks. Hand-written, so that the
 * real client's parser is exercised.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { gunzipSync } from 'node:zlib';
import { answer, type Point, type Row, type Value, written } from './influx-fake-flux.ts';

type Refusal = { status: number; body: string; headers?: Record<string, string> };
type Bucket = { id: string; name: string; retentionRules: { everySeconds: number }[] };
type Task = { id: string; name: string; flux: string };

export type InfluxFake = {
  url: string;
  points: Map<string, Point>;
  requests: { path: string; lines: string[]; authorization: string | undefined }[];
  queries: string[];
  buckets: Bucket[];
  tasks: Task[];
  /** Answer writes with this instead of 204; a function judges each request. */
  refuse: Refusal | ((lines: string[]) => Refusal | null) | null;
  /** Answer everything that is no write or query with 403. */
  forbidSetup: boolean;
  inFlightMax: number;
  /** Awaited before each write is answered. */
  gate: Promise<unknown>;
  stop(): Promise<void>;
};

const unescape = (text: string): string => text.replaceAll(/\\([,= \\])/g, '$1');

/** Splits outside of quotes and escapes. */
function split(text: string, by: ',' | ' ' | '='): string[] {
  const parts = [''];
  let isQuoted = false;
  for (let index = 0; index < text.length; index += 1) {
    const char = text[index] as string;
    if (char === '\\') {
      parts[parts.length - 1] += char + (text[index + 1] ?? '');
      index += 1;
      continue;
    }
    if (char === '"') isQuoted = !isQuoted;
    if (char === by && !isQuoted) parts.push('');
    else parts[parts.length - 1] += char;
  }
  return parts;
}

function valueOf(text: string, line: string): Value {
  if (/^"(?:[^"\\]|\\.)*"$/.test(text)) return text.slice(1, -1).replaceAll(/\\(["\\])/g, '$1');
  if (/^-?[0-9.]+(e[-+]?[0-9]+)?i?$/.test(text)) return Number(text.replace(/i$/, ''));
  throw new Error(`unable to parse '${line}'`);
}

function pointsOf(bucket: string, line: string): Point[] {
  const [head = '', fields = '', time = ''] = split(line, ' ');
  const [measurement = '', ...pairs] = split(head, ',');
  const tags = Object.fromEntries(pairs.map((pair) => split(pair, '=').map(unescape)));
  if (!/^[0-9]+$/.test(time)) throw new Error(`unable to parse '${line}'`);
  return split(fields, ',').map((pair) => {
    const [field = '', text = ''] = split(pair, '=');
    const value = valueOf(text, line);
    return { bucket, measurement, tags, field, value, timeMs: Number(time) };
  });
}

/** Tags in the order of the line, which our lines always keep. */
const keyOf = ({ bucket, measurement, tags, field, timeMs }: Point): string =>
  JSON.stringify([bucket, measurement, tags, field, timeMs]);

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

type Answered = { status: number; body: unknown };

/** Organizations, buckets, tasks. */
async function manage(fake: InfluxFake, request: IncomingMessage): Promise<Answered> {
  const url = new URL(request.url ?? '', fake.url);
  const [, kind = '', id] = /^\/api\/v2\/(\w+)(?:\/(\w+))?$/.exec(url.pathname) ?? [];
  const text = await bodyOf(request);
  const body = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>;
  if (fake.forbidSetup) return { status: 403, body: { code: 'forbidden', message: 'no right' } };
  const name = url.searchParams.get('name');
  switch (`${request.method} ${kind}`) {
    case 'GET orgs':
      return { status: 200, body: { orgs: [{ id: 'o1', name: url.searchParams.get('org') }] } };
    case 'GET buckets': {
      const buckets = fake.buckets.filter((bucket) => bucket.name === name);
      if (buckets.length > 0) return { status: 200, body: { buckets } };
      return { status: 404, body: { code: 'not found', message: `bucket "${name}" not found` } };
    }
    case 'POST buckets':
      fake.buckets.push({ ...body, id: `b${fake.buckets.length}` } as unknown as Bucket);
      return { status: 201, body: fake.buckets.at(-1) };
    case 'GET tasks':
      return { status: 200, body: { tasks: fake.tasks.filter((task) => task.name === name) } };
    case 'POST tasks': {
      const flux = body['flux'] as string;
      const [, named = ''] = /option task = \{name: "([^"]+)"/.exec(flux) ?? [];
      fake.tasks.push({ id: `t${fake.tasks.length}`, name: named, flux });
      return { status: 201, body: fake.tasks.at(-1) };
    }
    case 'PATCH tasks': {
      const task = fake.tasks.find((each) => each.id === id);
      if (task) task.flux = body['flux'] as string;
      return { status: 200, body: task };
    }
    default:
      return { status: 404, body: { code: 'not found', message: 'path not found' } };
  }
}

async function write(fake: InfluxFake, request: IncomingMessage, response: ServerResponse) {
  const lines = (await bodyOf(request)).split('\n');
  const { url: path = '', headers } = request;
  fake.requests.push({ path, lines, authorization: headers.authorization });
  await fake.gate;
  const refusal = typeof fake.refuse === 'function' ? fake.refuse(lines) : fake.refuse;
  if (refusal) {
    response.writeHead(refusal.status, { 'content-type': 'application/json', ...refusal.headers });
    response.end(refusal.body);
    return;
  }
  const bucket = new URL(path, fake.url).searchParams.get('bucket') ?? '';
  for (const point of lines.flatMap((line) => pointsOf(bucket, line))) {
    fake.points.set(keyOf(point), point);
  }
  response.writeHead(204).end();
}

async function query(fake: InfluxFake, request: IncomingMessage, response: ServerResponse) {
  const { query: text } = JSON.parse(await bodyOf(request)) as { query: string };
  fake.queries.push(text);
  const all = [...fake.points.values()];
  const made = written(all, text);
  for (const point of made) fake.points.set(keyOf(point), point);
  const rows = text.includes('|> to(') ? [] : answer(all, text);
  response.writeHead(200, { 'content-type': 'text/csv; charset=utf-8' });
  response.end(csvOf(rows));
}

async function handle(fake: InfluxFake, request: IncomingMessage, response: ServerResponse) {
  if (request.url?.startsWith('/api/v2/query')) return query(fake, request, response);
  if (!request.url?.startsWith('/api/v2/write')) {
    const { status, body } = await manage(fake, request);
    response.writeHead(status, { 'content-type': 'application/json' });
    return response.end(JSON.stringify(body));
  }
  return write(fake, request, response);
}

export async function startInfluxFake(port = 0): Promise<InfluxFake> {
  let inFlight = 0;
  const server = createServer((request, response) => {
    const isWrite = request.url?.startsWith('/api/v2/write') ?? false;
    if (isWrite) inFlight += 1;
    fake.inFlightMax = Math.max(fake.inFlightMax, inFlight);
    handle(fake, request, response)
      .catch((error: Error) => {
        response.writeHead(400, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ code: 'invalid', message: error.message }));
      })
      .finally(() => {
        if (isWrite) inFlight -= 1;
      });
  }).listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as { port: number };
  const fake: InfluxFake = {
    url: `http://127.0.0.1:${address.port}`,
    points: new Map(),
    requests: [],
    queries: [],
    buckets: [],
    tasks: [],
    refuse: null,
    forbidSetup: false,
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
