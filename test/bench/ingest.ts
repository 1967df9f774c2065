/**
 * What a value costs on its way from the socket to the store, in CPU seconds per million values, by
 * stage: broker (socket, gate, ACL, routing), decode (JSON, check), ingest (judge, buffers), fold,
 * store. Real broker, ingest, fold and store in this process, clients in another; VictoriaMetrics is a
 * third. Then the store is asked what it holds: nothing may be missing.
 *
 *   npm run bench:ingest -- --nodes 2048 --guests 20 --interval 1 --samples 10
 *   npm run bench:ingest -- --interval 1 --minutes 10
 *   npm run bench:ingest -- --store victoriametrics --interval 5 --minutes 5 --find-knee
 *
 * With `--minutes`, roll-ups are made meanwhile instead of after the run, and probes ask the store how
 * long it takes until a sample can be queried. `--find-knee` does so with shorter and shorter
 * intervals. Exits with 99 when a sample is missing or was refused, or more than 1 in 100 cannot be
 * queried within `--p99` ms. The last line is one JSON object.
 */
import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createIngest, type Ingest } from '../../backend/ingest/ingest.ts';
import { emptyFleet } from '../../backend/state/fleet.ts';
import { reduce } from '../../backend/state/reduce.ts';
import type { MetricsStore } from '../../backend/store/ports.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import { guestMetrics, nodeMetrics } from '../../broker/contract/metrics.ts';
import type { Ownership } from '../../broker/port.ts';
import { createBroker } from '../../broker/server.ts';
import { realClock } from '../broker/wire.ts';
import { idsOf, seededRandom, virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { until } from '../support/servers.ts';
import { findKnee } from './ingest-knee.ts';
import { openers, storeNameOf } from './ingest-stores.ts';
import { profiled } from './profile.ts';
import { quantile, startProbes } from './queryable.ts';
import { type Done, nameOf, type Order } from './swarm.ts';

const { values: asked } = parseArgs({
  options: {
    nodes: { type: 'string', default: '2048' },
    guests: { type: 'string', default: '20' },
    interval: { type: 'string', default: '1' },
    samples: { type: 'string', default: '10' },
    minutes: { type: 'string' },
    store: { type: 'string', default: 'duckdb' },
    /** Queries of one sample at a time; none without --minutes. */
    probes: { type: 'string', default: '3' },
    p99: { type: 'string', default: '2000' },
    'find-knee': { type: 'boolean', default: false },
  },
});
const [nodes, guests, intervalMs] = [
  Number(asked.nodes),
  Number(asked.guests),
  Math.round(Number(asked.interval) * 1_000),
];
const minutes = asked.minutes === undefined ? null : Number(asked.minutes);
const samples =
  minutes === null ? Number(asked.samples) : Math.ceil((minutes * 60_000) / intervalMs);
const storeName = storeNameOf(asked.store);
if (!(nodes >= 1 && intervalMs >= 1 && samples >= 1)) {
  throw new Error('--nodes, --interval, --samples and --minutes: use numbers above 0');
}
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

/** What the store made those behind it wait for. */
const writes = { count: 0, longestMs: 0, overSecond: 0, mostBuffered: 0, mostBufferedBytes: 0 };

/** The store with a clock at each write. */
function watched(store: MetricsStore): MetricsStore {
  return {
    ...store,
    async write(batch) {
      const fromMs = performance.now();
      await store.write(batch);
      const tookMs = performance.now() - fromMs;
      writes.count += 1;
      writes.longestMs = Math.round(Math.max(writes.longestMs, tookMs));
      if (tookMs > 1_000) writes.overSecond += 1;
    },
  };
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

/** Runs as fast as the real one, from the time of the first sample. */
function clockFrom(wallMs: number): Clock {
  const offsetMs = realClock.wallMs() - wallMs;
  return { ...realClock, wallMs: () => realClock.wallMs() - offsetMs };
}

async function openServer(folder: string) {
  const log = memoryLog();
  const clock = realClock;
  const owners = directory();
  // In a short run the store's clock stands, so that roll-ups are a stage of their own.
  const standing = minutes === null ? virtualClock(startMs) : null;
  const bench = await openers[storeName]({
    folder,
    clock: standing ?? clockFrom(startMs),
    startMs,
  });
  const tcp = { host: '127.0.0.1', port: 0 };
  const broker = await createBroker({ directory: owners, clock, log, tcp });
  const ingest = await createIngest({
    link: broker,
    store: watched(bench.store),
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
  const folding = setInterval(() => {
    const { queued, inFlight, bufferedBytes } = ingest.counters();
    writes.mostBuffered = Math.max(writes.mostBuffered, queued + inFlight);
    writes.mostBufferedBytes = Math.max(writes.mostBufferedBytes, bufferedBytes);
    fold();
  }, foldEveryMs);
  const { mqttUrl } = await broker.listen();
  return {
    port: Number(new URL(mqttUrl).port),
    bench,
    standing,
    ingest,
    folded: () => fleet.nodes.size,
    async close() {
      clearInterval(folding);
      await ingest.stop();
      await broker.close();
    },
  };
}
type Bench = Awaited<ReturnType<typeof openServer>>;

/** Every sample received, and none still on its way to the store. */
function isThrough(ingest: Ingest, { bench }: Bench): boolean {
  const { received, queued, inFlight } = ingest.counters();
  const { spoolBytes = 0 } = bench.store.figures();
  return received >= nodes * samples && queued === 0 && inFlight === 0 && spoolBytes === 0;
}

async function sampling(server: Bench): Promise<{ generator: Done; latencies: number[] }> {
  const schedule = { nodes, intervalMs, samples, nameOf, fromMs: startMs };
  const probes = startProbes(minutes === null ? 0 : Number(asked.probes), server.bench, schedule);
  const generator = await order({ do: 'sample', guests, intervalMs, samples, fromMs: startMs });
  const latencies = await probes.stop(generator.startMs ?? NaN);
  const isDone = () => isThrough(server.ingest, server);
  await until(isDone, { withinMs: 300_000, what: 'the last sample' });
  return { generator, latencies };
}

async function measure(folder: string) {
  const server = await openServer(folder);
  const { bench, standing } = server;
  const target = { host: '127.0.0.1', port: server.port, caFile: null, secret };
  await order({ do: 'connect', target, clients: nodes });
  let run: Awaited<ReturnType<typeof sampling>> | undefined;
  const storeBefore = await bench.cpuSeconds();
  const cpu = await profiled(async () => void (run = await sampling(server)));
  const storeProcess = (await bench.cpuSeconds()) - storeBefore;
  const before = process.cpuUsage();
  // Far enough for every minute to be made.
  await standing?.advance(samples * intervalMs + 300_000);
  const { user, system } = process.cpuUsage(before);
  const residentMb = Math.round(process.memoryUsage.rss() / 1_048_576);
  const peakMb = Math.round(process.resourceUsage().maxRSS / 1_024);
  const { received, rejected, dropped } = server.ingest.counters();
  const folded = server.folded();
  await server.close();
  const held = await bench.held(samples * intervalMs);
  await bench.close();
  const bytes = storeName === 'duckdb' ? await bench.bytes() : 0;
  const counters = { received, rejected, dropped, folded };
  const stages = { ...cpu, rollUp: (user + system) / 1e6 };
  const { generator, latencies } = run as Awaited<ReturnType<typeof sampling>>;
  return { stages, storeProcess, generator, latencies, held, counters, residentMb, peakMb, bytes };
}

const rounded = (value: number): number => Math.round(value * 1e3) / 1e3;

async function main(folder: string): Promise<void> {
  const { stages, latencies, held, counters, generator, ...rest } = await measure(folder);
  const per = Object.entries(stages).map(([stage, s]) => [stage, rounded(s / millions)]);
  const total = rounded(Object.values(stages).reduce((sum, s) => sum + s, 0) / millions);
  const lost = nodes * samples - held.samples;
  const guestRowsLost = held.guestRows === null ? 0 : nodes * guests * samples - held.guestRows;
  const unseen = latencies.filter((latency) => !Number.isFinite(latency)).length;
  const ofLatency = (share: number) => Math.round(quantile(latencies, share) ?? NaN);
  const [p50, p99] = [ofLatency(0.5), ofLatency(0.99)];
  const queryable = { probed: latencies.length, unseen, p50, p99, max: ofLatency(1) };
  const isLate = latencies.length > 0 && !(p99 <= Number(asked.p99));
  const tookSeconds = rounded(generator.ms / 1_000);
  const load = Number((await readFile('/proc/loadavg', 'utf8')).split(' ')[0]);
  const run = { store: storeName, nodes, guests, intervalMs, samples, values: millions * 1e6 };
  const costs = { cpuSecondsPerMillionValues: { ...Object.fromEntries(per), total } };
  const figures = {
    ...run,
    tookSeconds,
    lateMaxMs: generator.lateMaxMs,
    generatorCpuSeconds: rounded(generator.cpuSeconds),
    ...costs,
    storeProcessPerMillion: rounded(rest.storeProcess / millions),
    ...counters,
    writes,
    lost,
    guestRowsLost,
    queryableMs: queryable,
    bytesPerValue: rounded(rest.bytes / millions / 1e6),
    residentMb: rest.residentMb,
    peakMb: rest.peakMb,
    loadAverage: load,
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  const isWrong = lost > 0 || guestRowsLost > 0 || counters.rejected > 0 || isLate;
  if (isWrong) process.exitCode = 99;
}

if (asked['find-knee']) {
  swarm.disconnect();
  const options = ['--nodes', asked.nodes, '--guests', asked.guests, '--store', storeName];
  const limits = ['--probes', asked.probes, '--p99', asked.p99, '--minutes', asked.minutes ?? '1'];
  await findKnee({ nodes, intervalMs }, [...options, ...limits]);
} else {
  const folder = await mkdtemp(join(tmpdir(), 'kr-bench-ingest-'));
  try {
    await main(folder);
  } finally {
    swarm.disconnect();
    await rm(folder, { recursive: true, force: true });
  }
}
