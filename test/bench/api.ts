/**
 * Reads and lists of a running server at a fixed rate, open loop: latency counts from the moment
 * a request was due, so a slow answer cannot slow the asking.
 *
 *   node test/bench/api.ts --rate 50 --seconds 60      (finds the server by KR_DATA_DIR)
 */
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Agent, request } from 'undici';

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '60' },
  },
});
const rate = Number(values.rate);
const count = rate * Number(values.seconds);
const dispatcher = new Agent({
  connect: { socketPath: join(resolve(process.env['KR_DATA_DIR'] ?? './data'), 'http.sock') },
  connections: 32,
});

const get = async (path: string): Promise<unknown> => {
  const answer = await request(`http://localhost/api/v1/${path}`, { dispatcher });
  if (answer.statusCode !== 200) throw new Error(`${path}: ${answer.statusCode}`);
  return answer.body.json();
};

const { items } = (await get('nodes?limit=100&offset=500')) as {
  items: { id: string; cluster: string }[];
};
const some = items[0];
if (!some) throw new Error('the server knows no node');
const paths = [
  'nodes?limit=100',
  'nodes?limit=100&offset=1000',
  'guests?limit=100',
  'guests?limit=100&offset=20000',
  `clusters/${some.cluster}/nodes/${some.id}`,
  `nodes?cluster=${some.cluster}`,
  'clusters?limit=200',
  'commands?limit=50',
  'decisions?limit=50',
  `telemetry?cluster=${some.cluster}&node=${some.id}&metrics=cpuRatio,memoryUsedBytes`,
];

const latencies = new Map<string, number[]>(paths.map((path) => [path, []]));
let failed = 0;
const startMs = performance.now();
const asked: Promise<void>[] = [];
for (let index = 0; index < count; index += 1) {
  const dueMs = startMs + (index * 1_000) / rate;
  const waitMs = dueMs - performance.now();
  if (waitMs > 0) await new Promise((done) => setTimeout(done, waitMs));
  const path = paths[index % paths.length] ?? '';
  asked.push(
    get(path).then(
      () => void latencies.get(path)?.push(performance.now() - dueMs),
      () => void (failed += 1),
    ),
  );
}
await Promise.all(asked);

const at = (list: readonly number[], share: number): number => {
  const sorted = list.toSorted((a, b) => a - b);
  return Math.round((sorted[Math.floor(share * (sorted.length - 1))] ?? 0) * 10) / 10;
};
for (const [path, list] of latencies) {
  process.stdout.write(`p50 ${at(list, 0.5)} ms, p99 ${at(list, 0.99)} ms  ${path}\n`);
}
const all = [...latencies.values()].flat();
const figures = { requests: count, failed, p50Ms: at(all, 0.5), p99Ms: at(all, 0.99) };
process.stdout.write(`${JSON.stringify(figures)}\n`);
await dispatcher.close();
