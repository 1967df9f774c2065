/**
 * docker-compose.yml and what its one-shots do, without a Docker: what is pinned, who may do what,
 * which settings exist, and that secrets are made once and for all. A real stack is started by
 * test/install/compose.test.ts.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { unknownSettings } from '../../broker/contract/environment.ts';
import { ensureGrafanaToken } from '../../packaging/compose/grafana-token.ts';
import { agent } from '../../packaging/compose/health.ts';
import { makeSecrets } from '../../packaging/compose/secrets.ts';

const root = join(import.meta.dirname, '..', '..');
const text = readFileSync(join(root, 'docker-compose.yml'), 'utf8');
type Service = {
  image: string;
  build?: string;
  user?: string;
  restart?: string;
  read_only?: boolean;
  cap_drop?: string[];
  privileged?: boolean;
  healthcheck?: { test?: string[]; disable?: boolean };
  environment?: Record<string, string>;
  volumes?: string[];
};
const { services, volumes } = parse(text, { merge: true }) as {
  services: Record<string, Service>;
  volumes: Record<string, null>;
};
const all = Object.entries(services);
const oneShots = ['init', 'enrol', 'pve-enrol', 'grafana-token'];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kr-compose-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('docker-compose.yml', () => {
  it('pins every image that is not built here, and so does the Dockerfile', () => {
    const foreign = all.filter(([, { build }]) => build === undefined);
    expect(foreign.map(([name]) => name)).toEqual(['mariadb', 'influxdb', 'grafana']);
    for (const [, { image }] of foreign) expect(image).toMatch(/:\d+\.\d+\.\d+$/);
    const from = readFileSync(join(root, 'Dockerfile'), 'utf8').matchAll(/^FROM (\S+)/gm);
    for (const [, image = ''] of from) expect(image).toMatch(/:\d+\.\d+(\.\d+)?-[a-z-]+$/);
  });

  it('checks the health of whatever stays, and restarts it', () => {
    for (const [name, { healthcheck, restart }] of all) {
      const isOneShot = oneShots.includes(name);
      expect([name, restart]).toEqual([name, isOneShot ? 'no' : 'unless-stopped']);
      // The image of ours checks a backend by itself.
      const isChecked = healthcheck?.test !== undefined || name === 'backend';
      expect([name, isChecked]).toEqual([name, !isOneShot]);
    }
  });

  it('gives our own containers no rights that they do not need', () => {
    const ours = all.filter(([, { build }]) => build !== undefined);
    expect(ours.length).toBeGreaterThan(6);
    for (const [name, service] of ours) {
      expect([name, service.read_only, service.cap_drop]).toEqual([name, true, ['ALL']]);
      expect([name, service.privileged]).toEqual([name, undefined]);
    }
    const asRoot = ours.filter(([, { user }]) => user?.startsWith('0:'));
    expect(asRoot.map(([name]) => name)).toEqual(['init', 'executor', 'grafana-token']);
  });

  it('lets each container see its own secrets alone', () => {
    const mounts = all.flatMap(([name, { volumes: own = [] }]) =>
      own
        .filter((volume) => volume.startsWith('secrets'))
        .map((volume) => [name, volume.split(':')[0]]),
    );
    const readers = mounts.filter(([name]) => !oneShots.includes(name ?? ''));
    expect(readers).toEqual([
      ['mariadb', 'secrets-mariadb'],
      ['influxdb', 'secrets-influxdb'],
      ['backend', 'secrets-backend'],
      ['grafana', 'secrets-grafana'],
    ]);
    expect(mounts.filter(([, volume]) => volume === 'secrets')).toEqual([['init', 'secrets']]);
    expect(text).not.toMatch(/(PASSWORD|TOKEN): /);
  });

  it('sets only settings that exist, and names every variable in .env.example', () => {
    for (const [name, { environment = {} }] of all) {
      expect([name, unknownSettings(environment)]).toEqual([name, []]);
    }
    const used = new Set([...text.matchAll(/\$\{(\w+)/g)].map(([, variable = '']) => variable));
    const example = readFileSync(join(root, '.env.example'), 'utf8');
    const named = new Set([...example.matchAll(/^#(\w+)=/gm)].map(([, variable = '']) => variable));
    // Compose itself reads that one.
    named.delete('COMPOSE_PROFILES');
    expect([...used].toSorted()).toEqual([...named].toSorted());
    expect(example, 'an example that is copied as it is changes nothing').not.toMatch(/^\w+=/m);
  });

  it('declares the volumes that are mounted, and no others', () => {
    const mounted = new Set(
      all
        .flatMap(([, { volumes: own = [] }]) => own.map((volume) => volume.split(':')[0] ?? ''))
        .filter((name) => /^[a-z]/.test(name)),
    );
    expect([...mounted].toSorted()).toEqual(Object.keys(volumes).toSorted());
  });
});

describe('the secrets', () => {
  const files = (): Record<string, string> =>
    Object.fromEntries(
      readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map(({ parentPath, name }) => {
          const path = join(parentPath, name);
          return [path.slice(folder.length + 1), readFileSync(path, 'utf8')];
        }),
    );

  it('are made once, each of its own, and handed to those who need them', () => {
    makeSecrets(folder, undefined);
    const first = files();
    const own = Object.entries(first).filter(([path]) => path.startsWith('all/'));
    expect(own).toHaveLength(6);
    expect(new Set(own.map(([, secret]) => secret)).size).toBe(6);
    for (const [, secret] of own) expect(secret).toMatch(/^[0-9a-f]{64}$/);
    expect(first['backend/sql-url']).toBe(
      `mariadb://kernreaktor:${first['mariadb/password']}@mariadb:3306/kernreaktor`,
    );
    expect(first['backend/influx-token']).toBe(first['influxdb/token']);
    expect(Object.keys(first)).not.toContain('grafana/influx-token');
    expect(statSync(join(folder, 'backend', 'sql-url')).mode & 0o777).toBe(0o400);
    makeSecrets(folder, undefined);
    expect(files()).toEqual(first);
  });

  it('are handed out again where a volume was lost', () => {
    makeSecrets(folder, undefined);
    const first = files();
    rmSync(join(folder, 'mariadb'), { recursive: true });
    makeSecrets(folder, undefined);
    expect(files()).toEqual(first);
  });
});

describe("Grafana's token", () => {
  let server: Server;
  const asked: { path: string; authorization: string; body: string }[] = [];
  let known: string[];
  let url: string;
  beforeEach(async () => {
    asked.length = 0;
    known = ['Token admin'];
    server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        const { url: path = '', method = '' } = request;
        const authorization = request.headers.authorization ?? '';
        asked.push({ path: `${method} ${path}`, authorization, body });
        response.setHeader('content-type', 'application/json');
        const isKnown = known.includes(authorization);
        const answers: Record<string, object> = {
          'GET /api/v2/orgs': { orgs: [{ id: '0a', name: 'kernreaktor' }] },
          'GET /api/v2/buckets': { buckets: [{ id: '0b', name: 'kernreaktor' }] },
          'POST /api/v2/authorizations': { id: '0c', token: 'reads' },
        };
        response.statusCode = isKnown ? 200 : 401;
        const answer = answers[`${method} ${path.split('?')[0]}`];
        response.end(JSON.stringify(isKnown ? answer : { code: 'unauthorized', message: 'no' }));
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(() => new Promise((done) => server.close(done)));

  it('is asked for once, may only read, and is made anew when InfluxDB forgot it', async () => {
    const file = join(folder, 'influx-token');
    const order = { url, org: 'kernreaktor', adminToken: 'admin', file };
    expect(await ensureGrafanaToken(order)).toBe(true);
    expect(readFileSync(file, 'utf8')).toBe('reads');
    const made = asked.find(({ path }) => path.startsWith('POST'));
    expect(JSON.parse(made?.body ?? '')).toMatchObject({
      orgID: '0a',
      permissions: [{ action: 'read', resource: { type: 'buckets', orgID: '0a' } }],
    });
    known.push('Token reads');
    expect(await ensureGrafanaToken(order)).toBe(false);
    known.pop();
    expect(await ensureGrafanaToken(order)).toBe(true);
  });
});

describe('the health of an agent', () => {
  it('is the connection that its process holds, not one that another has', async () => {
    mkdirSync(join(folder, '1', 'fd'), { recursive: true });
    mkdirSync(join(folder, '1', 'net'));
    const row = (state: string, inode: number): string =>
      `   0: 0100007F:22B3 0100007F:C350 ${state} 00000000:00000000 00:00000000 00000000  8480        0 ${inode} 1 0 20 4 30 10 -1`;
    const head = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt';
    writeFileSync(join(folder, '1', 'net', 'tcp6'), `${head}\n`);
    const show = (...rows: string[]) =>
      writeFileSync(join(folder, '1', 'net', 'tcp'), `${[head, ...rows].join('\n')}\n`);
    symlinkSync('socket:[77]', join(folder, '1', 'fd', '20'));
    symlinkSync('/dev/null', join(folder, '1', 'fd', '0'));
    show(row('01', 78));
    expect(await agent(folder)).toBe('no connection to the server');
    show(row('02', 77));
    expect(await agent(folder)).toBe('no connection to the server');
    show(row('01', 78), row('01', 77));
    expect(await agent(folder)).toBeNull();
    // C350 is the server's port; any other is some API that is asked.
    expect(await agent(folder, 'mqtts://127.0.0.1:50000')).toBeNull();
    expect(await agent(folder, 'mqtts://127.0.0.1:8883')).toBe('no connection to the server');
  });
});
