import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  DaemonConfigError,
  readDaemonConfig,
  readExecutorConfig,
  readLocalDaemonConfig,
} from '../../daemon/config.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-config-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const secret = 'a1'.repeat(32);

function read(
  environment: Record<string, string | undefined> = {},
  hostName = 'PVE1.lan',
  pvesh = join(folder, 'no-pvesh'),
) {
  const base = { KR_MQTT_URL: 'mqtts://kr.lan:8883', KR_CLUSTER: 'home', KR_DATA_DIR: folder };
  const sources = { environment: { ...base, ...environment }, hostName };
  return readDaemonConfig({ ...sources, systemFolder: join(folder, 'etc'), pvesh });
}

function problemsOf(run: () => unknown): Record<string, string> {
  try {
    run();
  } catch (error) {
    if (!(error instanceof DaemonConfigError)) throw error;
    return Object.fromEntries(error.problems.map(({ field, hint }) => [field, hint]));
  }
  throw new Error('was accepted');
}

describe('daemon settings', () => {
  it('need little: the broker, the cluster and, the first time, a token', () => {
    expect(read({ KR_ENROL_TOKEN: `${secret}.${'b2'.repeat(32)}` })).toEqual({
      mqttUrl: 'mqtts://kr.lan:8883',
      cluster: 'home',
      node: 'pve1',
      enrolment: { secret, caSha256: 'b2'.repeat(32) },
      dataDir: folder,
      intervalMs: 5_000,
      logLevel: 'info',
      hypervisor: 'host',
      script: null,
      etcDir: join(folder, 'etc'),
      executorSocket: '/run/kernreaktor/executor.sock',
    });
    expect(read({ KR_ENROL_TOKEN: secret }).enrolment).toEqual({ secret, caSha256: null });
  });

  it('make an id of any host name, unless one is given', () => {
    expect(read({}, 'My_Server').node).toBe('my-server');
    expect(read({ KR_NODE: 'nas' }, 'x').node).toBe('nas');
  });

  it('come from files as well, without the line end an editor leaves', async () => {
    const path = join(folder, 'token');
    await writeFile(path, `${secret}\n`);
    expect(read({ KR_ENROL_TOKEN_FILE: path }).enrolment?.secret).toBe(secret);
  });

  it('list every problem at once, each with its field and the way out', () => {
    const environment = {
      KR_MQTT_URL: 'http://kr.lan',
      KR_CLUSTER: 'sys',
      KR_NODE: 'Not An Id',
      KR_ENROL_TOKEN: 'short',
      KR_SAMPLE_INTERVAL_MS: '10',
      KR_LOG_LEVEL: 'loud',
    };
    expect(problemsOf(() => read(environment))).toEqual({
      KR_MQTT_URL: 'name the broker, for example mqtts://server.example:8883',
      KR_CLUSTER: 'server, daemons and sys are reserved',
      KR_NODE: expect.stringContaining('lower-case letters'),
      KR_ENROL_TOKEN: expect.stringContaining('copy the whole token'),
      KR_SAMPLE_INTERVAL_MS: 'use whole milliseconds from 250 to 300000',
      KR_LOG_LEVEL: 'use debug, info, warn, error or silent',
    });
    expect(problemsOf(() => readDaemonConfig({ environment: {}, hostName: 'a' }))).toEqual({
      KR_MQTT_URL: expect.stringContaining('name the broker'),
      KR_CLUSTER: 'name the cluster this host belongs to',
    });
  });

  it.each([
    ['KR_NODE', { KR_NODE: 'a', KR_NODE_FILE: '/x' }, 'not both'],
    ['KR_CLUSTER_FILE', { KR_CLUSTER: '', KR_CLUSTER_FILE: '/nowhere/x' }, 'cannot be read'],
    ['KR_SAMPLE_INTERVAL_MS', { KR_SAMPLE_INTERVAL_MS: '5s' }, 'whole milliseconds'],
    ['KR_SAMPLE_INTERVAL_MS', { KR_SAMPLE_INTERVAL_MS: '999.5' }, 'whole milliseconds'],
    ['KR_ENROL_TOKEN', { KR_ENROL_TOKEN: `${secret}.ff` }, 'a dot and 64 more'],
  ])('name %s in %o', (field, environment, hint) => {
    expect(problemsOf(() => read(environment))[field]).toContain(hint);
  });
});

