import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decode, encode } from '../../broker/contract/codec.ts';
import type { Message } from '../../broker/contract/messages.ts';
import type { TopicName } from '../../broker/contract/topics.ts';
import { parseToken, type DaemonConfig } from '../../daemon/config.ts';
import type { Credential } from '../../daemon/link/credential.ts';
import { type DaemonDeps, type RunningDaemon, startDaemon } from '../../daemon/main.ts';
import { realClock, secretOf, startBroker, type TestBroker } from '../broker/wire.ts';
import { idsOf, seededRandom } from '../support/clock.ts';
import { writePins } from '../support/pins.ts';
import { memoryLog } from '../support/log.ts';
import { trustedFolder } from '../support/trusted-folder.ts';
import { fleetOf } from './link/twin.ts';

let broker: TestBroker;
let dataDir: string;
const running: RunningDaemon[] = [];

beforeEach(async () => {
  dataDir = await trustedFolder();
  broker = await startBroker();
});
afterEach(async () => {
  for (const daemon of running.splice(0)) await daemon.stop();
  await broker.broker.close();
  await rm(dataDir, { recursive: true, force: true });
});

const serverKeys = [{ keyId: '0'.repeat(16), publicKey: Buffer.alloc(32, 7).toString('base64') }];
const newId = idsOf(realClock, seededRandom(Math.floor(performance.now() * 1_000)));

const credentialOf = (daemon: string, nodes: string[]): Credential => ({
  cluster: 'home',
  daemon,
  nodes,
  secret: secretOf(`home/${daemon}`),
  serverId: newId(),
  serverKeys,
  simulated: false,
  caSha256: null,
});

async function start(config: Partial<DaemonConfig> = {}, deps: Partial<DaemonDeps> = {}) {
  const whole: DaemonConfig = {
    mqttUrl: broker.urls.mqttUrl,
    cluster: 'home',
    node: 'nas',
    enrolment: null,
    dataDir,
    intervalMs: 250,
    logLevel: 'silent',
    script: null,
    ...config,
  };
  const random = seededRandom(5);
  const log = memoryLog();
  const own = { clock: realClock, random, newId, log, version: '1.2.3' };
  const daemon = await startDaemon(whole, { ...own, ...deps });
  running.push(daemon);
  return { daemon, log };
}

const heard = <N extends TopicName>(name: N, node = 'nas'): Message<N>[] =>
  broker.received.flatMap(({ topic, payload }) => {
    const decoded = decode(topic, payload);
    const isWanted = decoded.ok && decoded.message.name === name && decoded.message.node === node;
    return isWanted ? [decoded.message as Message<N>] : [];
  });

