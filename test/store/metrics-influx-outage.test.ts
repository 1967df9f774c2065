import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openInfluxStore } from '../../backend/store/metrics/influx.ts';
import { virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { guestSample } from '../support/messages.ts';
import { type InfluxFake, startInfluxFake } from './influx-fake.ts';
import { sampleOf, startMs } from './metrics-samples.ts';

const stops: (() => Promise<unknown>)[] = [];
let folder: string;
let fake: InfluxFake;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-influx-'));
  fake = await startInfluxFake();
  stops.push(() => fake.stop());
});

afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
  await rm(folder, { recursive: true, force: true });
});

async function openStore({ nowMs = startMs + 60_000, bytesMax = 1e9 } = {}) {
  const clock = virtualClock(nowMs);
  const log = memoryLog();
  const access = { url: fake.url, token: 't', org: 'lab', bucket: 'raw' };
  const spool = { folder: join(folder, 'spool'), bytesMax };
  const store = await openInfluxStore({ ...access, clock, log, spool });
  let isClosed = false;
  const close = async () => {
    if (isClosed) return;
    isClosed = true;
    const closed = store.close();
    await clock.advance(1_000);
    await closed;
  };
  stops.push(close);
  return { store, clock, log, close };
}

const down = { status: 503, body: '{"code":"unavailable","message":"not now"}' };
const writes = () => fake.requests.length;
const storedSeqs = () =>
  [...fake.points.values()]
    .filter(({ measurement, field }) => measurement === 'node' && field === 'seq')
    .map(({ value }) => Number(value))
    .toSorted((a, b) => a - b);
const to = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

describe('a server that does not answer', () => {
  it('costs no sample: they wait in the spool and arrive with their own times', async () => {
    const { store, clock } = await openStore();
    await store.write([sampleOf(1)]);
    fake.refuse = down;
    for (const seq of [2, 3, 4]) await store.write([sampleOf(seq)]);
    expect(storedSeqs()).toEqual([1]);
    expect(store.figures()).toMatchObject({ spoolSamples: 3, spoolDropped: 0 });
    expect(await store.health()).toMatchObject({ ok: false });
    expect((await store.watermarks())[0]).toMatchObject({ seq: 4 });
    fake.refuse = null;
    await clock.advance(60_000);
    expect(storedSeqs()).toEqual(to(4));
    expect(store.figures()).toMatchObject({ spoolSamples: 0, spoolBytes: 0 });
    expect(await store.health()).toMatchObject({ ok: true });
    const times = [...fake.points.values()].filter(({ field }) => field === 'seq');
    const own = times.filter(({ measurement }) => measurement === 'node');
    expect(own.every(({ value, timeMs }) => timeMs === startMs + Number(value) * 5_000)).toBe(true);
  });

  it('is asked once and then left alone for a growing while, whatever is written', async () => {
    const { store, clock } = await openStore();
    fake.refuse = down;
    for (let seq = 1; seq <= 120; seq += 1) {
      await store.write([sampleOf(seq)]);
      await clock.advance(1_000);
    }
    expect(writes()).toBeGreaterThan(3);
    expect(writes()).toBeLessThan(12);
    fake.refuse = null;
    await clock.advance(31_000);
    expect(storedSeqs()).toEqual(to(120));
  });

  it('finds what waited for it after the backend itself started again', async () => {
    const first = await openStore();
    fake.refuse = down;
    await first.store.write([sampleOf(1), sampleOf(2)]);
    await first.close();
    const second = await openStore();
    expect(second.store.figures()).toMatchObject({ spoolSamples: 2 });
    expect((await second.store.watermarks())[0]).toMatchObject({ node: 'n1', seq: 2 });
    fake.refuse = null;
    await second.clock.advance(5_000);
    expect(storedSeqs()).toEqual([1, 2]);
  });

  it('loses the oldest when the spool is full, and says how many', async () => {
    const { store, clock, log } = await openStore({ bytesMax: 200_000 });
    fake.refuse = down;
    const guests = Array.from({ length: 90 }, (_, index) => guestSample(`${index}`));
    const noisy = (seq: number) =>
      guests.map((guest, index) => ({ ...guest, cpuRatio: Math.abs(Math.sin(seq * 99 + index)) }));
    const count = 400;
    for (let seq = 1; seq <= count; seq += 10) {
      const batch = Array.from({ length: 10 }, (_, index) => seq + index);
      await store.write(batch.map((each) => sampleOf(each, { guests: noisy(each) })));
    }
    const dropped = store.figures()['spoolDropped'] ?? 0;
    expect(dropped).toBeGreaterThan(0);
    expect(log.lines.map(({ message }) => message)).toContain(
      'the spool is full: its oldest samples are lost',
    );
    expect((await store.health()).detail).toContain(`${dropped} samples fell out of the spool`);
    fake.refuse = null;
    await clock.advance(31_000);
    expect(storedSeqs()).toEqual(to(count).slice(dropped));
  });
});

