/**
 * Two ingest workers in processes of their own beside a backend that only folds, on a real
 * Mosquitto with the users that kernreaktor writes for it, MariaDB and VictoriaMetrics. Daemons are
 * the real link with its outbox. One worker is killed and comes again with nothing in its hands:
 * afterwards the store has every sample once.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createIngest, type Ingest } from '../../backend/ingest/ingest.ts';
import { isOfShard } from '../../backend/ingest/shard.ts';
import { ensureCluster } from '../../backend/store/sql/clusters.ts';
import { openDatabase } from '../../backend/store/sql/database.ts';
import { mosquittoFiles, mosquittoHash } from '../../broker/acl.ts';
import { openDaemonClient } from '../../broker/client.ts';
import { encode } from '../../broker/contract/codec.ts';
import type { Message } from '../../broker/contract/messages.ts';
import { connectServerLink } from '../../broker/server-link.ts';
import { type Link, startLink } from '../../daemon/link/connection.ts';
import { fleetOf, relayOf } from '../daemon/link/twin.ts';
import { idsOf, seededRandom } from '../support/clock.ts';
import { clockOfWorkers as clock } from '../support/ingest-worker-process.ts';
import { memoryLog } from '../support/log.ts';
import {
  type Server,
  startMariadb,
  startMosquitto,
  startVictoriaMetrics,
  until,
} from '../support/servers.ts';

const clusters = ['oslo', 'bergen', 'turku', 'lahti'];
const nodes = ['n1', 'n2'];
/** Half a second, as fast as the clock runs. */
const intervalMs = 5_000;
const secret = 's'.repeat(64);
const hash = mosquittoHash(secret, Buffer.alloc(12, 7));

const ends: (() => unknown)[] = [];
const log = memoryLog();
const random = seededRandom(11);
const newId = idsOf(clock, seededRandom(12));
let mosquitto: Server;
let store: Server;
let settings: Record<string, string>;
let backend: Ingest;

async function launch(index: number): Promise<ChildProcess> {
  const file = join(import.meta.dirname, '..', 'support', 'ingest-worker-process.ts');
  const child = spawn(process.execPath, [file], {
    env: { PATH: process.env['PATH'], ...settings, KR_INGEST_SHARD: `${index}/2` },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  ends.push(() => child.kill('SIGKILL'));
  const ready = once(child.stdout, 'data');
  const ended = once(child, 'exit').then(() => Promise.reject(new Error(output)));
  ended.catch(() => undefined);
  await Promise.race([ready, ended]);
  return child;
}

/**
 * Its clock runs ten times as fast, so that it takes a MariaDB that pauses for a quarter of a second
 * for gone; then its service manager would start it again.
 */
async function startWorker(index: number): Promise<ChildProcess> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await launch(index);
    } catch (error) {
      if (attempt === 10 || !String(error).includes('StoreUnavailable')) throw error;
    }
  }
}

/** The backend's half: it folds, and answers hellos with what it knows to be stored. */
async function startBackend(): Promise<Ingest> {
  const name = 'kernreaktor-server';
  const link = await connectServerLink({
    url: mosquitto.url,
    clientId: name,
    username: name,
    password: secret,
    clock,
    random,
    log,
  });
  ends.push(() => link.close());
  const greet = ({ cluster, node, session }: Message<'hello'>): void => {
    const { incarnation, seq } = ingest.watermark(cluster, node);
    const head = { v: 1, id: newId(), cluster, node, session, seq: 0 } as const;
    const content = { session, storedIncarnation: incarnation, storedSeq: seq, intervalMs };
    const signature = Buffer.alloc(64).toString('base64');
    const body = { signed: JSON.stringify(content), keyId: '0'.repeat(16), signature };
    void link.publish(encode('sync', { ...head, sentAtMs: clock.wallMs(), body }));
  };
  const ingest: Ingest = await createIngest({
    role: 'fold',
    link,
    store: { watermarks: async () => [], write: () => Promise.reject(new Error('not mine')) },
    directory: { ownership: () => undefined, ownerOf: () => undefined },
    toCommands: (message) => message.name === 'hello' && greet(message),
    toEnrolments: () => undefined,
    clock,
    log,
    newId,
  });
  return ingest;
}

const startDaemon = (cluster: string): Promise<Link> =>
  startLink(
    {
      url: mosquitto.url,
      cluster,
      daemon: 'd1',
      secret,
      caSha256: null,
      intervalMs,
      ring: { ageMaxMs: 900_000, bytesMax: 16 * 2 ** 20 },
      replayEveryMs: 250,
    },
    {
      clock,
      random,
      newId,
      log,
      openClient: openDaemonClient,
      hypervisor: fleetOf(nodes),
      executor: relayOf(newId, 1),
    },
  );