async function until(isDone: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 30_000;
  while (!isDone()) {
    if (performance.now() > deadlineMs) throw new Error('never happened');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('a daemon on a real broker', () => {
  it('shows this very host, within its journal and its rights, and says goodbye', async () => {
    broker.directory.add({ cluster: 'home', daemon: 'nas' });
    const { daemon } = await start({}, { credential: credentialOf('nas', ['nas']) });
    await until(() => heard('telemetry').length >= 3);
    expect(heard('presence')[0]?.body).toMatchObject({ online: true, reason: 'birth' });
    expect(heard('hello')[0]?.body).toMatchObject({
      incarnation: expect.any(Number),
      driver: { name: 'host', version: '1.2.3', simulated: false, capabilities: [] },
      guests: [],
    });
    const [first, second, third] = heard('telemetry');
    expect([first?.seq, second?.seq, third?.seq]).toEqual([1, 2, 3]);
    expect(first?.body).toMatchObject({ guests: [], versions: { daemon: '1.2.3' } });
    expect(first?.body.node).toMatchObject({ cpuRatio: null, diskReadBytesPerSecond: null });
    expect(third?.body.node.memoryUsedBytes).toBeGreaterThan(0);
    await daemon.stop();
    await until(() => heard('presence').some(({ body }) => body.reason === 'goodbye'));
    expect(heard('presence').some(({ body }) => body.reason === 'will')).toBe(false);
    expect(daemon.isConnected()).toBe(false);
  });

  it('counts its starts, so that a restart never repeats a (start, seq)', async () => {
    broker.directory.add({ cluster: 'home', daemon: 'nas' });
    const credential = credentialOf('nas', ['nas']);
    const first = await start({}, { credential });
    await until(() => heard('telemetry').length > 0);
    await first.daemon.stop();
    const next = (heard('telemetry')[0]?.body.incarnation ?? 0) + 1;
    await start({}, { credential });
    await until(() => heard('telemetry').some(({ body }) => body.incarnation === next));
    const keys = heard('telemetry').map(({ seq, body }) => `${body.incarnation}/${seq}`);
    expect(keys).toContain(`${next}/1`);
  });

  it('speaks for 32 nodes over one connection', async () => {
    const nodes = Array.from({ length: 32 }, (_, index) => `n${index}`);
    broker.directory.add({ cluster: 'home', daemon: 'big', nodes: new Set(nodes) });
    const credential = { ...credentialOf('big', nodes), simulated: true };
    await start({}, { credential, hypervisor: fleetOf(nodes), outboxBytesMax: null });
    await until(() => nodes.every((node) => heard('telemetry', node).length >= 2));
    expect(broker.broker.stats().clients).toBe(1);
    expect(new Set(nodes.flatMap((node) => heard('hello', node))).size).toBe(32);
  });
});

describe('the first start', () => {
  const secret = 'ab'.repeat(32);

  it('turns a token into a credential and returns under its own name', async () => {
    const { directory } = broker;
    const enrolling = { cluster: 'home', daemon: 'nas', enrolling: true };
    directory.add(enrolling, secret);
    broker.broker.onMessage(({ topic, payload }) => {
      const decoded = decode(topic, payload);
      if (!decoded.ok || decoded.message.name !== 'enrol') return;
      const { session } = decoded.message;
      directory.remove('home/nas');
      directory.add({ cluster: 'home', daemon: 'nas' }, 'cd'.repeat(32));
      const head = {
        v: 1,
        id: newId(),
        cluster: 'home',
        node: 'nas',
        seq: 0,
        sentAtMs: 0,
      } as const;
      const body = {
        daemon: 'nas',
        secret: 'cd'.repeat(32),
        serverId: newId(),
        serverKeys,
        simulated: false,
      };
      void broker.broker.publish(encode('enrolled', { ...head, session, body }));
    });
    const enrolment = parseToken(secret);
    const first = await start({ enrolment });
    await until(() => heard('telemetry').length > 0);
    await first.daemon.stop();
    const kept = await readFile(join(dataDir, 'credential.json'), 'utf8');
    expect(JSON.parse(kept)).toMatchObject({ daemon: 'nas', secret: 'cd'.repeat(32) });
    const before = heard('enrol').length;
    const next = (heard('telemetry')[0]?.body.incarnation ?? 0) + 1;
    await start({ enrolment });
    await until(() => heard('telemetry').some(({ body }) => body.incarnation === next));
    expect(heard('enrol')).toHaveLength(before);
  });

  it('says what is missing without credential and token', async () => {
    await expect(start()).rejects.toMatchObject({
      code: 'KR_NOT_ENROLLED',
      message: expect.stringContaining('KR_ENROL_TOKEN'),
    });
  });

  it('drives the programs that daemon.yaml names', async () => {
    broker.directory.add({ cluster: 'home', daemon: 'nas' });
    const guests = join(dataDir, 'guests');
    const row = '{"id":"web","kind":"container","name":"web","state":"running"}';
    await writeFile(guests, `#!/bin/sh\necho '[${row}]'\n`);
    await chmod(guests, 0o755);
    const script = {
      guests,
      actions: { 'guest.stop': '/bin/true' },
      queryTimeoutMs: 5_000,
      stopWithinMs: 5_000,
    };
    await writePins(dataDir);
    await start({ script, etcDir: dataDir }, { credential: credentialOf('nas', ['nas']) });
    await until(() => heard('telemetry').length > 0);
    await until(() => heard('hello').length > 0);
    expect(heard('hello')[0]?.body.driver).toMatchObject({
      name: 'script',
      capabilities: ['node.wake', 'guest.stop'],
    });
    expect(heard('telemetry')[0]?.body.guests).toMatchObject([{ id: 'web', state: 'running' }]);
  });

  it('samples, but describes nothing, where Proxmox VE cannot tell whether it is clustered', async () => {
    broker.directory.add({ cluster: 'home', daemon: 'nas' });
    const credential = credentialOf('nas', ['nas']);
    const { log } = await start({ hypervisor: 'proxmox' }, { credential });
    await until(() => heard('telemetry').length > 0);
    await until(() => log.lines.some(({ message }) => message.includes('could not be described')));
    expect(heard('hello')).toEqual([]);
    expect(heard('telemetry')[0]?.body.guests).toBeNull();
  });
});