describe('daemon.yaml', () => {
  const write = (text: string): Promise<void> => writeFile(join(folder, 'daemon.yaml'), text);

  it('names the programs of the script hypervisor', async () => {
    await write('script:\n  guests: /opt/kr/guests\n  actions: {guest.stop: /opt/kr/stop}\n');
    expect(read().script).toEqual({
      guests: '/opt/kr/guests',
      actions: { 'guest.stop': '/opt/kr/stop' },
      queryTimeoutMs: 10_000,
      stopWithinMs: 5_000,
    });
  });

  it('names the ways to wake each node, and looks at the files with passwords', async () => {
    const passwordFile = join(folder, 'bmc-password');
    const bmc = `{kind: ipmi, host: 10.0.0.5, user: kr, passwordFile: ${passwordFile}}`;
    await write(`wakers:\n  pve2:\n    - ${bmc}\n    - {kind: wol}\n`);
    expect(problemsOf(() => read())).toEqual({
      'wakers.pve2': expect.stringContaining(`${passwordFile}: cannot be read (ENOENT)`),
    });
    await writeFile(passwordFile, 'secret\n', { mode: 0o644 });
    expect(problemsOf(() => read())['wakers.pve2']).toContain(`chmod 600 ${passwordFile}`);
    await chmod(passwordFile, 0o600);
    const program = '/usr/bin/ipmitool';
    expect(read().wakers).toEqual({
      pve2: [
        { kind: 'ipmi', host: '10.0.0.5', port: 623, user: 'kr', passwordFile, program },
        { kind: 'wol' },
      ],
    });
  });

  it('names the hypervisor, which is found by its tools when nobody does', async () => {
    const pvesh = join(folder, 'pvesh');
    expect(read().hypervisor).toBe('host');
    await writeFile(pvesh, '');
    expect(read({}, 'a', pvesh).hypervisor).toBe('proxmox');
    await write('hypervisor: host\n');
    expect(read({}, 'a', pvesh).hypervisor).toBe('host');
    await write('hypervisor: proxmox\n');
    expect(read().hypervisor).toBe('proxmox');
    await write('script: {guests: /g}\n');
    expect(read({}, 'a', pvesh).hypervisor).toBe('script');
  });

  it.each([
    ['hypervisor: script\n', 'name the programs'],
    ['hypervisor: proxmox\nscript: {guests: /g}\n', 'remove the script block'],
    ['hypervisor: host\nlxd: {socket: /s}\n', 'remove the lxd block'],
  ])('contradicts itself in %j', async (text, hint) => {
    await write(text);
    expect(problemsOf(() => read())['hypervisor']).toContain(hint);
  });

  it('says where LXD is: by its socket, or from afar with a certificate', async () => {
    await write('lxd: {socket: /run/lxd.socket}\n');
    expect(read()).toMatchObject({ hypervisor: 'lxd', lxd: { socket: '/run/lxd.socket' } });
    const keys = 'certificateFile: /c, keyFile: /k';
    await write(`lxd: {url: "https://box:8443", ${keys}, fingerprint: ${'ab'.repeat(32)}}\n`);
    expect(read().lxd).toMatchObject({ url: 'https://box:8443', fingerprint: 'ab'.repeat(32) });
    await write(`lxd: {url: "http://box:8443", ${keys}}\n`);
    expect(Object.values(problemsOf(() => read()))).toEqual(['use https://<host>:8443']);
    await write('lxd: {}\n');
    expect(Object.values(problemsOf(() => read()))[0]).toContain('write socket, or url with');
  });

  it('may be empty', async () => {
    await write('# nothing yet\n');
    expect(read().script).toBeNull();
  });

  it.each([
    ['script:\n  guests: guests.sh\n', 'daemon.yaml:2:11 script.guests', 'absolute path'],
    ['script: {}\n', 'daemon.yaml:1:1 script.guests', 'is missing: write a text'],
    ['script:\n  guests: /g\n  actions: {guest.fly: /f}\n', 'script.actions', 'guest.fly'],
    ['script:\n  guests: /g\n  colour: red\n', 'daemon.yaml:2:3 script', 'colour'],
    ['wakers:\n  pve2: []\n', 'daemon.yaml:2:9 wakers.pve2', 'at least one'],
    ['wakers:\n  pve2: [{kind: wol}, {kind: wol}]\n', 'wakers.pve2', 'each kind once'],
    ['wakers:\n  P: [{kind: wol}]\n', 'wakers', 'lower-case'],
    ['wakers:\n  a: [{kind: ipmi, host: -x, user: u, passwordFile: /p}]\n', '0.host', 'host name'],
    ['wakers:\n  a: [{kind: plug, url: mqtt://b, topic: "x/#"}]\n', '0.topic', 'without + and #'],
    ['wakers:\n  a: [{kind: fax}]\n', 'wakers.a.0', 'use wol, ipmi, redfish, plug or script'],
    [
      'hypervisor: xen\n',
      'daemon.yaml:1:13 hypervisor',
      'use proxmox, proxmox-api, lxd, script or host',
    ],
    ['script: [unclosed\n', 'daemon.yaml:2:1', ''],
    ['script:\n  guests: /g\n  queryTimeoutMs: 1\n', 'daemon.yaml:3:19', '100'],
  ])('points at the place of a problem in %j', async (text, field, hint) => {
    await write(text);
    const problems = Object.entries(problemsOf(() => read())).map(([at, why]) => `${at}: ${why}`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(field);
    expect(problems[0]).toContain(hint);
  });
});

describe('the two halves', () => {
  const environment = { KR_CLUSTER: 'home', KR_DATA_DIR: '', KR_EXECUTOR_SOCKET: '/run/x.sock' };

  it('read one file: the executor needs no server, and no token is looked at', () => {
    const given = { ...environment, KR_DATA_DIR: folder, KR_ENROL_TOKEN_FILE: '/nowhere' };
    const systemFolder = join(folder, 'etc');
    const config = readExecutorConfig({ environment: given, hostName: 'n1', systemFolder });
    expect(config).toMatchObject({ cluster: 'home', node: 'n1', executorSocket: '/run/x.sock' });
    expect(config).not.toHaveProperty('mqttUrl');
    expect(problemsOf(() => readExecutorConfig({ environment: { KR_DATA_DIR: folder } }))).toEqual({
      KR_CLUSTER: expect.stringContaining('name the cluster'),
    });
    expect(problemsOf(() => read({ KR_EXECUTOR_SOCKET: 'run/x' }))).toEqual({
      KR_EXECUTOR_SOCKET: 'write an absolute path',
    });
  });

  it('look only at the passwords that they use themselves', async () => {
    const way = (kind: string, more: string) =>
      `{kind: ${kind}, user: u, passwordFile: ${folder}/${kind}, ${more}}`;
    await writeFile(
      join(folder, 'daemon.yaml'),
      `wakers: {n2: [${way('ipmi', 'host: bmc')}, ${way('redfish', 'url: "https://bmc"')}]}\n`,
    );
    await writeFile(join(folder, 'ipmi'), 'p\n', { mode: 0o600 });
    const sources = { hostName: 'n1', systemFolder: folder };
    const given = { ...environment, KR_DATA_DIR: folder };
    expect(readExecutorConfig({ ...sources, environment: given }).node).toBe('n1');
    const agent = { ...sources, environment: { ...given, KR_MQTT_URL: 'mqtt://b' } };
    const problems = problemsOf(() => readDaemonConfig({ ...agent, role: 'agent' }));
    expect(problems['wakers.n2']).toContain(`${folder}/redfish`);
  });
});

describe('Proxmox VE by its API', () => {
  const token = {
    KR_PVE_TOKEN_ID: 'kr@pve!kernreaktor',
    KR_PVE_TOKEN_SECRET: '0f0f0f0f-1111-2222-3333-444444444444',
  };
  const urls = 'https://pve1.lan:8006/, https://pve2.lan:8006';

  it('is chosen by its URLs, with a pin for each or an authority', () => {
    const pins = ['AB', 'cd'].map((pair) => Array.from({ length: 32 }, () => pair).join(':'));
    const pinned = read({ ...token, KR_PVE_URLS: urls, KR_PVE_FINGERPRINT: pins.join(',') });
    expect(pinned).toMatchObject({
      hypervisor: 'proxmox-api',
      pveApi: {
        urls: ['https://pve1.lan:8006', 'https://pve2.lan:8006'],
        tokenId: 'kr@pve!kernreaktor',
        fingerprints: ['ab'.repeat(32), 'cd'.repeat(32)],
        ca: null,
      },
    });
    const ca = '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----';
    expect(read({ ...token, KR_PVE_URLS: urls, KR_PVE_CA: ca }).pveApi).toMatchObject({ ca });
  });

  it('reads the secret from a file, and what the administrator declares of nodes', async () => {
    const path = join(folder, 'token');
    await writeFile(path, `${token.KR_PVE_TOKEN_SECRET}\n`);
    const yaml = 'proxmox:\n  nodes:\n    tower: {roles: [], wakeOnMagic: true}\n';
    await writeFile(join(folder, 'daemon.yaml'), yaml);
    const { KR_PVE_TOKEN_ID } = token;
    const file = { KR_PVE_TOKEN_ID, KR_PVE_URLS: urls, KR_PVE_TOKEN_SECRET_FILE: path };
    expect(read(file)).toMatchObject({
      pveApi: { tokenSecret: token.KR_PVE_TOKEN_SECRET },
      proxmox: { nodes: { tower: { roles: [], wakeOnMagic: true, nothingElseAtWork: false } } },
    });
  });

  it.each([
    ['KR_PVE_URLS', { KR_PVE_URLS: 'http://pve1.lan:8006' }, 'https://pve1.lan:8006'],
    ['KR_PVE_TOKEN_ID', { KR_PVE_TOKEN_ID: 'root@pam' }, 'user@realm!token'],
    ['KR_PVE_TOKEN_SECRET', { KR_PVE_TOKEN_SECRET: 'secret' }, 'pveum user token add'],
    ['KR_PVE_TOKEN_SECRET', { KR_PVE_TOKEN_SECRET: '' }, 'KR_PVE_TOKEN_SECRET_FILE'],
    ['KR_PVE_FINGERPRINT', { KR_PVE_FINGERPRINT: 'ab'.repeat(32) }, 'each of the 2 URLs'],
    ['KR_PVE_FINGERPRINT', { KR_PVE_FINGERPRINT: 'ab' }, 'pvenode cert info'],
    ['KR_PVE_CA', { KR_PVE_CA: '/etc/pve/pve-root-ca.pem' }, 'KR_PVE_CA_FILE'],
  ])('names %s and the way out', (field, wrong, hint) => {
    const problems = problemsOf(() => read({ ...token, KR_PVE_URLS: urls, ...wrong }));
    expect(problems[field]).toContain(hint);
  });

  it('runs as one process, since an executor of its own has no network', () => {
    const environment = { KR_CLUSTER: 'home', KR_DATA_DIR: folder, ...token, KR_PVE_URLS: urls };
    const problems = problemsOf(() => readExecutorConfig({ environment, systemFolder: folder }));
    expect(problems).toMatchObject({ hypervisor: expect.stringContaining('one process') });
  });

  it('enters the host from a container when told to, and only for its own tools', async () => {
    expect(read({ KR_PVE_NSENTER: '1' })).not.toHaveProperty('isInContainer');
    await writeFile(join(folder, 'daemon.yaml'), 'hypervisor: proxmox\n');
    expect(read({ KR_PVE_NSENTER: '1' })).toMatchObject({ isInContainer: true });
    expect(read()).not.toHaveProperty('isInContainer');
  });
});

describe('the daemon inside npm start', () => {
  const local = (environment: Record<string, string> = {}) =>
    readLocalDaemonConfig(
      { mqttUrl: 'mqtt://127.0.0.1:1883', cluster: 'local', dataDir: folder, intervalMs: 5_000 },
      {
        environment,
        hostName: 'Box.lan',
        systemFolder: join(folder, 'etc'),
        pvesh: join(folder, 'no-pvesh'),
      },
    );

  it('only observes without a daemon.yaml, whatever the server is told', () => {
    const { config, isNamed } = local({ KR_CLUSTER: 'other', KR_NODE: 'other', KR_MQTT_URL: 'x' });
    expect(isNamed).toBe(false);
    expect(config).toMatchObject({ cluster: 'local', node: 'box', hypervisor: 'host' });
  });

  it('takes programs and wakers from daemon.yaml, as every other daemon', async () => {
    const yaml = 'script: {guests: /opt/guests}\nwakers: {big: [{kind: wol}]}\n';
    await writeFile(join(folder, 'daemon.yaml'), yaml);
    const { config, isNamed } = local();
    expect(isNamed).toBe(true);
    expect(config).toMatchObject({
      hypervisor: 'script',
      script: { guests: '/opt/guests' },
      wakers: { big: [{ kind: 'wol' }] },
    });
  });

  it('names what is wrong in daemon.yaml', async () => {
    await writeFile(join(folder, 'daemon.yaml'), 'wakers: {big: []}\n');
    expect(Object.keys(problemsOf(local)).join()).toMatch(/daemon\.yaml:1:\d+ wakers\.big/);
  });
});