describe('a server that asks for time', () => {
  it.each([
    ['429 in seconds', 429, () => '40'],
    ['503 by a date', 503, (nowMs: number) => new Date(nowMs + 40_000).toUTCString()],
  ])('gets it: %s', async (_, status, header) => {
    const { store, clock } = await openStore();
    const headers = { 'retry-after': header(clock.wallMs()) };
    fake.refuse = { status, body: '{}', headers };
    await store.write([sampleOf(1)]);
    fake.refuse = null;
    await clock.advance(38_000);
    expect(writes()).toBe(1);
    await clock.advance(4_000);
    expect(storedSeqs()).toEqual([1]);
  });
});

describe('lines a server refuses for ever', () => {
  it('are found and counted, and cost none of the others', async () => {
    const { store, log } = await openStore();
    const message = `unable to parse 'node,...': bad timestamp`;
    fake.refuse = (lines) =>
      lines.some((line) => line.includes('seq=7i'))
        ? { status: 400, body: JSON.stringify({ code: 'invalid', message }) }
        : null;
    await store.write(to(20).map((seq) => sampleOf(seq)));
    expect(storedSeqs()).toEqual(to(20).filter((seq) => seq !== 7));
    expect(store.figures()).toMatchObject({ refusedLines: 1, spoolSamples: 0 });
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
    expect((await store.health()).detail).toContain('1 lines refused');
  });

  it('never cost more than a bounded number of requests', async () => {
    const { store } = await openStore();
    fake.refuse = { status: 400, body: '{"code":"invalid","message":"all wrong"}' };
    await store.write(to(2_000).map((seq) => sampleOf(seq, { guests: [] })));
    expect(writes()).toBeLessThan(160);
    expect(store.figures()).toMatchObject({ refusedLines: 2_000, spoolSamples: 0 });
  });

  it('are counted as the server counts them when it keeps the rest of a batch', async () => {
    const { store } = await openStore();
    const message = 'failure writing points: partial write: field type conflict dropped=3';
    fake.refuse = { status: 422, body: JSON.stringify({ code: 'unprocessable entity', message }) };
    await store.write(to(5).map((seq) => sampleOf(seq)));
    expect(writes()).toBe(1);
    expect(store.figures()).toMatchObject({ refusedLines: 3, expiredLines: 0 });
  });

  it('are told apart from those that retention has outlived', async () => {
    const { store } = await openStore();
    const message = 'partial write: points beyond retention policy dropped=2';
    fake.refuse = { status: 422, body: JSON.stringify({ code: 'unprocessable entity', message }) };
    await store.write([sampleOf(1), sampleOf(2)]);
    expect(store.figures()).toMatchObject({ refusedLines: 0, expiredLines: 2 });
  });

  it('become two requests when it was only their number', async () => {
    const { store } = await openStore();
    fake.refuse = (lines) => (lines.length > 60 ? { status: 413, body: '{}' } : null);
    await store.write(to(100).map((seq) => sampleOf(seq, { guests: [] })));
    expect(storedSeqs()).toEqual(to(100));
    expect(store.figures()).toMatchObject({ refusedLines: 0 });
  });
});

describe('buckets and roll-up tasks', () => {
  const days = (count: number) => [{ type: 'expire', everySeconds: count * 86_400 }];

  it('are made at the start, once, with the retention of each resolution', async () => {
    const first = await openStore();
    await expect.poll(() => first.clock.advance(1).then(() => fake.tasks.length)).toBe(2);
    expect(fake.buckets).toMatchObject([
      { name: 'raw', orgID: 'o1', retentionRules: days(7) },
      { name: 'raw_1m', retentionRules: days(90) },
      { name: 'raw_1h', retentionRules: days(730) },
    ]);
    await first.close();
    const second = await openStore();
    await expect
      .poll(() => second.clock.advance(1).then(() => second.store.figures()['isReady']))
      .toBe(1);
    expect(fake.buckets).toHaveLength(3);
    expect(fake.tasks).toHaveLength(2);
  });

  it('that an older version made are brought up to date', async () => {
    fake.tasks.push({ id: 't9', name: 'kernreaktor raw to 1m', flux: 'old' });
    const { clock } = await openStore();
    await expect.poll(() => clock.advance(1).then(() => fake.tasks.length)).toBe(2);
    expect(fake.tasks[0]?.flux).toContain('every: 1m');
  });

  it('that a token may not make cost nothing but the roll-ups, and are tried again', async () => {
    fake.forbidSetup = true;
    const { store, clock, log } = await openStore();
    await expect.poll(() => clock.advance(1).then(() => log.lines.length)).toBe(1);
    expect(log.lines).toMatchObject([{ level: 'warn' }]);
    await store.write([sampleOf(1)]);
    expect(storedSeqs()).toEqual([1]);
    fake.forbidSetup = false;
    await clock.advance(60_000);
    await expect.poll(() => fake.tasks.length).toBe(2);
  });
});

