/**
 * Mistakes that people make, planted one by one in an otherwise healthy installation
 * with a real MariaDB and a real Mosquitto: the doctor names each, with the very line that mends it.
 */
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer as createHttp } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureTls } from '../../../broker/tls.ts';
import { textOf, type Finding } from '../../../backend/doctor/finding.ts';
import { examineFleet, type HouseSeen, type NodeSeen } from '../../../backend/doctor/fleet.ts';
import { examineAll } from '../../../backend/doctor/run.ts';
import { realClock } from '../../broker/wire.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { freePort, type Server, startMariadb, startMosquitto } from '../../support/servers.ts';

let mariadb: Server;
let mosquitto: Server;
let folder: string;
let closed: number;
const random = seededRandom(5);
const newId = idsOf(virtualClock(), random);
const parts = { clock: realClock, random, newId, log: memoryLog() };

beforeAll(async () => {
  mariadb = await startMariadb();
  mosquitto = await startMosquitto(['allow_anonymous false', 'password_file %FOLDER%/users'], {
    users: '',
  });
  closed = await freePort();
  folder = await mkdtemp(join(tmpdir(), 'kr-doctor-'));
});
afterAll(async () => {
  await mariadb.stop();
  await mosquitto.stop();
  await rm(folder, { recursive: true });
});

type Environment = Record<string, string>;
let count = 0;

/** A data folder of its own, and ports that nobody has. */
async function healthy(): Promise<Environment> {
  count += 1;
  const dataDir = join(folder, `data-${count}`);
  await mkdir(join(dataDir, 'keys'), { recursive: true, mode: 0o700 });
  return { KR_DATA_DIR: dataDir, KR_HTTP_PORT: '0', KR_MQTT_PORT: '0' };
}

const wrongOf = (findings: readonly Finding[]) => findings.filter(({ state }) => state === 'wrong');

type Planted = { what: string; plant: (env: Environment) => Promise<Environment>; fix: RegExp };

async function tlsFiles(env: Environment, nowMs: number) {
  const tls = join(env['KR_DATA_DIR'] ?? '', 'given');
  const made = await ensureTls({ folder: tls, names: ['kr.example'], nowMs });
  const [KR_TLS_CERT, KR_TLS_KEY] = [join(tls, 'given.crt'), join(tls, 'given.key')];
  await writeFile(KR_TLS_CERT, made.cert);
  await writeFile(KR_TLS_KEY, made.key);
  return { KR_TLS_HOST: '127.0.0.1', KR_TLS_CERT, KR_TLS_KEY };
}

const sqlUrl = (change: (url: URL) => void): string => {
  const url = new URL(mariadb.url);
  change(url);
  return url.href;
};

const planted: Planted[] = [
  {
    what: 'a slip in the name of a setting',
    plant: async (env) => ({ ...env, KR_HTP_HOST: '0.0.0.0' }),
    fix: /^unset KR_HTP_HOST/,
  },
  {
    what: 'plain MQTT opened to the network',
    plant: async (env) => ({ ...env, KR_MQTT_HOST: '0.0.0.0' }),
    fix: /^KR_MQTT_HOST=\.\.\. .*KR_TLS_MQTT_PORT/,
  },
  {
    what: 'an InfluxDB without its token',
    plant: async (env) => ({ ...env, KR_INFLUX_URL: 'http://127.0.0.1:8086' }),
    fix: /^KR_INFLUX_TOKEN=/,
  },
  {
    what: 'a data folder that is none',
    plant: async (env) => {
      const file = join(folder, `file-${count}`);
      await writeFile(file, '');
      return { ...env, KR_DATA_DIR: join(file, 'data') };
    },
    fix: /^install -d -m 700 /,
  },
  {
    what: 'a key that others can read',
    plant: async (env) => {
      const key = join(env['KR_DATA_DIR'] ?? '', 'keys', 'server-1.pem');
      await writeFile(key, 'secret');
      await chmod(key, 0o644);
      return env;
    },
    fix: /^chmod 600 .*server-1\.pem$/,
  },
  {
    what: 'a mistake in kernreaktor.yaml',
    plant: async (env) => {
      const path = join(env['KR_DATA_DIR'] ?? '', 'kernreaktor.yaml');
      await writeFile(path, 'clusters:\n  home:\n    autonomy: {default: alone}\n');
      return env;
    },
    fix: /^\$EDITOR \+3 /,
  },
  {
    what: 'a certificate that has ended',
    plant: async (env) => ({
      ...env,
      ...(await tlsFiles(env, Date.now() - 500 * 86_400_000)),
    }),
    fix: /^renew .*given\.crt/,
  },
  {
    what: 'the key of another certificate',
    plant: async (env) => {
      const files = await tlsFiles(env, Date.now());
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      await writeFile(files.KR_TLS_KEY, privateKey.export({ type: 'pkcs8', format: 'pem' }));
      return { ...env, ...files };
    },
    fix: /^openssl x509 .*must be equal/,
  },
  {
    what: 'a port that another program has',
    plant: async (env) => ({ ...env, KR_HTTP_PORT: String(mariadb.port) }),
    fix: /^ss -tlnp 'sport = :\d+'/,
  },
  {
    what: 'a MariaDB on another port',
    plant: async (env) => ({
      ...env,
      KR_SQL_URL: sqlUrl((url) => (url.port = String(closed))),
    }),
    fix: /^systemctl status mariadb/,
  },
  {
    what: 'a wrong password for MariaDB',
    plant: async (env) => ({ ...env, KR_SQL_URL: sqlUrl((url) => (url.password = 'wrong')) }),
    fix: /^mariadb -e "ALTER USER 'kr'/,
  },
  {
    what: 'a database without rights, or that is not there',
    plant: async (env) => ({ ...env, KR_SQL_URL: sqlUrl((url) => (url.pathname = '/other')) }),
    fix: /^mariadb -e "(GRANT ALL ON other|CREATE DATABASE other)/,
  },
  {
    what: 'an InfluxDB that is not there',
    plant: async (env) => ({
      ...env,
      KR_INFLUX_URL: `http://127.0.0.1:${closed}`,
      KR_INFLUX_TOKEN: 't',
    }),
    fix: /^curl -s http.*\/health/,
  },
  {
    what: 'a broker that is not there',
    plant: async (env) => ({
      ...env,
      KR_MQTT_URL: `mqtt://127.0.0.1:${closed}`,
      KR_MQTT_PASSWORD: 'p',
    }),
    fix: /^systemctl status mosquitto/,
  },
  {
    what: 'a broker that does not know the server',
    plant: async (env) => ({ ...env, KR_MQTT_URL: mosquitto.url, KR_MQTT_PASSWORD: 'p' }),
    fix: /^kernreaktor broker acl /,
  },
];

