import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { WebSocket as SecureSocket } from 'ws';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensureTls } from '../../../broker/tls.ts';
import { removeRuntime, writeRuntime } from '../../../backend/http/runtime-file.ts';
import { addCluster, bearer, type Harness, password, signInAll, startHarness } from './harness.ts';

let h: Harness;
const start = async (config: Parameters<typeof startHarness>[0] = {}) => {
  h = await startHarness(config);
  return h.server.listen();
};
afterEach(() => h.stop());

type Reply = { status: number; body: string };
/** A request over a real unix socket. */
const overSocket = (path: string, url: string, options: { method?: string; body?: object } = {}) =>
  new Promise<Reply>((resolve, reject) => {
    const { method = 'GET', body } = options;
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const sent = httpRequest({ socketPath: path, path: url, method, headers }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString() }),
      );
    });
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });

describe('autonomy', () => {
  it('may be auto on a real cluster, too: what that means today is judged below the engine', async () => {
    const { socketPath } = await start();
    await addCluster(h.database, h.fleet, 'attic');
    await h.database.db
      .updateTable('clusters')
      .set({ simulated: 0 })
      .where('id', '=', 'attic')
      .execute();
    const body = { autonomy: { 'guest.scale': 'approve', 'guest.migrate': 'auto' } };
    const reply = await overSocket(socketPath, '/api/v1/clusters/attic', { method: 'PATCH', body });
    expect(reply.status).toBe(204);
    const row = await h.database.db
      .selectFrom('clusters')
      .select('autonomy')
      .where('id', '=', 'attic')
      .executeTakeFirstOrThrow();
    expect(JSON.parse(row.autonomy)).toEqual({ default: 'recommend', ...body.autonomy });
  });
});

describe('the unix socket', () => {
  it('is readable by its owner only and makes the caller the audited local administrator', async () => {
    const { socketPath, httpUrl } = await start();
    expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
    const me = await overSocket(socketPath, '/api/v1/session');
    expect(JSON.parse(me.body)).toMatchObject({ kind: 'local', role: 'admin', clusters: null });
    const user = { username: 'ben', password, role: 'viewer' };
    const made = await overSocket(socketPath, '/api/v1/users', { method: 'POST', body: user });
    expect(made.status).toBe(201);
    const audit = await overSocket(socketPath, '/api/v1/audit');
    expect(JSON.parse(audit.body)).toMatchObject({
      items: [{ actor: 'local', action: 'account.create', subject: 'account:ben' }],
    });
    // The same app over TCP asks who it is.
    expect((await fetch(`${httpUrl}/api/v1/session`)).status).toBe(401);
  });

  it('makes a token in the name of an account, with no more rights than that account has', async () => {
    const { socketPath } = await start();
    await overSocket(socketPath, '/api/v1/users', {
      method: 'POST',
      body: { username: 'cleo', password, role: 'operator' },
    });
    const make = (body: object) =>
      overSocket(socketPath, '/api/v1/tokens', { method: 'POST', body });
    const nobody = await make({ name: 'script', role: 'viewer' });
    expect(nobody).toMatchObject({ status: 400 });
    expect(nobody.body).toContain('--account <user>');
    expect(await make({ name: 'script', role: 'admin', account: 'cleo' })).toMatchObject({
      status: 403,
    });
    const made = await make({ name: 'script', role: 'operator', account: 'cleo' });
    expect(made.status).toBe(201);
    const { token } = JSON.parse(made.body) as { token: string };
    const me = await h.app.inject({ url: '/api/v1/session', headers: bearer(token) });
    expect(me.json()).toMatchObject({ username: 'cleo', role: 'operator', kind: 'token' });
    // Over the network a token is one's own, whoever is named.
    const who = await signInAll(h);
    const other = await h.app.inject({
      method: 'POST',
      url: '/api/v1/tokens',
      payload: { name: 'script', role: 'viewer', account: 'cleo' },
      headers: bearer(who.admin),
    });
    expect(other.json()).toMatchObject({ code: 'KR_FORBIDDEN', field: 'account' });
  });

  it('releases HOLD without a password, while a session needs a fresh one and a token cannot', async () => {
    const { socketPath } = await start();
    const who = await signInAll(h);
    const release = { method: 'PUT' as const, url: '/api/v1/hold', payload: { hold: false } };
    const local = await overSocket(socketPath, '/api/v1/hold', {
      method: 'PUT',
      body: { hold: false },
    });
    expect(local.status).toBe(204);
    const fresh = await h.app.inject({ ...release, headers: bearer(who.admin) });
    expect(fresh.statusCode).toBe(204);
    await h.clock.advance(5 * 60_000);
    const stale = await h.app.inject({ ...release, headers: bearer(who.admin) });
    expect(stale.json()).toMatchObject({
      status: 403,
      code: 'KR_REAUTHENTICATION',
      field: 'password',
    });
    const wrong = await h.app.inject({
      ...release,
      payload: { hold: false, password: 'not the password' },
      headers: bearer(who.admin),
    });
    expect(wrong.statusCode).toBe(403);
    const operator = await h.app.inject({ ...release, headers: bearer(who.operator) });
    expect(operator.json()).toMatchObject({ status: 403, code: 'KR_FORBIDDEN' });
    expect(h.commands.holds).toHaveLength(2);
  });
});

