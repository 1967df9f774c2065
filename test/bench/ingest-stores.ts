/**
 * The stores that `bench:ingest` writes to, and what it asks them: whether one sample can be queried
 * by now, and in the end how many there are. Answers come from the store itself, never from counters
 * of ours.
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { openDuckDbStore } from '../../backend/store/metrics/duckdb.ts';
import { openInfluxStore } from '../../backend/store/metrics/influx.ts';
import type { MetricsStore } from '../../backend/store/ports.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import { fetchServers } from '../support/debian.ts';
import { memoryLog } from '../support/log.ts';
import { startVictoriaMetrics } from '../support/servers.ts';

export type Asked = { node: string; fromMs: number; toMs: number };

export type BenchStore = {
  store: MetricsStore;
  /** Whether a query finds a sample of this node in [fromMs, toMs). */
  has(asked: Asked): Promise<boolean>;
  /** Samples of nodes and rows of guests that are there; only DuckDB's guests are not counted. */
  held(spanMs: number): Promise<{ samples: number; guestRows: number | null }>;
  bytes(): Promise<number>;
  /** CPU of a store that is a process of its own, since it began. */
  cpuSeconds(): Promise<number>;
  close(): Promise<void>;
};

export type StoreOptions = { folder: string; clock: Clock; startMs: number };

async function duckDb({ folder, clock }: StoreOptions): Promise<BenchStore> {
  const file = join(folder, 'metrics.duckdb');
  const store = await openDuckDbStore({ file, clock, log: memoryLog() });
  const one = {
    cluster: 'bench',
    entity: 'node',
    metrics: ['cpuRatio'],
    aggregate: 'last',
  } as const;
  return {
    store,
    async has({ node, fromMs, toMs }) {
      const found = await store.range({ ...one, node, fromMs, toMs, stepMs: toMs - fromMs });
      return found.some(({ points }) => points.some(([, value]) => value !== null));
    },
    held: async () => ({ samples: (await store.missing(0)).samples, guestRows: null }),
    bytes: async () => (await stat(file)).size,
    cpuSeconds: async () => 0,
    close: () => store.close(),
  };
}

/** User and system time in the kernel's ticks, of which 100 are a second [proc_pid_stat(5)]. */
async function cpuSecondsOf(pid: number): Promise<number> {
  const line = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function textOf(url: string): Promise<string> {
  const { statusCode, body } = await request(url);
  const text = await body.text();
  if (statusCode >= 300) throw new Error(`${url}: ${statusCode} ${text.slice(0, 200)}`);
  return text;
}

async function victoriaMetrics({ folder, clock, startMs }: StoreOptions): Promise<BenchStore> {
  await fetchServers();
  const server = await startVictoriaMetrics();
  const access = { url: server.url, token: 'unused', org: 'bench', bucket: 'bench' };
  const spool = { folder: join(folder, 'spool') };
  const store = await openInfluxStore({ ...access, clock, log: memoryLog(), spool });
  const exported = async (query: Record<string, string>): Promise<number[][]> => {
    const text = await textOf(
      `${server.url}/api/v1/export?${new URLSearchParams(query).toString()}`,
    );
    const lines = text.split('\n').filter((line) => line !== '');
    return lines.map((line) => (JSON.parse(line) as { values: number[] }).values);
  };
  const countOf = async (series: string, spanMs: number): Promise<number> => {
    const seconds = Math.ceil(spanMs / 1_000) + 60;
    const query = `sum(count_over_time(${series}[${seconds}s]))`;
    const time = String(startMs / 1_000 + seconds - 1);
    const search = new URLSearchParams({ query, time, nocache: '1' }).toString();
    const answer = JSON.parse(await textOf(`${server.url}/api/v1/query?${search}`)) as {
      data: { result: { value: [number, string] }[] };
    };
    return Number(answer.data.result[0]?.value[1] ?? 0);
  };
  return {
    store,
    async has({ node, fromMs, toMs }) {
      const range = { start: String(fromMs / 1_000), end: String((toMs - 1) / 1_000) };
      const found = await exported({ 'match[]': `node_seq{node="${node}"}`, ...range });
      return found.some((values) => values.length > 0);
    },
    async held(spanMs) {
      await textOf(`${server.url}/internal/force_flush`);
      const seqs = await exported({ 'match[]': 'node_seq' });
      // A sample that was sent twice counts once.
      const samples = seqs.reduce((sum, values) => sum + new Set(values).size, 0);
      return { samples, guestRows: await countOf('guest_cpuRatio', spanMs) };
    },
    async bytes() {
      const text = await textOf(`${server.url}/metrics`);
      const sizes = [...text.matchAll(/^vm_data_size_bytes\{[^}]*\} (\S+)$/gm)];
      return sizes.reduce((sum, [, size]) => sum + Number(size), 0);
    },
    cpuSeconds: () => cpuSecondsOf(server.pid),
    async close() {
      await store.close();
      await server.stop();
    },
  };
}

export const openers = { duckdb: duckDb, victoriametrics: victoriaMetrics } as const;

export function storeNameOf(text: string): keyof typeof openers {
  if (text === 'duckdb' || text === 'victoriametrics') return text;
  throw new Error(`--store: use ${Object.keys(openers).join(' or ')}`);
}