describe('on the machine of the server', () => {
  it('finds nothing wrong where nothing is', async () => {
    const findings = await examineAll(parts, { ...(await healthy()), KR_SQL_URL: mariadb.url });
    expect(wrongOf(findings)).toEqual([]);
    expect(textOf(findings)).toContain('nothing is wrong');
  });

  it.each(planted)('names $what, and the line that mends it', async ({ plant, fix }) => {
    const findings = await examineAll(parts, await plant(await healthy()));
    const lines = wrongOf(findings).flatMap((finding) => finding.fix);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(fix);
    expect(textOf(findings)).toContain('WRONG');
  });

  it('names a clock that is hours away from that of MariaDB', async () => {
    const clock = { ...realClock, wallMs: () => Date.now() + 7_200_000 };
    const env = { ...(await healthy()), KR_SQL_URL: mariadb.url };
    const found = wrongOf(await examineAll({ ...parts, clock }, env));
    expect(found.map(({ check }) => check)).toEqual(['clock']);
    expect(found[0]?.fix[0]).toMatch(/^timedatectl set-ntp true/);
  });

  it('names a token that InfluxDB does not know', async () => {
    const server = createHttp((request, response) => {
      response.writeHead(request.url === '/health' ? 200 : 401).end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const influx = { KR_INFLUX_URL: `http://127.0.0.1:${port}`, KR_INFLUX_TOKEN: 'stale' };
    const found = wrongOf(await examineAll(parts, { ...(await healthy()), ...influx }));
    server.closeAllConnections();
    server.close();
    expect(found.flatMap(({ fix }) => fix)[0]).toMatch(/^influx auth create/);
  });

  it('tells no secret, whatever it finds', async () => {
    const env = await healthy();
    const url = sqlUrl((one) => (one.password = 'hunter2hunter2'));
    const told = textOf(await examineAll(parts, { ...env, KR_SQL_URL: url }));
    expect(told).not.toContain('hunter2hunter2');
  });
});

const node = (more: Partial<NodeSeen> = {}): NodeSeen => ({
  cluster: 'home',
  id: 'pve2',
  state: 'awake',
  online: true,
  protected: false,
  simulated: false,
  localHold: false,
  clockOffsetMs: 12,
  links: [
    { name: 'eno1', mac: '02:00:00:00:00:01', broadcast: '192.168.1.255', wakeOnMagic: true },
  ],
  ways: [{ executor: 'pve1', by: 'wol' }],
  isProven: true,
  canSleep: true,
  ...more,
});
const house = (more: Partial<HouseSeen> = {}): HouseSeen => ({
  holds: [],
  unready: [],
  unknownParts: [],
  backupProblem: null,
  newestBackupAgeMs: 60_000,
  nodes: [node()],
  ...more,
});
const card = { name: 'eno1', mac: '02:00:00:00:00:01', broadcast: null, wakeOnMagic: false };

describe('in the house', () => {
  it('finds nothing wrong where nothing is', () => {
    expect(examineFleet(house()).every(({ state }) => state === 'fine')).toBe(true);
  });

  it.each([
    ['Wake-on-LAN switched off', { nodes: [node({ links: [card] })] }, /^ethtool -s eno1 wol g/],
    ['a node alone in its VLAN', { nodes: [node({ ways: [] })] }, /^kernreaktor enrol home /],
    ['a node without a card', { nodes: [node({ links: [] })] }, /^ip -br link/],
    ['a clock that is off', { nodes: [node({ clockOffsetMs: -5_000 })] }, /^timedatectl set-ntp/],
    ['a lost daemon', { nodes: [node({ state: 'lost' })] }, /^systemctl status kernreaktor-agent/],
    ['an own house nobody knows', { unknownParts: ['backend'] }, /^KR_OWN_HOUSE=/],
    ['backups that fail', { backupProblem: 'no room' }, /^KR_BACKUP_DIR=/],
  ] as const)('names %s, and the line that mends it', (_what, more, fix) => {
    const lines = wrongOf(examineFleet(house(more))).flatMap((finding) => finding.fix);
    expect(lines[0]).toMatch(fix);
  });

  it('only notes what somebody may have wanted', () => {
    const notes = examineFleet(
      house({ holds: ['home'], nodes: [node({ isProven: false, localHold: true })] }),
    );
    expect(wrongOf(notes)).toEqual([]);
    const fixes = notes.flatMap(({ fix }) => fix);
    expect(fixes).toContain('kernreaktor hold home --release');
    expect(fixes).toContain('kernreaktor prove-wake home/pve2');
  });
});