describe('listening', () => {
  it('falls to a free port when the default one is taken, and says so', async () => {
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    const { port } = blocker.address() as { port: number };
    const { httpUrl } = await start({ port, isDefaultPort: true });
    expect(httpUrl).not.toContain(`:${port}`);
    expect((await fetch(`${httpUrl}/healthz`)).status).toBe(200);
    expect(h.log.lines).toContainEqual(
      expect.objectContaining({ level: 'info', fields: expect.objectContaining({ taken: port }) }),
    );
    await new Promise((resolve) => blocker.close(resolve));
  });

  it('refuses a taken port that somebody chose', async () => {
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    const { port } = blocker.address() as { port: number };
    await expect(start({ port })).rejects.toThrow('EADDRINUSE');
    await new Promise((resolve) => blocker.close(resolve));
  });

  it('stops taking requests and ends when closed, streams and idle connections included', async () => {
    const { httpUrl } = await start();
    const keptAlive = await fetch(`${httpUrl}/healthz`);
    await keptAlive.text();
    const socket = new WebSocket(`${httpUrl.replace('http', 'ws')}/api/v1/stream`);
    await new Promise((resolve) => socket.addEventListener('open', resolve));
    const closed = new Promise<number>((resolve) =>
      socket.addEventListener('close', ({ code }) => resolve(code)),
    );
    await h.server.close();
    expect(await closed).toBe(1_001);
    await expect(fetch(`${httpUrl}/healthz`)).rejects.toThrow('fetch failed');
  });
});

describe('TLS', () => {
  it('serves the same app and streams under our own certificate', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kr-tls-'));
    const files = await ensureTls({ folder, names: ['localhost'], nowMs: Date.now() });
    const { cert: certificate, key: privateKey, ca } = files;
    const { tlsUrl } = await start({
      tls: { host: '127.0.0.1', port: 0, certificate, privateKey },
    });
    const { port } = new URL(tlsUrl ?? '');
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const sent = httpsRequest({ host: 'localhost', port, path: '/healthz', ca }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      sent.on('error', reject).end();
    });
    expect(status).toBe(200);
    const stream = new SecureSocket(`wss://localhost:${port}/api/v1/stream`, { ca });
    await new Promise((resolve, reject) => stream.on('open', resolve).on('error', reject));
    stream.terminate();
    await rm(folder, { recursive: true });
  });
});

describe('limits', () => {
  it('answers 429 with Retry-After beyond the requests of an address', async () => {
    await start({ requestsPerMinute: { perAddress: 3, perAccount: 100 } });
    for (let n = 0; n < 3; n += 1) {
      expect((await h.app.inject('/nothing-here')).statusCode).toBe(404);
    }
    const answer = await h.app.inject('/nothing-here');
    expect(answer.json()).toMatchObject({ status: 429, code: 'KR_RATE_LIMIT' });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    const other = await h.app.inject({ url: '/healthz', remoteAddress: '192.0.2.7' });
    expect(other.statusCode).toBe(200);
  });

  it('counts an account wherever it calls from', async () => {
    await start({ requestsPerMinute: { perAddress: 100, perAccount: 2 } });
    const who = await signInAll(h);
    const call = (n: number, token = who.viewer) =>
      h.app.inject({
        url: '/api/v1/session',
        headers: bearer(token),
        remoteAddress: `192.0.2.${n}`,
      });
    expect((await call(1)).statusCode).toBe(200);
    expect((await call(2)).statusCode).toBe(200);
    expect((await call(3)).json()).toMatchObject({ code: 'KR_RATE_LIMIT' });
    expect((await call(4, who.operator)).statusCode).toBe(200);
  });

  it('judges addresses by allow and deny, and believes only named proxies', async () => {
    await start({
      allow: ['192.0.2.0/24', '198.51.100.7'],
      deny: ['192.0.2.66'],
      trustedProxies: ['198.51.100.7'],
    });
    const from = (remoteAddress: string, forwarded?: string) =>
      h.app.inject({
        url: '/healthz',
        remoteAddress,
        headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
      });
    expect((await from('192.0.2.1')).statusCode).toBe(200);
    expect((await from('192.0.2.66')).json()).toMatchObject({ status: 403, code: 'KR_ADDRESS' });
    expect((await from('203.0.113.1')).statusCode).toBe(403);
    // A stranger claims to forward for somebody who is allowed.
    expect((await from('203.0.113.1', '192.0.2.1')).statusCode).toBe(403);
    expect((await from('198.51.100.7', '192.0.2.1')).statusCode).toBe(200);
    expect((await from('198.51.100.7', '192.0.2.66')).statusCode).toBe(403);
  });
});

