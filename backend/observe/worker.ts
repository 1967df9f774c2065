/**
 * What an ingest worker shows: its figures under the names of the backend's, with its number as
 * label, and three plain paths for whoever watches over it. It answers nothing else, and figures
 * to its own machine only.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Shard } from '../ingest/shard.ts';
import { figures, labelled } from './figures.ts';
import type { Point } from './metrics.ts';

type Values = () => Record<string, number>;

export function workerPoints(
  { index }: Shard,
  { ingest, store }: { ingest: Values; store: Values },
): Point[] {
  const worker = String(index);
  const pointsOf = (name: string, values: Values): Point[] =>
    labelled('figure', values()).map(([labels, value]) => ({
      name,
      labels: { ...labels, worker },
      value,
    }));
  const memory = process.memoryUsage.rss();
  return [
    ...pointsOf(figures.ingest.name, ingest),
    ...pointsOf(figures.store.name, store),
    { name: 'kr_process_resident_memory_bytes', labels: { worker }, value: memory },
  ];
}

const textOf = (points: readonly Point[]): string =>
  points
    .map(({ name, labels, value }) => {
      const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text}"`);
      return `${name}{${pairs.join()}} ${value}\n`;
    })
    .join('');

type Faces = { isReady: () => Promise<boolean>; points: () => Point[] };
type Answer = { status: number; text: string };

const isLocal = ({ socket, headers }: IncomingMessage): boolean =>
  /^(127\.|::1$|::ffff:127\.)/.test(socket.remoteAddress ?? '') &&
  headers['x-forwarded-for'] === undefined &&
  headers.forwarded === undefined;

async function answerOf(request: IncomingMessage, faces: Faces): Promise<Answer> {
  const { method, url } = request;
  if (method !== 'GET') return { status: 405, text: 'only GET\n' };
  if (url === '/healthz') return { status: 200, text: 'ok\n' };
  if (url === '/readyz') {
    return (await faces.isReady())
      ? { status: 200, text: 'ready\n' }
      : { status: 503, text: 'broker or metrics store do not answer\n' };
  }
  if (url !== '/metrics') return { status: 404, text: '/healthz, /readyz or /metrics\n' };
  if (isLocal(request)) return { status: 200, text: textOf(faces.points()) };
  return { status: 403, text: 'figures are for this machine; elsewhere ask the metrics store\n' };
}

async function serve(request: IncomingMessage, response: ServerResponse, faces: Faces) {
  const { status, text } = await answerOf(request, faces);
  response.writeHead(status, { 'content-type': 'text/plain; version=0.0.4' }).end(text);
}

/** Listens only where a port was asked for. */
export async function startWorkerFaces(
  {
    KR_HTTP_PORT: port,
    KR_HTTP_HOST: host,
  }: { KR_HTTP_PORT?: number | undefined; KR_HTTP_HOST: string },
  faces: Faces,
): Promise<{ url: string | null; close(): Promise<void> }> {
  if (port === undefined) return { url: null, close: () => Promise.resolve() };
  const server = createServer({ requestTimeout: 10_000 }, (request, response) => {
    serve(request, response, faces).catch(() => response.destroy());
  });
  server.listen(port, host);
  await once(server, 'listening');
  const address = server.address();
  const taken = address !== null && typeof address === 'object' ? address.port : port;
  return {
    url: `http://${host}:${taken}`,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
