/**
 * The HTTPS API of a fake cluster: one server per node, as every member has its own, on free
 * ports of the loopback. A node without power does not answer; one behind it answers 595. What a
 * request begins goes on when its connection ends.
 */
import { appendFileSync } from 'node:fs';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { WorldNode } from '../../world/model.ts';
import type { FakeCluster } from '../cluster.ts';
import type { Effect } from '../frames.ts';
import { isUp, nodeOf, pause, ToolFailure } from '../pve.ts';
import { type FakeCertificate, makeCertificate } from './certificate.ts';
import { read } from './reads.ts';
import { allPrivileges, ApiFailure, authenticate, type Token } from './rights.ts';
import { write } from './writes.ts';

export type FakeApi = {
  /** `https://127.0.0.1:<port>` by node. */
  urls: Record<string, string>;
  certificates: Record<string, FakeCertificate>;
  /** The one that may do everything; others may be added, and their rights changed. */
  tokens: Token[];
  /** Requests so far, as `GET /nodes/a/status`. */
  readonly requests: { node: string; line: string }[];
  close(): Promise<void>;
};

const bodyBytesMax = 65_536;
const requestsMax = 20_000;

async function bodyOf(request: IncomingMessage): Promise<Record<string, string>> {
  let text = '';
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > bodyBytesMax) throw new ApiFailure(413, 'Request Entity Too Large');
  }
  const isJson = request.headers['content-type']?.startsWith('application/json') ?? false;
  const pairs = isJson
    ? Object.entries(JSON.parse(text === '' ? '{}' : text) as Record<string, unknown>)
    : [...new URLSearchParams(text)];
  return Object.fromEntries(pairs.map(([key, value]) => [key, String(value)]));
}

type Serving = { fake: FakeCluster; tokens: readonly Token[]; here: WorldNode };

async function answer(serving: Serving, request: IncomingMessage): Promise<unknown> {
  const { fake, tokens, here } = serving;
  const { pve } = fake;
  const url = new URL(request.url ?? '/', 'https://fake');
  if (!url.pathname.startsWith('/api2/json/')) throw new ApiFailure(404, 'no such file');
  const token = authenticate(tokens, request.headers.authorization);
  const path = decodeURIComponent(url.pathname.slice('/api2/json'.length));
  const line = `${request.method} ${path}`;
  const fault = pve.apiFaultOf({ node: here.spec.node, line });
  if (fault?.kind === 'hang') return new Promise(() => undefined);
  if (fault?.kind === 'delay') await pause(pve, fault.delayMs);
  if (fault?.kind === 'fail') throw new ApiFailure(fault.exitCode, fault.stderr);
  if (request.method === 'GET') {
    const options = Object.fromEntries(url.searchParams);
    return read(pve, token, { here, path, options });
  }
  const log = async (effect: Omit<Effect, 'atMs' | 'node'>): Promise<void> => {
    const head = { atMs: pve.clock.wallMs(), node: here.spec.node, ...effect };
    appendFileSync(fake.effectLog, `${JSON.stringify({ ...head, tool: 'api', argv: [line] })}\n`);
  };
  const { method = '' } = request;
  const options = await bodyOf(request);
  if (method === 'DELETE' && Object.keys(options).length > 0) {
    throw new ApiFailure(501, `Unexpected content for method '${method}'`);
  }
  return write(pve, token, { here, method, path, options }, log);
}

async function respond(
  serving: Serving,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let status = 200;
  let reason = 'OK';
  let data: unknown = null;
  try {
    data = await answer(serving, request);
  } catch (error) {
    const isTool = error instanceof ToolFailure;
    if (!isTool && !(error instanceof ApiFailure)) throw error;
    status = isTool ? 500 : error.status;
    reason = error.message.replaceAll(/[\r\n]+/g, ' ');
  }
  if (!response.writable) return;
  response.writeHead(status, reason, { 'content-type': 'application/json;charset=UTF-8' });
  response.end(JSON.stringify(status === 200 ? { data } : { data: null, message: `${reason}\n` }));
}

async function startNode(
  serving: Serving,
  certificate: FakeCertificate,
  requests: FakeApi['requests'],
): Promise<{ server: Server; url: string }> {
  const { key, cert } = certificate;
  const { here } = serving;
  const server = createServer({ key, cert }, (request, response) => {
    const path = decodeURIComponent(
      (request.url ?? '').replace('/api2/json', '').split('?')[0] ?? '',
    );
    requests.push({ node: here.spec.node, line: `${request.method} ${path}` });
    if (requests.length > requestsMax) requests.splice(0, requestsMax / 2);
    if (isUp(here)) void respond(serving, request, response);
    else request.destroy();
  });
  server.on('connection', (socket: { destroy(): void }) => {
    if (!isUp(here)) socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  return { server, url: `https://127.0.0.1:${port}` };
}

/** `secret`: of the token `kr@pve!kernreaktor`, which may do everything. */
export async function serveApi(fake: FakeCluster, secret: string): Promise<FakeApi> {
  const rights = new Map([['/', new Set<string>(allPrivileges)]]);
  const tokens: Token[] = [{ id: 'kr@pve!kernreaktor', secret, rights }];
  const requests: FakeApi['requests'] = [];
  const certificates: FakeApi['certificates'] = {};
  const urls: FakeApi['urls'] = {};
  const servers: Server[] = [];
  for (const name of Object.keys(fake.tools)) {
    const certificate = makeCertificate(name);
    const here = nodeOf(fake.pve, name);
    const { server, url } = await startNode({ fake, tokens, here }, certificate, requests);
    certificates[name] = certificate;
    urls[name] = url;
    servers.push(server);
  }
  return {
    urls,
    certificates,
    tokens,
    requests,
    async close() {
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
        await once(server, 'close');
      }
    },
  };
}
