/** The API's edges, against a small server that answers as it is told. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createLxdApi, type LxdApi } from '../../../../daemon/hypervisor/lxd/api.ts';
import { createLxdHypervisor } from '../../../../daemon/hypervisor/lxd/driver.ts';
import { realClock } from '../../../broker/wire.ts';
import { memoryLog } from '../../../support/log.ts';

const operation = '0190d7a0-0000-4000-8000-000000000001';
const Any = z.unknown();
const signal = new AbortController().signal;
const opened: { api: LxdApi; server: Server; folder: string }[] = [];

async function serve(answer: RequestListener): Promise<LxdApi> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-lxd-api-'));
  const socket = join(folder, 's');
  const server = createServer(answer);
  await new Promise<void>((done) => void server.listen(socket, done));
  const api = createLxdApi({ socket });
  opened.push({ api, server, folder });
  return api;
}

const saying =
  (body: unknown, status = 200): RequestListener =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };

const elsewhere: RequestListener = (_, response) =>
  void response.writeHead(302, { location: 'http://elsewhere/' }).end();
const hangUp: RequestListener = (request) => void request.socket.destroy();

afterEach(async () => {
  for (const { api, server, folder } of opened.splice(0)) {
    await api.close();
    server.closeAllConnections();
    server.close();
    await rm(folder, { recursive: true, force: true });
  }
});

describe('an answer of LXD', () => {
  it.each([
    ['no JSON', 'KR_LXD_UNCLEAR', saying('<html>')],
    ['another shape', 'KR_LXD_UNCLEAR', saying({ hello: 1 })],
    [
      'a server error',
      'KR_LXD_UNCLEAR',
      saying({ type: 'error', error: 'oops', error_code: 500 }, 500),
    ],
    ['a refusal', 'KR_LXD_REFUSED', saying({ type: 'error', error: 'no', error_code: 403 }, 403)],
    ['a redirect', 'KR_LXD_UNCLEAR', elsewhere],
    ['a broken connection', 'KR_LXD_UNCLEAR', hangUp],
  ])('that is %s is %s', async (_, code, answer) => {
    const api = await serve(answer);
    await expect(api.get(Any, '/1.0')).rejects.toMatchObject({ name: 'LxdError', code });
  });

  it('is bounded', async () => {
    const api = await serve((_, response) => {
      response.writeHead(200);
      response.write('{"type":"sync","metadata":"');
      response.end('x'.repeat(17 * 2 ** 20));
    });
    await expect(api.get(Any, '/1.0')).rejects.toMatchObject({ code: 'KR_LXD_UNCLEAR' });
  });

  it('must have the shape that is asked for', async () => {
    const api = await serve(saying({ type: 'sync', metadata: { total: 'many' } }));
    await expect(api.get(z.object({ total: z.number() }), '/1.0/x')).rejects.toThrow(
      '/1.0/x: total',
    );
  });
});

describe('an operation', () => {
  const state = (code: number) => ({
    type: 'sync',
    metadata: {
      id: operation,
      status: 'x',
      status_code: code,
      err: '',
      created_at: '2026-01-01T00:00:00Z',
    },
  });

  it('is waited for as long as it takes', async () => {
    let asked = 0;
    const api = await serve((request, response) => {
      asked += 1;
      saying(state(asked < 3 ? 103 : 200))(request, response);
    });
    expect(await api.wait(operation, signal)).toMatchObject({ isOver: true, isOk: true });
    expect(asked).toBe(3);
  });

  it('that LXD forgot is null', async () => {
    const api = await serve(saying({ type: 'error', error: 'gone', error_code: 404 }, 404));
    expect(await api.wait(operation, signal)).toBeNull();
  });

  it('that nobody waits for any more is given up', async () => {
    const asked: string[] = [];
    const abort = new AbortController();
    const api = await serve((request) => {
      asked.push(request.method ?? '');
      abort.abort();
    });
    await expect(api.wait(operation, abort.signal)).rejects.toMatchObject({
      code: 'KR_LXD_UNCLEAR',
    });
    expect(asked).toEqual(['GET']);
  });

  it('is started by one request, however the answer is lost', async () => {
    let asked = 0;
    const api = await serve((request) => {
      asked += 1;
      request.socket.destroy();
    });
    const change = {
      method: 'PUT',
      path: '/1.0/instances/a/state',
      body: { action: 'start' },
    } as const;
    await expect(api.change(change, signal)).rejects.toMatchObject({ code: 'KR_LXD_UNCLEAR' });
    expect(asked).toBe(1);
  });
});

describe('the driver without its LXD', () => {
  it('knows no guests, which is not the same as none', async () => {
    const api = createLxdApi({ socket: join(tmpdir(), 'kr-no-lxd-here') });
    const driver = createLxdHypervisor({
      node: 'box',
      api,
      sampler: null,
      daemonVersion: '1',
      clock: realClock,
      log: memoryLog(),
    });
    expect((await driver.sample('box')).guests).toBeNull();
    await expect(driver.describe('box')).rejects.toMatchObject({ code: 'KR_LXD_UNCLEAR' });
    await driver.close();
  });
});