describe('browsers', () => {
  beforeEach(() => start({ publicUrl: 'https://kr.example' }));
  const post = (headers: Record<string, string>) =>
    h.app.inject({
      method: 'POST',
      url: '/api/v1/session',
      payload: { username: 'anna', password },
      headers: { host: 'localhost:8480', ...headers },
    });

  it.each([
    [{ 'sec-fetch-site': 'cross-site' }, 'Sec-Fetch-Site'],
    [{ 'sec-fetch-site': 'same-site' }, 'Sec-Fetch-Site'],
    [{ origin: 'https://evil.example' }, 'Origin'],
    [{ origin: 'null' }, 'Origin'],
  ])('may not change anything from %j', async (headers, field) => {
    const answer = await post(headers);
    expect(answer.json()).toMatchObject({ status: 403, code: 'KR_CROSS_SITE', field });
  });

  it.each([
    { 'sec-fetch-site': 'same-origin', origin: 'http://localhost:8480' },
    { 'sec-fetch-site': 'same-origin', origin: 'https://kr.example' },
    {},
  ] as Record<string, string>[])('may sign in from %j', async (headers) => {
    expect((await post(headers)).json()).toMatchObject({ code: 'KR_CREDENTIALS' });
  });

  it('get strict headers, a page without inline code, and no CORS', async () => {
    const page = await h.app.inject({ url: '/', headers: { origin: 'https://evil.example' } });
    expect(page.statusCode).toBe(200);
    const policy = String(page.headers['content-security-policy']);
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain('unsafe');
    expect(page.headers['x-content-type-options']).toBe('nosniff');
    expect(page.headers).not.toHaveProperty('access-control-allow-origin');
    expect(page.body).not.toMatch(/<script(?![^>]*src=)|<style|\sstyle=|\son\w+=/);
    // Relative, so that it works under any path of a proxy.
    const links = [...page.body.matchAll(/(?:src|href)="([^"]*)"/g)].map((match) => match[1]);
    expect(links).toHaveLength(3);
    for (const url of links) {
      expect(url).toMatch(/^\.\//);
      const answer = await h.app.inject({ url: (url ?? '').slice(1) });
      expect(answer.statusCode).toBe(200);
    }
  });
});

describe('health', () => {
  beforeEach(() => start());

  it('is open to all, and readiness follows the parts', async () => {
    expect((await h.app.inject('/healthz')).json()).toEqual({ status: 'ok' });
    expect((await h.app.inject('/readyz')).statusCode).toBe(200);
    h.readiness.push({ name: 'broker', ok: false });
    const answer = await h.app.inject('/readyz');
    expect(answer.statusCode).toBe(503);
    expect(answer.json()).toEqual({
      isReady: false,
      checks: [
        { name: 'sql', ok: true },
        { name: 'metrics', ok: true },
        { name: 'broker', ok: false },
      ],
    });
  });

  it('shows figures to this machine, and elsewhere to an unrestricted token only', async () => {
    const who = await signInAll(h);
    await addCluster(h.database, h.fleet, 'home');
    h.commands.emit({
      id: h.newId(),
      cluster: 'home',
      kind: 'guest.start',
      state: 'SUCCEEDED',
      atMs: 1,
      reason: null,
    });
    const local = await h.app.inject('/metrics');
    expect(local.headers['content-type']).toContain('text/plain');
    expect(local.body).toContain('kr_ingest_total{figure="telemetry"} 12');
    expect(local.body).toContain('kr_broker{figure="clients"} 3');
    expect(local.body).toContain(
      'kr_command_transitions_total{kind="guest.start",state="SUCCEEDED"} 1',
    );
    const again = await h.app.inject('/metrics');
    expect(again.body).toContain('kr_ingest_total{figure="telemetry"} 12');
    expect(again.body).toMatch(/kr_http_request_duration_seconds_count\{route="\/metrics"/);
    const remote = (token: string | null) =>
      h.app.inject({ url: '/metrics', remoteAddress: '192.0.2.1', headers: bearer(token) });
    expect((await remote(null)).statusCode).toBe(401);
    expect((await remote(who.viewer)).statusCode).toBe(200);
    expect((await remote(who.foreign)).statusCode).toBe(403);
    const proxied = await h.app.inject({
      url: '/metrics',
      headers: { 'x-forwarded-for': '192.0.2.1' },
    });
    expect(proxied.statusCode).toBe(401);
  });
});

describe('runtime.json', () => {
  it('is private, whole, and gone after a clean stop', async () => {
    const { httpUrl, socketPath } = await start();
    const setupToken = h.server.setupToken() ?? '';
    const runtime = { pid: 1, httpUrl, mqttUrl: 'mqtt://127.0.0.1:1883', socketPath };
    const file = join(h.dataDir, 'runtime.json');
    await writeRuntime(h.dataDir, { ...runtime, setupToken });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({ ...runtime, setupToken });
    await writeRuntime(h.dataDir, runtime);
    expect(await readFile(file, 'utf8')).not.toContain(setupToken);
    await removeRuntime(h.dataDir);
    await expect(stat(file)).rejects.toThrow('ENOENT');
  });
});
