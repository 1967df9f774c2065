/**
 * What a homelab's telemetry takes on disk: the simulator's five machines with their guests, a sample
 * each 5 s, written by the real stores; bytes per sample at each resolution, and from them a year.
 * DuckDB's from the blocks of its tables after a checkpoint, VictoriaMetrics' from its folder after a
 * forced merge. InfluxDB 2 itself is not here; it takes the same lines.
 *
 *   npm run bench:disk -- --hours 24
 *
 * The last line is one JSON object.
 */
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { request } from 'undici';
import { openDuckDb } from '../../backend/store/metrics/duckdb-driver.ts';
import { openDuckDbStore } from '../../backend/store/metrics/duckdb.ts';
import { openInfluxStore } from '../../backend/store/metrics/influx.ts';
import type { MetricsStore, StoredSample } from '../../backend/store/ports.ts';
import { storedSample } from '../../backend/store/stored-sample.ts';
import { advance } from '../../simulator/world/advance.ts';
import { buildHomelab } from '../../simulator/world/homelab.ts';
import { sampleNode } from '../../simulator/world/sample.ts';
import { realClock } from '../broker/wire.ts';
import { virtualClock } from '../support/clock.ts';
import { fetchServers } from '../support/debian.ts';
import { memoryLog } from '../support/log.ts';
import { startVictoriaMetrics } from '../support/servers.ts';

const { values: asked } = parseArgs({ options: { hours: { type: 'string', default: '24' } } });
const hours = Number(asked.hours);
if (!(hours >= 1 && hours <= 24)) throw new Error('--hours: use 1 to 24');

const hourMs = 3_600_000;
const intervalMs = 5_000;
const samplesPerBatch = 1_024;
/** Yesterday, so that nothing of it is in the future or expired. */
const startMs = Math.floor(realClock.wallMs() / (24 * hourMs) - 1) * 24 * hourMs;
const endMs = startMs + hours * hourMs;

/** The samples of the five machines of `home`, in order of time. */
function* homelab(): Generator<StoredSample> {
  const world = buildHomelab({ seed: 42, startMs, timeScale: 1 });
  const nodes = world.clusters.get('home')?.nodes ?? [];
  for (let atMs = startMs, seq = 1; atMs < endMs; atMs += intervalMs, seq += 1) {
    advance(world, atMs);
    for (const node of nodes) {
      const { node: values, guests } = sampleNode(world, node, atMs);
      const identity = { cluster: 'home', node: node.spec.node, incarnation: 1, seq };
      yield storedSample({ ...identity, sampledAtMs: atMs }, { values, guests: guests ?? [] });
    }
  }
}

async function fill(store: MetricsStore) {
  const counts = { samples: 0, guestRows: 0 };
  let batch: StoredSample[] = [];
  for (const sample of homelab()) {
    counts.samples += 1;
    counts.guestRows += sample.guests.length;
    if (batch.push(sample) < samplesPerBatch) continue;
    await store.write(batch);
    batch = [];
  }
  await store.write(batch);
  return counts;
}

type Table = { name: string; bytes: number; rows: number };

/** Tables by what they hold: the blocks that their segments lie in, shared ones by their share. */
async function tablesOf(file: string): Promise<Table[]> {
  const db = await openDuckDb({ file, memoryLimitMb: 256 });
  try {
    await db.execute('CHECKPOINT');
    const names = (await db.query('SELECT table_name AS name FROM duckdb_tables()')).map(
      ({ name }) => name as string,
    );
    const blocks = new Map<number, string[]>();
    const tables = new Map<string, Table>();
    for (const name of names) {
      const [count] = await db.query(`SELECT CAST(count(*) AS DOUBLE) AS rows FROM "${name}"`);
      tables.set(name, { name, bytes: 0, rows: Number(count?.['rows']) });
      const used = await db.query(
        `SELECT CAST(block_id AS DOUBLE) AS id FROM pragma_storage_info('${name}')
         WHERE block_id >= 0`,
      );
      for (const { id } of used) {
        const users = blocks.get(id as number) ?? [];
        users.push(name);
        blocks.set(id as number, users);
      }
    }
    const [size] = await db.query(
      'SELECT CAST(block_size AS DOUBLE) AS bytes FROM pragma_database_size()',
    );
    for (const users of blocks.values()) {
      for (const name of users) {
        (tables.get(name) as Table).bytes += Number(size?.['bytes']) / users.length;
      }
    }
    return [...tables.values()];
  } finally {
    await db.close();
  }
}