describe('a long range', () => {
  const hourMs = 3_600_000;
  const fromMs = Math.ceil(startMs / hourMs) * hourMs;

  it('is answered from roll-ups as far as these reach, then from raw samples', async () => {
    const nowMs = fromMs + 24 * hourMs;
    const { store, clock } = await openStore({ nowMs });
    await expect.poll(() => clock.advance(1).then(() => store.figures()['isReady'])).toBe(1);
    const put = (bucket: string, field: string, value: number, timeMs: number) =>
      fake.points.set(`${bucket}${field}${timeMs}`, {
        bucket,
        measurement: 'node',
        tags: { cluster: 'home', node: 'n1' },
        field,
        value,
        timeMs,
      });
    put('raw_1m', 'cpuRatio', 0.25, fromMs);
    put('raw_1m', 'cpuRatio_max', 0.75, fromMs);
    put('raw', 'cpuRatio', 0.9, fromMs);
    put('raw', 'cpuRatio', 0.5, nowMs - 60_000);
    const query = { cluster: 'home', entity: 'node', node: 'n1', metrics: ['cpuRatio'] } as const;
    const span = { fromMs, toMs: nowMs, stepMs: 600_000 };
    const values = async (aggregate: 'mean' | 'max') => {
      const [series] = await store.range({ ...query, ...span, aggregate });
      expect(series?.points).toHaveLength(144);
      return series?.points.map(([, value]) => value).filter((value) => value !== null);
    };
    expect(await values('mean')).toEqual([0.25, 0.5]);
    expect(await values('max')).toEqual([0.75, 0.5]);
  });

  it('of the server itself is rolled up, too: what only grows by its last value', async () => {
    const nowMs = fromMs + 2 * hourMs;
    const { store, clock } = await openStore({ nowMs });
    await expect.poll(() => clock.advance(1).then(() => store.figures()['isReady'])).toBe(1);
    const put = (field: string, value: number, timeMs: number) =>
      fake.points.set(`${field}${timeMs}`, {
        bucket: 'raw',
        measurement: 'kr',
        tags: { cluster: 'home' },
        field,
        value,
        timeMs,
      });
    for (const second of [0, 10, 20]) {
      put('ingest_total', 100 + second, fromMs + second * 1_000);
      put('node_state', second === 20 ? 3 : 6, fromMs + second * 1_000);
      put('guests', second, fromMs + second * 1_000);
    }
    await store.write([sampleOf(1, { sampledAtMs: fromMs + 5_000 })]);
    await clock.advance(30_000);
    await expect.poll(() => clock.advance(30_000).then(() => store.figures()['lateHours'])).toBe(0);
    const rolled = (bucket: string) =>
      Object.fromEntries(
        [...fake.points.values()]
          .filter((point) => point.bucket === bucket && point.measurement === 'kr')
          .map(({ field, value }) => [field, value]),
      );
    const expected = { ingest_total: 120, node_state: 3, guests: 10, guests_max: 20 };
    expect(rolled('raw_1m')).toEqual(expected);
    expect(rolled('raw_1h')).toEqual(expected);
  });

  it('has no hole where samples came late: their hours are rolled up again', async () => {
    const nowMs = fromMs + 2 * hourMs;
    const { store, clock } = await openStore({ nowMs });
    await expect.poll(() => clock.advance(1).then(() => store.figures()['isReady'])).toBe(1);
    await store.write(to(30).map((seq) => sampleOf(seq, { sampledAtMs: fromMs + seq * 5_000 })));
    expect(store.figures()).toMatchObject({ lateHours: 1 });
    await clock.advance(30_000);
    await expect.poll(() => clock.advance(30_000).then(() => store.figures()['lateHours'])).toBe(0);
    const made = (bucket: string, field: string) =>
      [...fake.points.values()]
        .filter((point) => point.bucket === bucket && point.field === field)
        .filter(({ measurement }) => measurement === 'node')
        .map(({ timeMs, value }) => [timeMs - fromMs, value]);
    const minutes = made('raw_1m', 'cpuRatio').toSorted(([a], [b]) => Number(a) - Number(b));
    expect(minutes.map(([at]) => at)).toEqual([0, 60_000, 120_000]);
    expect(made('raw_1h', 'cpuRatio_max')).toEqual([[0, 0.3]]);
  });
});
