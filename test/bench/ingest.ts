/**
 * What a value costs on its way from the socket to the file, in CPU seconds per million values, by
 * stage: broker (socket, gate, ACL, routing), decode (JSON, check), ingest (judge, buffers), fold,
 * store. Real broker, ingest, fold and embedded store in this process, clients in another. Then the
 * roll-ups are made, and the store is asked what it holds: nothing may be missing.
 *
 *   npm run bench:ingest -- --nodes 2048 --guests 20 --interval 1 --samples 10
 *
 * Exits with 99 when a sample is missing or was refused. The last line is one JSON object.
 */
import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createIngest, type Ingest } from '../../backend/ingest/ingest.ts';
import { emptyFleet } from '../../backend/state/fleet.ts';
import { reduce } from '../../backend/state/reduce.ts';
import { openDuckDbStore } from '../../backend/store/metrics/duckdb.ts';
import { guestMetrics, nodeMetrics } from '../../broker/contract/metrics.ts';
import type { Ownership } from '../../broker/port.ts';
import { createBroker } from '../../broker/server.ts';
import { realClock } from '../broker/wire.ts';
import { idsOf, seededRandom, virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { until } from '../support/servers.ts';
import { profiled } from './profile.ts';
import { type Done, nameOf, type Order } from './swarm.ts';

const { values: asked } = parseArgs({
  options: {
    nodes: { type: 'string', default: '2048' },
    guests: { type: 'string', default: '20' },
    interval: { type: 'string', default: '1' },
    samples: { type: 'string', default: '10' },
  },
});
const [nodes, guests, samples] = [asked.nodes, asked.guests, asked.samples].map(Number) as [
  number,
  number,
  number,
];
const intervalMs = Number(asked.interval) * 1_000;
const perSample = nodeMetrics.length + guests * guestMetrics.length;
const millions = (nodes * samples * perSample) / 1e6;
const secret = 'bench';
const foldEveryMs = 40;
/** The last midnight, UTC: roll-ups begin with the day of the first sample. */
const startMs = Math.floor(realClock.wallMs() / 86_400_000) * 86_400_000;

const swarm = fork(join(import.meta.dirname, 'swarm.ts'), [], {
  stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
});
async function order(what: Order): Promise<Done> {
  const answer = once(swarm, 'message');
  swarm.send(what);
  return (await answer)[0] as Done;
}

const hashOf = (given: Uint8Array | string): string =>
  createHash('sha256').update(given).digest('hex');

function directory() {
  const owners = new Map<string, Ownership>();
  for (let index = 0; index < nodes; index += 1) {
    const daemon = nameOf(index);
    const own = { cluster: 'bench', daemon, simulated: true, enrolling: false };
    owners.set(`bench/${daemon}`, { ...own, nodes: new Set([daemon]) });
  }
  return {
    authenticate: (username: string, given: Uint8Array) =>
      Promise.resolve(hashOf(given) === hashOf(secret) ? owners.get(username) : undefined),
    ownership: (client: string) => owners.get(client),
    ownerOf: (cluster: string, node: string) => owners.get(`${cluster}/${node}`),
  };
}

async function openServer(file: string) {
  const log = memoryLog();
  const clock = realClock;
  const owners = directory();
  // The store's clock stands, so that roll-ups are a stage of their own.
  const storeClock = virtualClock(startMs);
  const store = await openDuckDbStore({ file, clock: storeClock, log });
  const tcp = { host: '127.0.0.1', port: 0 };
  const broker = await createBroker({ directory: owners, clock, log, tcp });
  const ingest = await createIngest({
    link: broker,
    store,
    clock,
    log,
    directory: owners,
    newId: idsOf(clock, seededRandom(42)),
    toCommands: () => undefined,
    toEnrolments: () => undefined,
  });
  ingest.start();
  const fleet = emptyFleet();
  const fold = (): void => {
    for (const input of ingest.drain()) reduce(fleet, input);
  };
  const folding = setInterval(fold, foldEveryMs);
  const { mqttUrl } = await broker.listen();
  return {
    port: Number(new URL(mqttUrl).port),
    store,
    storeClock,
    ingest,
    folded: () => fleet.nodes.size,
    async close() {
      clearInterval(folding);
      await ingest.stop();
      await broker.close();
    },
  };
}

/** Every sample received, and none still on its way to the file. */
function isThrough(ingest: Ingest): boolean {
  const { received, queued, inFlight } = ingest.counters();
  return received >= nodes * samples && queued === 0 && inFlight === 0;
}

async function measure(file: string) {
  const server = await openServer(file);
  const target = { host: '127.0.0.1', port: server.port, caFile: null, secret };
  await order({ do: 'connect', target, clients: nodes });
  let generator: Done | undefined;
  const cpu = await profiled(async () => {
    generator = await order({ do: 'sample', guests, intervalMs, samples, fromMs: startMs });
    const isDone = () => isThrough(server.ingest);
    await until(isDone, { withinMs: 300_000, what: 'the last sample' });
  });
  const before = process.cpuUsage();
  // Far enough for every minute to be made.
  await server.storeClock.advance(samples * intervalMs + 300_000);
  const { user, system } = process.cpuUsage(before);
  const held = await server.store.missing(0);
  const { received, rejected, dropped } = server.ingest.counters();
  const folded = server.folded();
  const residentMb = Math.round(process.memoryUsage.rss() / 1_048_576);
  await server.close();
  await server.store.close();
  const counters = { received, rejected, dropped, folded };
  return { cpu: { ...cpu, rollUp: (user + system) / 1e6 }, generator, held, counters, residentMb };
}

const folder = await mkdtemp(join(tmpdir(), 'kr-bench-ingest-'));
try {
  const file = join(folder, 'metrics.duckdb');
  const { cpu, generator, held, counters, residentMb } = await measure(file);
  const rounded = (value: number): number => Math.round(value * 1e3) / 1e3;
  const per = Object.entries(cpu).map(([stage, s]) => [stage, rounded(s / millions)]);
  const total = rounded(Object.values(cpu).reduce((sum, s) => sum + s, 0) / millions);
  const lost = nodes * samples - held.samples + held.missing;
  const bytesPerValue = rounded((await stat(file)).size / millions / 1e6);
  const tookSeconds = rounded((generator?.ms ?? 0) / 1_000);
  const load = Number((await readFile('/proc/loadavg', 'utf8')).split(' ')[0]);
  const figures = { nodes, guests, intervalMs, samples, values: millions * 1e6, tookSeconds };
  const costs = { cpuSecondsPerMillionValues: { ...Object.fromEntries(per), total } };
  const rest = { ...counters, lost, bytesPerValue, residentMb, loadAverage: load };
  process.stdout.write(`${JSON.stringify({ ...figures, ...costs, ...rest })}\n`);
  if (lost > 0 || counters.rejected > 0) process.exitCode = 99;
} finally {
  swarm.disconnect();
  await rm(folder, { recursive: true, force: true });
}