async function duckDb(folder: string) {
  const file = join(folder, 'metrics.duckdb');
  const log = memoryLog();
  // A clock that stands at the start makes no roll-ups while the day is written.
  const filling = await openDuckDbStore({ file, clock: virtualClock(startMs), log });
  const counts = await fill(filling);
  await filling.close();
  const clock = virtualClock(endMs + 2 * hourMs);
  const store = await openDuckDbStore({ file, clock, log });
  await clock.advance(11_000);
  await store.close();
  const tables = await tablesOf(file);
  const of = (pattern: RegExp) => {
    const found = tables.filter(({ name }) => pattern.test(name));
    const sum = (key: 'bytes' | 'rows') => found.reduce((total, table) => total + table[key], 0);
    return { bytes: sum('bytes'), nodeRows: countOf(found, /^node_/), rows: sum('rows') };
  };
  const fileBytes = (await stat(file)).size;
  return { counts, fileBytes, raw: of(/_raw_/), minutes: of(/_1m_/), hourly: of(/_1h_/) };
}

const countOf = (tables: readonly Table[], pattern: RegExp): number =>
  tables.filter(({ name }) => pattern.test(name)).reduce((total, { rows }) => total + rows, 0);

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(
    files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function victoriaMetrics() {
  const server = await startVictoriaMetrics();
  try {
    const access = { url: server.url, token: 'unused', org: 'bench', bucket: 'bench' };
    const clock = realClock;
    const store = await openInfluxStore({ ...access, clock, log: memoryLog(), spool: null });
    const counts = await fill(store);
    await store.close();
    for (const path of ['internal/force_flush', 'internal/force_merge']) {
      await (await request(`${server.url}/${path}`)).body.dump();
    }
    const active = async (): Promise<boolean> => {
      const { body } = await request(`${server.url}/metrics`);
      return /^vm_active_merges\{[^}]*\} [1-9]/m.test(await body.text());
    };
    while (await active()) await new Promise((resolve) => setTimeout(resolve, 200));
    const query = new URLSearchParams({ 'match[]': 'node_seq' });
    const { body } = await request(`${server.url}/api/v1/export?${query.toString()}`);
    const lines = (await body.text()).split('\n').filter((line) => line !== '');
    const held = lines
      .map((line) => (JSON.parse(line) as { values: number[] }).values.length)
      .reduce((sum, length) => sum + length, 0);
    if (held !== counts.samples) throw new Error(`${held} of ${counts.samples} samples are stored`);
    await server.halt();
    return { counts, bytes: await folderBytes(server.folder) };
  } finally {
    await server.stop();
  }
}

const rounded = (value: number, digits = 1): number => Number(value.toFixed(digits));

await fetchServers();
const folder = await mkdtemp(join(tmpdir(), 'kr-bench-disk-'));
try {
  const duck = await duckDb(folder);
  const victoria = await victoriaMetrics();
  const days = hours / 24;
  const perDay = (part: { bytes: number }): number => part.bytes / days;
  const yearBytes = 7 * perDay(duck.raw) + 90 * perDay(duck.minutes) + 365 * perDay(duck.hourly);
  const { samples, guestRows } = duck.counts;
  const perRow = ({ bytes, rows }: { bytes: number; rows: number }) => rounded(bytes / rows);
  const perSample = ({ bytes, nodeRows }: { bytes: number; nodeRows: number }) =>
    rounded(bytes / nodeRows);
  const figures = {
    nodes: 5,
    guestsPerNode: rounded(guestRows / samples),
    hours,
    samples,
    duckDb: {
      bytesPerSample: {
        raw: perSample(duck.raw),
        '1m': perSample(duck.minutes),
        '1h': perSample(duck.hourly),
      },
      bytesPerRow: { raw: perRow(duck.raw), '1m': perRow(duck.minutes), '1h': perRow(duck.hourly) },
      fileMb: rounded(duck.fileBytes / 1e6),
      yearMb: rounded(yearBytes / 1e6),
    },
    victoriaMetrics: {
      bytesPerSample: rounded(victoria.bytes / victoria.counts.samples),
      rawYearMb: rounded((victoria.bytes / days / 1e6) * 365),
    },
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
