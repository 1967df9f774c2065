import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { connect as netConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DaemonClientOptions, openDaemonClient } from '../../broker/client.ts';
import { ensureTls, localNames, type TlsFiles } from '../../broker/tls.ts';
import { seededRandom } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { until } from '../support/servers.ts';
import { connectPacket, rawOver, realClock, secretOf, startBroker } from './wire.ts';

const dayMs = 86_400_000;
const nowMs = Date.now();
const names = ['localhost', '127.0.0.1', 'Pve1.Example.org'];
const ends: (() => Promise<unknown>)[] = [];
let folder = '';

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-tls-'));
});
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
  await rm(folder, { recursive: true, force: true });
});

const leafOf = ({ cert }: TlsFiles) => new X509Certificate(cert);

describe('ensureTls', () => {
  it('makes a CA and a server certificate once, readable by the owner alone', async () => {
    const made = await ensureTls({ folder, names, nowMs });
    const again = await ensureTls({ folder, names, nowMs: nowMs + 300 * dayMs });
    expect(again).toEqual(made);
    for (const name of ['ca.key', 'ca.crt', 'server.key', 'server.crt']) {
      expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
    }
    const ca = new X509Certificate(made.ca);
    const leaf = leafOf(made);
    expect(ca.ca).toBe(true);
    expect(leaf.ca).toBe(false);
    expect(leaf.verify(ca.publicKey)).toBe(true);
    expect(leaf.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    expect(leaf.checkPrivateKey(createPrivateKey(made.key))).toBe(true);
    expect(made.caFingerprint).toBe(ca.fingerprint256.replaceAll(':', '').toLowerCase());
    expect(leaf.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(leaf.checkHost('pve1.example.org')).toBeDefined();
    expect(leaf.checkHost('other.example.org')).toBeUndefined();
  });

  it('issues a new server certificate, and keeps the CA, near its end and for a new name', async () => {
    const made = await ensureTls({ folder, names, nowMs });
    const later = await ensureTls({ folder, names, nowMs: nowMs + 370 * dayMs });
    const renamed = await ensureTls({ folder, names: [...names, '192.0.2.7'], nowMs });
    expect([later.caFingerprint, renamed.caFingerprint]).toEqual([
      made.caFingerprint,
      made.caFingerprint,
    ]);
    expect(leafOf(later).serialNumber).not.toBe(leafOf(made).serialNumber);
    expect(leafOf(renamed).checkIP('192.0.2.7')).toBe('192.0.2.7');
  });

  it('refuses to replace a CA whose key is gone, and names the file', async () => {
    await ensureTls({ folder, names, nowMs });
    await unlink(join(folder, 'ca.key'));
    await expect(ensureTls({ folder, names, nowMs })).rejects.toThrow(/ca\.key is missing/);
  });

  it("takes the administrator's files and shows the CA in the chain", async () => {
    const made = await ensureTls({ folder, names, nowMs });
    const file = (name: string) => join(folder, name);
    const given = { certFile: file('server.crt'), keyFile: file('server.key') };
    const taken = await ensureTls({
      folder: join(folder, 'unused'),
      names,
      nowMs,
      given: { ...given, caFile: file('ca.crt') },
    });
    expect(taken.caFingerprint).toBe(made.caFingerprint);
    expect(taken.cert.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    await writeFile(file('empty.crt'), 'nothing');
    const empty = { ...given, certFile: file('empty.crt') };
    await expect(ensureTls({ folder, names, nowMs, given: empty })).rejects.toThrow(
      /holds no PEM certificate/,
    );
    const absent = { ...given, keyFile: file('absent.key') };
    await expect(ensureTls({ folder, names, nowMs, given: absent })).rejects.toThrow(/absent\.key/);
    expect(await readFile(file('ca.crt'), 'utf8')).toContain(taken.ca);
  });

  it('knows loopback among the names of this machine', () => {
    expect(localNames()).toEqual(expect.arrayContaining(['localhost', '127.0.0.1']));
    const named = localNames(['KR.example', '192.0.2.7', 'localhost']);
    expect(named).toEqual(expect.arrayContaining(['localhost', 'kr.example', '192.0.2.7']));
    expect(new Set(named).size).toBe(named.length);
  });
});

describe('TLS listener', () => {
  async function tlsBroker(certificateNames: readonly string[] = names) {
    const files = await ensureTls({ folder, names: certificateNames, nowMs });
    const started = await startBroker({
      tls: { host: '127.0.0.1', port: 0, ...files },
      gateLimits: { connectTimeoutMs: 1_500 },
    });
    ends.push(() => started.broker.close());
    started.directory.add({ cluster: 'home', daemon: 'pve1' });
    return { ...started, files, tlsUrl: started.urls.tlsUrl ?? '' };
  }

  function client(over: Partial<DaemonClientOptions>) {
    const closes: string[] = [];
    const opened = openDaemonClient({
      url: '',
      clientId: 'home/pve1',
      username: 'home/pve1',
      password: secretOf('home/pve1'),
      subscriptions: ['kr/v1/home/pve1/sync'],
      will: () => undefined,
      onConnect: () => undefined,
      onMessage: () => undefined,
      onClose: (reason) => closes.push(reason),
      clock: realClock,
      random: seededRandom(1),
      log: memoryLog(),
      ...over,
    });
    ends.push(() => opened.end());
    return { opened, closes };
  }

  it('is joined by who pins the CA by fingerprint or holds it as PEM', async () => {
    const { tlsUrl, files, received, broker } = await tlsBroker();
    const pinned = client({ url: tlsUrl, fingerprintSha256: files.caFingerprint.toUpperCase() });
    await until(() => pinned.opened.isConnected());
    const topic = 'kr/v1/home/pve1/hello';
    await pinned.opened.publish({ topic, payload: 'secret', qos: 1, retain: false });
    expect(received).toHaveLength(1);
    await pinned.opened.end();
    const held = client({ url: tlsUrl, caPem: files.ca });
    await until(() => held.opened.isConnected());
    await until(() => broker.stats().preAuthSockets === 0);
    expect(broker.stats().clients).toBe(1);
  });

  it('is never given a secret by who pins another CA', async () => {
    const { tlsUrl, broker } = await tlsBroker();
    const { closes, opened } = client({ url: tlsUrl, fingerprintSha256: 'ab'.repeat(32) });
    await until(() => closes.length >= 2);
    expect(closes[0]).toContain('pinned fingerprint');
    expect(opened.isConnected()).toBe(false);
    expect(broker.stats().session.credential).toBe(0);
  });

  it('needs no pin where the daemon reaches plain TCP on its own machine', async () => {
    const { urls, files } = await tlsBroker();
    const pinned = client({ url: urls.mqttUrl, fingerprintSha256: files.caFingerprint });
    await until(() => pinned.opened.isConnected());
    expect(pinned.closes).toEqual([]);
  });

  it('is asked for by who holds a pin and was pointed at plain TCP elsewhere', async () => {
    const url = 'mqtt://broker.example:1883';
    const { closes, opened } = client({ url, fingerprintSha256: 'ab'.repeat(32) });
    await until(() => closes.length >= 1);
    expect(closes[0]).toContain('use mqtts://');
    expect(opened.isConnected()).toBe(false);
  });

  it('is refused by who trusts the CA but reaches it under a name it does not carry', async () => {
    const { tlsUrl, files } = await tlsBroker(['other.example.org']);
    const { closes, opened } = client({ url: tlsUrl, fingerprintSha256: files.caFingerprint });
    await until(() => closes.length >= 1);
    expect(closes[0]).toMatch(/127\.0\.0\.1|altnames/);
    expect(opened.isConnected()).toBe(false);
  });

  it('shows a renewed certificate to new connections', async () => {
    const { tlsUrl, broker, files } = await tlsBroker();
    const fresh = await ensureTls({ folder, names: [...names, '192.0.2.9'], nowMs });
    broker.renewTls(fresh);
    const socket = connect({ port: Number(new URL(tlsUrl).port), host: '127.0.0.1', ca: files.ca });
    await once(socket, 'secureConnect');
    const serial = socket.getPeerX509Certificate()?.serialNumber;
    socket.destroy();
    expect(serial).toBe(leafOf(fresh).serialNumber);
  });

  it('times the handshake and gates the bytes inside it', async () => {
    const { tlsUrl, broker, files } = await tlsBroker();
    const port = Number(new URL(tlsUrl).port);
    const silent = netConnect(port, '127.0.0.1');
    const plain = netConnect(port, '127.0.0.1').on('error', () => undefined);
    plain.write('GET / HTTP/1.1\r\n\r\n');
    const oversized = connect({ port, host: '127.0.0.1', ca: files.ca });
    const wire = rawOver(oversized);
    await once(oversized, 'secureConnect');
    wire.send(connectPacket('home/pve1', { password: Buffer.alloc(5_000) }));
    await wire.closed();
    await until(() => silent.closed && plain.closed);
    expect(broker.stats().gate).toMatchObject({ connectTooLarge: 1, connectTimeout: 1 });
    await until(() => broker.stats().preAuthSockets === 0);
  });
});
