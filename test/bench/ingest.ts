/**
 * What a sample costs on its way through the backend, by stage, in CPU seconds per million values:
 * accept (decode, check, judge, route), store (rows, transaction, file) and roll-up. Real ingest
 * over the real embedded store; the broker is not part of it. Every round is one second of a fleet
 * that samples at 1 s; then the store is asked what it holds, and nothing may be missing.
 *
 *   npm run bench:ingest -- --nodes 2048 --guests 20 --seconds 10
 *
 * Exits with 99 when a sample is missing or was refused. The last line is one JSON object.
 */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createIngest } from '../../backend/ingest/ingest.ts';
import { openDuckDbStore } from '../../backend/store/metrics/duckdb.ts';
import { encode } from '../../broker/contract/codec.ts';
import { guestMetrics, type Metric, nodeMetrics } from '../../broker/contract/metrics.ts';
import type { Incoming, Ownership, ServerLink } from '../../broker/port.ts';
import { idsOf, seededRandom, virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { guestSample, message, nodeValues, telemetryBody } from '../support/messages.ts';

const { values: asked } = parseArgs({
  options: {
    nodes: { type: 'string', default: '2048' },
    guests: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '10' },
  },
});
const [nodes, guests, seconds] = [asked.nodes, asked.guests, asked.seconds].map(Number) as [
  number,
  number,
  number,
];
/** Midnight, UTC: roll-ups begin with the day of the first sample. */
const startMs = Math.ceil(1_800_000_000_000 / 86_400_000) * 86_400_000;
const random = seededRandom(42);
const perSample = nodeMetrics.length + guests * guestMetrics.length;
const millions = (nodes * seconds * perSample) / 1e6;

/** Every value of the catalogue, with as many digits as a daemon sends. */
const valuesOf = (metrics: readonly Metric[]): Record<string, number> =>
  Object.fromEntries(
    metrics.map(({ name, min, max, unit }) => {
      const value = min + random.ratio() * (Math.min(max, 1e12) - min);
      return [name, unit === 'ratio' ? Math.round(value * 1e4) / 1e4 : Math.round(value)];
    }),
  );

const link = {
  listener: (() => undefined) as (incoming: Incoming) => void,
  publish: async () => undefined,
  onMessage(listener: (incoming: Incoming) => void): void {
    link.listener = listener;
  },
  isConnected: () => true,
  close: async () => undefined,
} satisfies ServerLink & { listener: unknown };

const clusterOf = (index: number): string => `c${Math.floor(index / 16)}`;
const nodeOf = (index: number): string => `n${index}`;

function incomingOf(index: number, seq: number, atMs: number): Incoming {
  const body = telemetryBody({
    sampledAtMs: atMs,
    node: nodeValues(valuesOf(nodeMetrics)),
    guests: Array.from({ length: guests }, (_, guest) =>
      guestSample(`${guest}`, valuesOf(guestMetrics)),
    ),
  });
  const head = { cluster: clusterOf(index), node: nodeOf(index), seq };
  const { topic, payload } = encode('telemetry', message('telemetry', body, head));
  const client = `${clusterOf(index)}/${nodeOf(index)}`;
  return { topic, payload: Buffer.from(payload), client, receivedAtMs: atMs };
}

const cpu = { accept: 0, store: 0, rollUp: 0 };
async function counted(stage: keyof typeof cpu, work: () => unknown): Promise<void> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  cpu[stage] += (user + system) / 1e6;
}

async function measure(file: string) {
  const clock = virtualClock(startMs);
  const storeClock = virtualClock(startMs);
  const log = memoryLog();
  const store = await openDuckDbStore({ file, clock: storeClock, log });
  const owners = new Map<string, Ownership>();
  for (let index = 0; index < nodes; index += 1) {
    const [cluster, node] = [clusterOf(index), nodeOf(index)];
    const own = { cluster, daemon: node, simulated: true, enrolling: false };
    owners.set(`${cluster}/${node}`, { ...own, nodes: new Set([node]) });
  }
  const ingest = await createIngest({
    link,
    store,
    clock,
    log,
    directory: { ownership: (client) => owners.get(client), ownerOf: () => undefined },
    newId: idsOf(clock, random),
    toCommands: () => undefined,
    toEnrolments: () => undefined,
  });
  ingest.start();
  for (let second = 1; second <= seconds; second += 1) {
    // In pieces of a batch, since the buffer holds no more than some seconds of this.
    for (let from = 0; from < nodes; from += 512) {
      const piece = Array.from({ length: Math.min(512, nodes - from) }, (_, offset) =>
        incomingOf(from + offset, second, clock.wallMs()),
      );
      await counted('accept', () => {
        for (const incoming of piece) link.listener(incoming);
        ingest.drain();
      });
      await counted('store', async () => {
        await clock.advance(250);
        while (ingest.counters().inFlight > 0) await setImmediate();
      });
    }
  }
  await counted('store', () => ingest.stop());
  // Far enough for every minute to be made.
  await counted('rollUp', () => storeClock.advance(seconds * 1_000 + 180_000));
  const held = await store.missing(0);
  const { received, rejected, dropped } = ingest.counters();
  await store.close();
  return { held, received, rejected, dropped };
}

const folder = await mkdtemp(join(tmpdir(), 'kr-bench-ingest-'));
try {
  const file = join(folder, 'metrics.duckdb');
  const { held, ...counters } = await measure(file);
  const per = (stage: keyof typeof cpu): number => Math.round((cpu[stage] / millions) * 1e3) / 1e3;
  const stages = { accept: per('accept'), store: per('store'), rollUp: per('rollUp') };
  const total = Math.round((stages.accept + stages.store + stages.rollUp) * 1e3) / 1e3;
  const lost = nodes * seconds - held.samples + held.missing;
  const bytesPerValue = Math.round(((await stat(file)).size / millions / 1e6) * 100) / 100;
  const residentMb = Math.round(process.memoryUsage.rss() / 1_048_576);
  const figures = { nodes, guests, seconds, values: millions * 1e6, ...counters, lost };
  const costs = { cpuSecondsPerMillionValues: { ...stages, total }, bytesPerValue, residentMb };
  process.stdout.write(`${JSON.stringify({ ...figures, ...costs })}\n`);
  if (lost > 0 || counters.rejected > 0) process.exitCode = 99;
} finally {
  await rm(folder, { recursive: true, force: true });
}
