import { afterEach, describe, expect, it } from 'vitest';
import { type InfluxStoreOptions, openInfluxStore } from '../../backend/store/metrics/influx.ts';
import type { MetricsStore } from '../../backend/store/ports.ts';
import { virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { guestSample, nodeValues } from '../support/messages.ts';
import { startVictoriaMetrics } from '../support/servers.ts';
import { type InfluxFake, startInfluxFake } from './influx-fake.ts';
import { metricsContract } from './metrics.contract.ts';
import { sampleOf, startMs } from './metrics-samples.ts';

const stops: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

type Opening = { nowMs?: number; spool?: InfluxStoreOptions['spool'] };

async function openAt(url: string, { nowMs = startMs + 3_600_000, spool = null }: Opening = {}) {
  const clock = virtualClock(nowMs);
  const log = memoryLog();
  const access = { url, token: 'secret-token', org: 'lab', bucket: 'raw' };
  const store = await openInfluxStore({ ...access, clock, log, spool });
  stops.push(async () => {
    const closed = store.close();
    await clock.advance(1_000);
    await closed;
  });
  return { store, clock, log };
}

async function fakeServer(): Promise<InfluxFake> {
  const fake = await startInfluxFake();
  stops.push(() => fake.stop());
  return fake;
}

const openOnFake = async (): Promise<MetricsStore> =>
  (await openAt((await fakeServer()).url)).store;

metricsContract('InfluxDB', openOnFake);

const linesOf = (fake: InfluxFake): string[] => fake.requests.flatMap(({ lines }) => lines);

describe('what is sent to InfluxDB', () => {
  it('is one line per node and guest with the catalogue as fields and nulls left out', async () => {
    const fake = await fakeServer();
    const { store } = await openAt(fake.url);
    const values = { ...nodeValues(), cpuRatio: 0, memoryUsedBytes: 1.5e12 };
    await store.write([sampleOf(7, { values, guests: [guestSample('100')] })]);
    const at = startMs + 35_000;
    expect(linesOf(fake)).toEqual([
      `node,cluster=home,node=n1 incarnation=1i,seq=7i,cpuRatio=0,cpuCount=8,memoryUsedBytes=1500000000000,memoryTotalBytes=34359738368 ${at}`,
      `guest,cluster=home,guest=100,node=n1 cpuRatio=0.5,cpuCount=2,memoryUsedBytes=1073741824,memoryTotalBytes=2147483648 ${at}`,
    ]);
    expect(fake.requests[0]).toMatchObject({
      path: '/api/v2/write?org=lab&bucket=raw&precision=ms',
      authorization: 'Token secret-token',
    });
  });

  it('leaves out a guest of which nothing is known, and escapes what tags may hold', async () => {
    const fake = await fakeServer();
    const { store } = await openAt(fake.url);
    const unknown = { cpuRatio: null, cpuCount: null, memoryUsedBytes: null };
    const guests = [
      guestSample('1', { ...unknown, memoryTotalBytes: null }),
      guestSample('web 1,a=b'),
    ];
    await store.write([sampleOf(1, { guests })]);
    const sent = linesOf(fake).filter((line) => line.startsWith('guest'));
    expect(sent).toEqual([
      expect.stringMatching(/^guest,cluster=home,guest=web\\ 1\\,a\\=b,node=n1 /),
    ]);
  });

  it('goes in requests of at most 5000 lines, three of them at a time', async () => {
    const fake = await fakeServer();
    const { store } = await openAt(fake.url);
    const guests = Array.from({ length: 99 }, (_, index) => guestSample(`${index}`));
    let accept: (value: unknown) => void = () => undefined;
    fake.gate = new Promise((resolve) => (accept = resolve));
    const samples = Array.from({ length: 300 }, (_, index) => sampleOf(index + 1, { guests }));
    const written = store.write(samples);
    await expect.poll(() => fake.inFlightMax, { timeout: 10_000 }).toBe(3);
    accept(undefined);
    await written;
    expect(fake.requests.map(({ lines }) => lines.length)).toEqual(Array(6).fill(5_000));
    expect(fake.inFlightMax).toBe(3);
    expect(await store.missing(startMs)).toEqual({ samples: 300, missing: 0 });
  });

  it('resolves only after the server has accepted it', async () => {
    const fake = await fakeServer();
    const { store } = await openAt(fake.url);
    let accept: (value: unknown) => void = () => undefined;
    fake.gate = new Promise((resolve) => (accept = resolve));
    let isWritten = false;
    const written = store.write([sampleOf(1)]).then(() => (isWritten = true));
    await expect.poll(() => fake.requests.length).toBe(1);
    expect(isWritten).toBe(false);
    accept(undefined);
    await written;
    expect(isWritten).toBe(true);
  });
});

describe('an InfluxDB that does not take a batch', () => {
  it.each([
    [401, '{"code":"unauthorized","message":"unauthorized access"}'],
    [404, '{"code":"not found","message":"bucket \\"raw\\" not found"}'],
    [429, '{"code":"too many requests","message":"slow down"}'],
    [500, '{"code":"internal error","message":"unexpected"}'],
    [503, '{"code":"unavailable","message":"not now"}'],
  ])('with %i makes write throw, and the same batch is stored later', async (status, body) => {
    const fake = await fakeServer();
    const { store } = await openAt(fake.url);
    fake.refuse = { status, body };
    await expect(store.write([sampleOf(1)])).rejects.toMatchObject({ code: 'KR_METRICS_WRITE' });
    expect(fake.requests).toHaveLength(1);
    expect(await store.health()).toMatchObject({ ok: false });
    expect(await store.watermarks()).toEqual([]);
    fake.refuse = null;
    await store.write([sampleOf(1)]);
    expect(await store.missing(startMs)).toEqual({ samples: 1, missing: 0 });
    expect(await store.health()).toMatchObject({ ok: true });
  });

  it('because its retention has outlived the samples counts them as done', async () => {
    const fake = await fakeServer();
    const { store } = await openAt(fake.url);
    const message = 'partial write: points beyond retention policy dropped=1';
    fake.refuse = {
      status: 422,
      body: JSON.stringify({ code: 'unprocessable entity', message }),
    };
    await store.write([sampleOf(1)]);
    expect(await store.watermarks()).toMatchObject([{ node: 'n1', seq: 1 }]);
  });

  it('that cannot be reached is an error of the store, for reading and for writing', async () => {
    const fake = await startInfluxFake();
    const { store } = await openAt(fake.url);
    await fake.stop();
    await expect(store.write([sampleOf(1)])).rejects.toMatchObject({ code: 'KR_METRICS_WRITE' });
    await expect(store.missing(0)).rejects.toMatchObject({
      code: 'KR_METRICS_QUERY',
      field: 'store',
    });
  });

  it('that is away when we start only means that daemons send again', async () => {
    const fake = await startInfluxFake();
    await fake.stop();
    const { store, log } = await openAt(fake.url);
    expect(await store.watermarks()).toEqual([]);
    expect(log.lines).toMatchObject([{ level: 'warn' }]);
  });
});

describe('how far a node is stored', () => {
  const mark = (seq: number) => ({ cluster: 'home', node: 'n1', incarnation: 1, seq });

  it('is known after a restart and never ahead of what was stored', async () => {
    const fake = await fakeServer();
    const first = await openAt(fake.url);
    await first.store.write([sampleOf(1), sampleOf(2), sampleOf(4)]);
    await first.store.close();
    const second = await openAt(fake.url);
    expect(await second.store.watermarks()).toEqual([mark(2)]);
  });

  it('is told to the server at most every 10 s per node', async () => {
    const fake = await fakeServer();
    const { store, clock } = await openAt(fake.url);
    for (let seq = 1; seq <= 25; seq += 1) {
      await store.write([sampleOf(seq)]);
      await clock.advance(1_000);
    }
    const told = linesOf(fake).filter((line) => line.startsWith('watermark'));
    expect(told.map((line) => /seq=(\d+)i/.exec(line)?.[1])).toEqual(['1', '11', '21']);
  });
});

describe('VictoriaMetrics, which speaks the same write protocol', () => {
  it('takes every line and gives the same values back', async () => {
    const server = await startVictoriaMetrics();
    stops.push(() => server.stop());
    const nowMs = Date.now();
    const { store } = await openAt(server.url, { nowMs });
    const nodes = Array.from({ length: 40 }, (_, index) => `n${index}`);
    const guests = Array.from({ length: 20 }, (_, index) =>
      guestSample(`g${index}`, { cpuRatio: index / 20, diskReadBytesPerSecond: 0 }),
    );
    const sampledAtMs = nowMs - 60_000;
    const values = nodeValues({ cpuRatio: 0.375, uptimeMs: 86_400_000.5 });
    await store.write(nodes.map((node) => sampleOf(1, { node, sampledAtMs, values, guests })));

    const read = async (path: string) => (await fetch(`${server.url}${path}`)).text();
    const exported = async (match: string) =>
      (await read(`/api/v1/export?match[]=${encodeURIComponent(match)}`))
        .split('\n')
        .filter((line) => line !== '')
        .map(
          (line) => JSON.parse(line) as { metric: object; values: number[]; timestamps: number[] },
        );
    await expect
      .poll(async () => (await exported('guest_cpuRatio')).length, { timeout: 15_000 })
      .toBe(800);
    expect(await exported('guest_cpuRatio{guest="g7",node="n3"}')).toMatchObject([
      { metric: { cluster: 'home' }, values: [0.35], timestamps: [sampledAtMs] },
    ]);
    expect(await exported('node_uptimeMs{node="n0"}')).toMatchObject([{ values: [86_400_000.5] }]);
    expect(await exported('guest_diskReadBytesPerSecond{guest="g0",node="n0"}')).toMatchObject([
      { values: [0] },
    ]);
    expect(await exported('node_powerWatts')).toEqual([]);
    expect(await exported('node_seq')).toHaveLength(40);
    const invalid = async () =>
      Number(
        /vm_rows_invalid_total\{type="influx"\} (\d+)/.exec(await read('/metrics'))?.[1] ?? '0',
      );
    const taken = /vm_rows_inserted_total\{type="influx"\} (\d+)/.exec(await read('/metrics'));
    expect(Number(taken?.[1])).toBeGreaterThan(800 * 5);
    // It says 204 to what it cannot read, too: only this counter tells, some seconds later. That
    // it is 1 now says that of ours it was none.
    const bad = await fetch(`${server.url}/api/v2/write?precision=ms`, {
      method: 'POST',
      body: 'node,cluster=home',
    });
    expect(bad.status).toBe(204);
    await expect.poll(invalid, { timeout: 15_000 }).toBeGreaterThan(0);
    expect(await invalid()).toBe(1);
  });
});
