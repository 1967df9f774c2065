/**
 * How fast the embedded store answers about a day of a fleet: fills a file with raw samples by
 * SQL, lets the store make its roll-ups, and asks. Beside each time stand the CPU it took and its ratio to a
 * reference, a sum over a range made by the same library in the same run, so that a slow or busy
 * machine can be told from a slow store.
 *
 *   npm run bench:query -- --nodes 2048 --hours 24 --interval 5 --repeats 9 [--judge]
 *
 * The ratio is of CPU. With --judge it exits with 99 when a limit is exceeded. The last line is one JSON object.
 */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openDuckDb } from '../../backend/store/metrics/duckdb-driver.ts';
import { dayOf, rawTable, seriesTable } from '../../backend/store/metrics/duckdb-sql.ts';
import { openDuckDbStore } from '../../backend/store/metrics/duckdb.ts';
import type { MetricsStore } from '../../backend/store/ports.ts';
import { storedSample } from '../../backend/store/stored-sample.ts';
import { virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { nodeValues } from '../support/messages.ts';

const { values: asked } = parseArgs({
  options: {
    nodes: { type: 'string', default: '2048' },
    hours: { type: 'string', default: '24' },
    interval: { type: 'string', default: '5' },
    repeats: { type: 'string', default: '9' },
    judge: { type: 'boolean', default: false },
  },
});
const nodes = Number(asked.nodes);
const hours = Number(asked.hours);
const intervalMs = Number(asked.interval) * 1_000;
const repeats = Number(asked.repeats);

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const midnightMs = Math.ceil(1_800_000_000_000 / dayMs) * dayMs;
const endMs = midnightMs + hours * hourMs;
const folder = await mkdtemp(join(tmpdir(), 'kr-bench-query-'));
const file = join(folder, 'metrics.duckdb');
const say = (line: string): void => void process.stdout.write(`${line}\n`);

if (!(hours >= 1 && hours <= 24)) throw new Error('--hours: use 1 to 24; the day has one table');

const open = () => {
  const clock = virtualClock(endMs);
  const store = openDuckDbStore({ file, clock, log: memoryLog(), memoryLimitMb: 128 });
  return store.then((opened) => ({ store: opened, clock }));
};

/** One sample of each node the usual way, which makes the tables and the series. */
async function begin(): Promise<void> {
  const { store } = await open();
  const names = Array.from({ length: nodes }, (_, index) => index);
  const sampleOf = (index: number) => {
    const name = { cluster: `c${Math.floor(index / 16)}`, node: `n${index % 16}` };
    const identity = { ...name, incarnation: 1, seq: 1, sampledAtMs: midnightMs };
    return storedSample(identity, { values: nodeValues(), guests: [] });
  };
  await store.write(names.map(sampleOf));
  await store.close();
}

async function fill(): Promise<number> {
  const db = await openDuckDb({ file, memoryLimitMb: 512 });
  const day = dayOf(midnightMs);
  const perHour = hourMs / intervalMs;
  for (let hour = 0; hour < hours; hour += 1) {
    const first = hour === 0 ? 1 : hour * perHour;
    await db.execute(`INSERT INTO ${rawTable('node', day)}
        (series, at_ms, incarnation, seq, "cpuRatio", "memoryUsedBytes", "powerWatts")
      SELECT s.id, ${midnightMs} + t.i * ${intervalMs} + s.id % ${intervalMs}, 1, t.i + 1,
        0.5 + 0.4 * sin(t.i / 300.0 + s.id) + random() * 0.05,
        8e9 + 4e9 * sin(t.i / 900.0 + s.id) + random() * 1e7, 40 + 60 * random()
      FROM range(${first}, ${(hour + 1) * perHour}) t(i), ${seriesTable(day)} s
      ORDER BY t.i, s.id`);
  }
  await db.close();
  return hours * perHour * nodes;
}

async function reference(): Promise<() => Promise<void>> {
  const db = await openDuckDb({ file: join(folder, 'reference.duckdb'), memoryLimitMb: 64 });
  return async () => void (await db.query('SELECT sum(range % 7) AS s FROM range(5000000)'));
}

const median = (list: readonly number[]): number =>
  list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? NaN;

type Cost = { wallMs: number; cpuMs: number };

/** CPU of every thread of this process, the library's too: what a busy machine cannot spoil. */
async function timed(work: () => Promise<unknown>): Promise<Cost> {
  const beganAtMs = performance.now();
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return { wallMs: performance.now() - beganAtMs, cpuMs: (user + system) / 1_000 };
}
const medianOf = (costs: readonly Cost[], key: keyof Cost): number =>
  Math.round(median(costs.map((cost) => cost[key])) * 10) / 10;

const one = { cluster: 'c0', entity: 'node', node: 'n7' } as const;
const all = { entity: 'node' } as const;
const day = { fromMs: midnightMs, toMs: endMs, stepMs: 120_000 };
const hour = { fromMs: endMs - hourMs, toMs: endMs, stepMs: 5_000 };
const metrics = ['cpuRatio'];
const several = ['cpuRatio', 'memoryUsedBytes', 'powerWatts'];
const fewer = { fromMs: midnightMs, toMs: endMs, metric: 'cpuRatio', limit: 10 } as const;

type Question = {
  what: string;
  limitMs: number | null;
  ask: (store: MetricsStore) => Promise<unknown>;
};
const questions: Question[] = [
  {
    what: 'a day of one node, mean',
    limitMs: 50,
    ask: (store) => store.range({ ...one, ...day, metrics, aggregate: 'mean' }),
  },
  {
    what: 'a day of one node, three series, maximum',
    limitMs: 50,
    ask: (store) => store.range({ ...one, ...day, metrics: several, aggregate: 'max' }),
  },
  {
    what: 'the last hour of one node, raw',
    limitMs: null,
    ask: (store) => store.range({ ...one, ...hour, metrics, aggregate: 'mean' }),
  },
  {
    what: 'a day of the fleet as one series, mean',
    limitMs: 500,
    ask: (store) => store.total({ ...all, ...day, metrics, aggregate: 'mean' }),
  },
  {
    what: 'a day of the fleet as one series, p95',
    limitMs: null,
    ask: (store) => store.total({ ...all, ...day, metrics, aggregate: 'p95' }),
  },
  {
    what: 'the ten busiest nodes of a day',
    limitMs: null,
    ask: (store) => store.top({ ...all, ...fewer, aggregate: 'mean' }),
  },
];

type Answered = { medianMs: number; cpuMs: number; ratio: number; limitMs: number | null };

async function measure() {
  await begin();
  const { wallMs: fillMs } = await timed(fill);
  const rows = (hours * hourMs * nodes) / intervalMs;
  say(`${rows} raw samples of ${nodes} nodes in ${Math.round(fillMs / 1_000)} s`);
  const { store, clock } = await open();
  const { wallMs: rollUpMs, cpuMs: rollUpCpuMs } = await timed(() => clock.advance(11_000));
  const { rollupLagMs } = store.figures();
  say(
    `rolled up in ${Math.round(rollUpMs / 1_000)} s, ${Math.round(rollupLagMs ?? NaN)} ms behind`,
  );
  const refer = await reference();
  const answers: Record<string, Answered> = {};
  let isWithin = true;
  for (const { what, limitMs, ask } of questions) {
    await ask(store);
    const own: Cost[] = [];
    const other: Cost[] = [];
    for (let index = 0; index < repeats; index += 1) {
      other.push(await timed(refer));
      own.push(await timed(() => ask(store)));
    }
    const [medianMs, cpuMs] = [medianOf(own, 'wallMs'), medianOf(own, 'cpuMs')];
    const ratio = Math.round((cpuMs / medianOf(other, 'cpuMs')) * 100) / 100;
    answers[what] = { medianMs, cpuMs, ratio, limitMs };
    isWithin &&= limitMs === null || medianMs < limitMs;
    const beside = `reference ${medianOf(other, 'wallMs')} ms, CPU ${medianOf(other, 'cpuMs')} ms`;
    say(`${medianMs} ms, CPU ${cpuMs} ms (${beside}, ratio ${ratio})  ${what}`);
  }
  const points = (await store.range({ ...one, ...day, metrics, aggregate: 'mean' }))[0]?.points;
  const gaps = points?.filter(([, value]) => value === null).length ?? NaN;
  await store.close();
  const fileMb = Math.round((await stat(file)).size / 1_048_576);
  const bytesPerSample = Math.round((await stat(file)).size / rows);
  const made = { fillMs, rollUpMs, rollUpCpuMs };
  return { nodes, hours, rows, ...made, fileMb, bytesPerSample, gaps, answers, isWithin };
}

try {
  const figures = await measure();
  say(JSON.stringify(figures));
  if (asked.judge && !figures.isWithin) process.exitCode = 99;
} finally {
  await rm(folder, { recursive: true, force: true });
}