/** Sequence numbers in the store by cluster/node, each as often as it is there. */
async function stored(): Promise<Map<string, number[]>> {
  await fetch(`${store.url}/internal/force_flush`);
  const answer = await fetch(`${store.url}/api/v1/export?match[]=node_seq`);
  const lines = (await answer.text()).split('\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => {
      const { metric, values } = JSON.parse(line) as {
        metric: { cluster: string; node: string };
        values: number[];
      };
      return [`${metric.cluster}/${metric.node}`, values.toSorted((a, b) => a - b)];
    }),
  );
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);
const isWhole = (seqs: readonly number[] = [], count = 0): boolean =>
  seqs.length >= count && seqs.every((seq, index) => seq === index + 1);
const every = clusters.flatMap((cluster) => nodes.map((node) => `${cluster}/${node}`));
const heard = (key: string): number => {
  const [cluster = '', node = ''] = key.split('/');
  return backend.watermark(cluster, node).seq;
};

beforeAll(async () => {
  const users = clusters.map((cluster) => ({
    ownership: {
      cluster,
      daemon: 'd1',
      simulated: true,
      enrolling: false,
      nodes: new Set(nodes),
    },
    mqttHash: hash,
  }));
  const server = { username: 'kernreaktor-server', mqttHash: hash, workers: 2 };
  const { passwords, acl } = mosquittoFiles(users, server);
  const folder = await mkdtemp(join(tmpdir(), 'kr-workers-'));
  ends.push(() => rm(folder, { recursive: true, force: true }));
  const lines = ['allow_anonymous false', 'use_username_as_clientid true'];
  const files = ['password_file %FOLDER%/passwords', 'acl_file %FOLDER%/acl'];
  const started = await Promise.all([
    startMosquitto([...lines, ...files], { passwords, acl }),
    startVictoriaMetrics(),
    startMariadb(),
  ]);
  for (const each of started) ends.push(() => each.stop());
  [mosquitto, store] = started;
  const [, , mariadb] = started;
  settings = {
    KR_MQTT_URL: mosquitto.url,
    KR_MQTT_PASSWORD: secret,
    KR_SQL_URL: mariadb.url,
    KR_INFLUX_URL: store.url,
    KR_INFLUX_TOKEN: 'none',
    KR_DATA_DIR: folder,
  };
  const nowMs = clock.wallMs();
  const database = await openDatabase({
    url: mariadb.url,
    file: '',
    nowMs: () => clock.wallMs(),
    clock,
    log,
  });
  for (const id of clusters) {
    await database.transaction((trx) => ensureCluster(trx, { id, simulated: true, nowMs }));
  }
  await database.close();
});
afterAll(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

it('store each sample once, also when one of them is killed and comes again', async () => {
  backend = await startBackend();
  const [first] = await Promise.all([startWorker(1), startWorker(2)]);
  const links = await Promise.all(clusters.map(startDaemon));
  for (const link of links) ends.push(() => link.stop());
  const isFirsts = (key: string) => isOfShard(key.split('/')[0] ?? '', { index: 1, count: 2 });
  expect(new Set(every.map(isFirsts)).size).toBe(2);
  await until(
    async () => {
      const seqs = await stored();
      return every.every((key) => isWhole(seqs.get(key), 5) && heard(key) > 0);
    },
    { what: 'samples of every node in the store, and receipts for them' },
  );

  first?.kill('SIGKILL');
  const atDeath = await stored();
  const isAhead = async (by: number): Promise<boolean> => {
    const seqs = await stored();
    return every
      .filter((key) => !isFirsts(key))
      .every((key) => (seqs.get(key)?.length ?? 0) >= (atDeath.get(key)?.length ?? 0) + by);
  };
  await until(() => isAhead(6), { what: 'the other worker going on' });
  const meanwhile = await stored();
  for (const key of every.filter(isFirsts)) {
    expect(meanwhile.get(key)?.length).toBeLessThanOrEqual((atDeath.get(key)?.length ?? 0) + 2);
  }

  await startWorker(1);
  await until(
    async () => {
      const seqs = await stored();
      return every.every((key) => isWhole(seqs.get(key), (atDeath.get(key)?.length ?? 0) + 10));
    },
    { what: 'no hole in the store', withinMs: 60_000 },
  );
  // Receipts went on, so that no daemon keeps for ever what is stored.
  await until(() => every.every((key) => heard(key) > (atDeath.get(key)?.length ?? 0)));
  for (const [key, seqs] of await stored()) expect([key, seqs]).toEqual([key, upTo(seqs.length)]);
  const { leftToWorkers, received, rejected } = backend.counters();
  expect({ leftToWorkers, rejected }).toEqual({ leftToWorkers: received, rejected: 0 });
}, 120_000);
