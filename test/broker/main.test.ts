import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectServerLink } from '../../broker/server-link.ts';
import { BrokerConfigError, readBrokerConfig } from '../../broker/config.ts';
import {
  type DirectoryFile,
  directoryWriter,
  fileDirectory,
  writeDirectory,
} from '../../broker/file-directory.ts';
import { startBrokerProcess } from '../../broker/main.ts';
import type { Incoming } from '../../broker/port.ts';
import { seededRandom, virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { until } from '../support/servers.ts';
import { hashOf, publishPacket, realClock, secretOf, session } from './wire.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-broker-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const daemon = (id: string, secret = secretOf(`home/${id}`)) => ({
  cluster: 'home',
  daemon: id,
  simulated: false,
  nodes: [id],
  secretHashes: [hashOf(secret)],
});
const content = (...daemons: DirectoryFile['daemons']): DirectoryFile => ({
  server: { username: 'kernreaktor-server', secretHash: hashOf('server secret') },
  daemons,
});

describe('the file of the directory', () => {
  it('is whole and the newest, however quickly one change follows another', async () => {
    const path = join(folder, 'broker', 'directory.json');
    const write = directoryWriter(path);
    const changes = Array.from({ length: 40 }, (_, index) => content(daemon(`pve${index}`)));
    await Promise.all(changes.map((change) => write(change)));
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual(changes[39]);
    await expect(directoryWriter(join(path, 'below'))(content())).rejects.toThrow(/EEXIST|ENOTDIR/);
  });
});

describe('readBrokerConfig', () => {
  it('has defaults on loopback without TLS', () => {
    const config = readBrokerConfig({ KR_DATA_DIR: '/data' });
    expect(config).toEqual({
      directoryFile: '/data/broker/directory.json',
      tlsFolder: '/data/tls',
      tcp: { host: '127.0.0.1', port: 1883 },
      tls: undefined,
      tlsFiles: undefined,
      tlsNames: [],
      wsPort: undefined,
    });
  });

  it('takes further names for its certificate', () => {
    const { tlsNames } = readBrokerConfig({ KR_TLS_NAMES: 'kr.example, 192.0.2.7,' });
    expect(tlsNames).toEqual(['kr.example', '192.0.2.7']);
  });

  it.each([
    ['KR_MQTT_PORT', '70000', /65535/],
    ['KR_MQTT_PORT', 'http', /port/],
    ['KR_MQTT_HOST', '0.0.0.0', /KR_TLS_HOST/],
    ['KR_TLS_CERT', 'a.crt', /together/],
  ])('refuses %s=%s and says what to do', (name, value, hint) => {
    const read = () => readBrokerConfig({ [name]: value });
    expect(read).toThrow(BrokerConfigError);
    expect(read).toThrow(hint);
    expect(read).toThrow(new RegExp(name));
  });
});

describe('file directory', () => {
  const path = () => join(folder, 'broker', 'directory.json');
  async function directoryOf(file: DirectoryFile) {
    await writeDirectory(path(), file);
    const clock = virtualClock();
    const revoked: string[] = [];
    const log = memoryLog();
    const onRevoked = (id: string) => revoked.push(id);
    const directory = await fileDirectory({ path: path(), clock, log, onRevoked });
    return { directory, clock, revoked, log };
  }
  /** Lets the poll see the file until it took effect. */
  const polled = (clock: ReturnType<typeof virtualClock>, check: () => boolean) =>
    until(async () => {
      await clock.advance(1_000);
      return check();
    });

  it('knows secrets by hash and answers ownership', async () => {
    const { directory } = await directoryOf(content(daemon('pve1')));
    const right = Buffer.from(secretOf('home/pve1'));
    const owner = await directory.authenticate('home/pve1', right);
    expect(owner).toMatchObject({ cluster: 'home', daemon: 'pve1', enrolling: false });
    expect(owner?.nodes).toEqual(new Set(['pve1']));
    expect(directory.ownership('home/pve1')).toBe(owner);
    expect(await directory.authenticate('home/pve1', Buffer.from('x'))).toBeUndefined();
    expect(await directory.authenticate('home/pve2', right)).toBeUndefined();
    expect((await stat(path())).mode & 0o777).toBe(0o600);
  });

  it('reads a change, and names whose credential is gone, not who merely rotates', async () => {
    const { directory, clock, revoked } = await directoryOf(
      content(daemon('pve1'), daemon('pve2'), daemon('pve3')),
    );
    const rotating = daemon('pve2');
    rotating.secretHashes.push(hashOf('new'));
    await writeDirectory(path(), content(daemon('pve1', 'other'), rotating));
    await polled(clock, () => revoked.length > 0);
    expect(revoked.toSorted()).toEqual(['home/pve1', 'home/pve3']);
    expect(directory.ownership('home/pve3')).toBeUndefined();
    expect(await directory.authenticate('home/pve2', Buffer.from('new'))).toBeDefined();
  });

  it('keeps the last good file when the next one is broken, and says so', async () => {
    const { directory, clock, log } = await directoryOf(content(daemon('pve1')));
    await writeFile(path(), '{"server":');
    await polled(clock, () => log.lines.some(({ level }) => level === 'warn'));
    expect(directory.ownership('home/pve1')).toBeDefined();
    directory.stop();
    expect(clock.pending()).toBe(0);
  });

  it('refuses to start without a file or with a wrong one, naming the field', async () => {
    const options = { clock: virtualClock(), log: memoryLog(), onRevoked: () => undefined };
    const read = () => fileDirectory({ ...options, path: path() });
    await expect(read()).rejects.toMatchObject({ code: 'KR_DIRECTORY_FILE' });
    await writeDirectory(path(), content({ ...daemon('pve1'), secretHashes: ['abc'] }));
    await expect(read()).rejects.toThrow(/daemons\.0\.secretHashes\.0: use the SHA-256/);
  });
});

describe('broker process', () => {
  it('joins a backend in another process with its daemons, and drops a revoked one', async () => {
    const config = readBrokerConfig({
      KR_DATA_DIR: folder,
      KR_MQTT_PORT: '0',
      KR_TLS_HOST: '127.0.0.1',
      KR_TLS_MQTT_PORT: '0',
      KR_MQTT_WS_PORT: '0',
    });
    await writeDirectory(config.directoryFile, content(daemon('pve1'), daemon('pve2')));
    const log = memoryLog();
    const started = await startBrokerProcess(config, { clock: realClock, log });
    const link = await connectServerLink({
      url: started.urls.tlsUrl ?? '',
      fingerprintSha256: started.caFingerprint ?? '',
      clientId: 'kernreaktor-server',
      username: 'kernreaktor-server',
      password: 'server secret',
      clock: realClock,
      random: seededRandom(1),
      log,
    });
    try {
      const heard: Incoming[] = [];
      link.onMessage((incoming) => heard.push(incoming));
      const client = await session(Number(new URL(started.urls.mqttUrl).port), 'home/pve1');
      client.send(publishPacket('kr/v1/home/pve1/telemetry'));
      await until(() => heard.length === 1);
      expect(heard[0]?.topic).toBe('kr/v1/home/pve1/telemetry');
      await writeDirectory(config.directoryFile, content(daemon('pve2')));
      await client.closed();
      expect(started.urls.wsUrl).toMatch(/^ws:\/\/127\.0\.0\.1:\d+$/);
    } finally {
      await link.close();
      await started.stop();
    }
  });
});
