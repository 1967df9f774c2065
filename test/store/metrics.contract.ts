/**
 * What every metrics store keeps, whatever stores it. A suite runs it over its own store and says
 * what that store cannot do here.
 */
import { beforeEach, describe, expect, it } from 'vitest';
import type { MetricsEvent, MetricsStore } from '../../backend/store/ports.ts';
import { guestSample, nodeValues } from '../support/messages.ts';
import { type Change, sampleOf, startMs } from './metrics-samples.ts';

const sequence = (from: number, to: number, change: Change = {}) =>
  Array.from({ length: to - from + 1 }, (_, index) => sampleOf(from + index, change));

const cpu = { cluster: 'home', entity: 'node', metrics: ['cpuRatio'] } as const;
const minute = { fromMs: startMs, toMs: startMs + 60_000, stepMs: 15_000 } as const;

export function metricsContract(name: string, open: () => Promise<MetricsStore>): void {
  let store: MetricsStore;
  const ready = () => {
    beforeEach(async () => {
      store = await open();
    });
  };

  describe(`${name} as a metrics store`, () => {
    ready();

    it('answers the newest values of a node, missing ones as null', async () => {
      await store.write([sampleOf(2), sampleOf(1)]);
      const latest = await store.latest({ cluster: 'home', entity: 'node', node: 'n1' });
      expect(latest?.atMs).toBe(startMs + 10_000);
      expect(latest?.values).toMatchObject({ cpuRatio: 0.02, powerWatts: null });
    });

    it('answers the newest values of a guest wherever it runs', async () => {
      await store.write([sampleOf(1), sampleOf(2, { node: 'n2' })]);
      const latest = await store.latest({ cluster: 'home', entity: 'guest', guest: '100' });
      expect(latest?.atMs).toBe(startMs + 10_000);
      expect(latest?.values).toMatchObject({ cpuRatio: 0.04, memoryUsedBytes: null });
    });

    it('answers null for a node it never saw', async () => {
      await store.write([sampleOf(1)]);
      expect(await store.latest({ cluster: 'home', entity: 'node', node: 'n9' })).toBeNull();
      expect(await store.latest({ cluster: 'work', entity: 'node', node: 'n1' })).toBeNull();
    });

    it('lays samples into steps and shows a gap as null', async () => {
      await store.write([...sequence(0, 2), sampleOf(9)]);
      expect(await store.range({ ...cpu, ...minute, node: 'n1', aggregate: 'max' })).toEqual([
        {
          metric: 'cpuRatio',
          node: 'n1',
          points: [
            [startMs, 0.02],
            [startMs + 15_000, null],
            [startMs + 30_000, null],
            [startMs + 45_000, 0.09],
          ],
        },
      ]);
    });

    it.each([
      ['mean', 0.02],
      ['min', 0.01],
      ['max', 0.03],
      ['last', 0.03],
      ['p95', 0.029],
    ] as const)('aggregates a step by %s', async (aggregate, expected) => {
      await store.write(sequence(1, 3));
      const range = { ...minute, stepMs: 60_000 };
      const [series] = await store.range({ ...cpu, ...range, node: 'n1', aggregate });
      expect(series?.points).toHaveLength(1);
      expect(series?.points[0]?.[1]).toBeCloseTo(expected, 12);
    });

    it('keeps zero and null apart', async () => {
      const values = nodeValues({ cpuRatio: 0, powerWatts: null });
      await store.write([sampleOf(1, { values })]);
      const metrics = ['cpuRatio', 'powerWatts'];
      const range = { ...cpu, ...minute, metrics, stepMs: 60_000, aggregate: 'mean' } as const;
      const series = await store.range(range);
      const byMetric = new Map(series.map(({ metric, points }) => [metric, points[0]?.[1]]));
      expect(byMetric.get('cpuRatio')).toBe(0);
      expect(byMetric.get('powerWatts') ?? null).toBeNull();
    });

    it('excludes the end of the range and other clusters', async () => {
      await store.write([sampleOf(0), sampleOf(12), sampleOf(1, { cluster: 'work' })]);
      const series = await store.range({ ...cpu, ...minute, stepMs: 60_000, aggregate: 'max' });
      expect(series.map(({ node, points }) => ({ node, points }))).toEqual([
        { node: 'n1', points: [[startMs, 0]] },
      ]);
    });

    it('answers every guest as its own series per node when none is named', async () => {
      const guests = [guestSample('100'), guestSample('101')];
      await store.write([sampleOf(1, { guests }), sampleOf(2, { node: 'n2', guests: [] })]);
      await store.write([sampleOf(3, { node: 'n2', guests: [guestSample('100')] })]);
      const query = { ...cpu, ...minute, entity: 'guest', aggregate: 'mean' } as const;
      const names = (await store.range(query)).map(({ node, guest }) => `${node}/${guest}`);
      expect(names).toEqual(['n1/100', 'n1/101', 'n2/100']);
      const one = await store.range({ ...query, guest: '100', node: 'n2' });
      expect(one.map(({ node, guest }) => `${node}/${guest}`)).toEqual(['n2/100']);
    });

    it('counts a repeated batch once', async () => {
      await store.write(sequence(1, 5));
      await store.write(sequence(1, 5));
      await store.write([sampleOf(5), sampleOf(6), sampleOf(6)]);
      expect(await store.missing(startMs)).toEqual({ samples: 6, missing: 0 });
    });

    it('counts sequence numbers that are missing within each incarnation', async () => {
      await store.write([sampleOf(1), sampleOf(2), sampleOf(5)]);
      await store.write([sampleOf(40, { node: 'n2' }), sampleOf(43, { node: 'n2' })]);
      await store.write([sampleOf(1, { incarnation: 2, sampledAtMs: startMs + 900_000 })]);
      expect(await store.missing(startMs)).toEqual({ samples: 6, missing: 4 });
      await store.write([sampleOf(3), sampleOf(4)]);
      expect(await store.missing(startMs)).toEqual({ samples: 8, missing: 2 });
    });

    it('counts what is stored and missing of the clusters whose id begins as asked', async () => {
      await store.write([sampleOf(1), sampleOf(3)]);
      await store.write([1, 2, 3].map((seq) => sampleOf(seq, { cluster: 'load-001' })));
      expect(await store.missing(startMs, 'load-')).toEqual({ samples: 3, missing: 0 });
      expect(await store.missing(startMs)).toEqual({ samples: 5, missing: 1 });
    });

    it('knows up to where nothing is missing, per node and incarnation', async () => {
      await store.write([...sequence(1, 3), sampleOf(5), sampleOf(2, { node: 'n2' })]);
      const watermarks = await store.watermarks();
      const n1 = { cluster: 'home', node: 'n1', incarnation: 1 };
      expect(watermarks).toContainEqual({ ...n1, seq: 3 });
      expect(watermarks.find(({ node }) => node === 'n2')?.seq ?? 0).toBe(0);
      await store.write([sampleOf(4)]);
      expect(await store.watermarks()).toContainEqual({ ...n1, seq: 5 });
    });

    it('refuses a metric that is not in the catalogue and names it', async () => {
      const metrics = ['cpuRatio', 'x"; DROP TABLE y'];
      await expect(
        store.range({ ...cpu, ...minute, metrics, aggregate: 'mean' }),
      ).rejects.toMatchObject({ code: 'KR_METRICS_QUERY', field: 'metrics' });
    });

    it('refuses a range of more points than an answer may have', async () => {
      const endless = { fromMs: startMs, toMs: startMs + 86_400_000, stepMs: 1 };
      await expect(store.range({ ...cpu, ...endless, aggregate: 'mean' })).rejects.toMatchObject({
        code: 'KR_METRICS_QUERY',
        field: 'stepMs',
      });
    });

    it('answers several metrics of one node in one call, in the order asked for', async () => {
      const values = nodeValues({ cpuRatio: 0.5, powerWatts: 40 });
      await store.write([sampleOf(1, { values })]);
      const metrics = ['powerWatts', 'cpuRatio'];
      const query = { ...cpu, ...minute, metrics, node: 'n1', stepMs: 60_000 } as const;
      const series = await store.range({ ...query, aggregate: 'mean' });
      expect(series.map(({ metric, points }) => [metric, points[0]?.[1]])).toEqual([
        ['powerWatts', 40],
        ['cpuRatio', 0.5],
      ]);
    });

    it.each([
      ['mean', 0.5],
      ['min', 0.2],
      ['max', 0.8],
      ['p95', 0.77],
    ] as const)('answers the %s over every node as one series with its gaps', async (by, value) => {
      const node = (name: string, cpuRatio: number) =>
        sampleOf(1, { node: name, values: nodeValues({ cpuRatio }) });
      await store.write([node('n1', 0.2), node('n2', 0.5), node('n3', 0.8)]);
      const values = nodeValues({ cpuRatio: 1 });
      await store.write([sampleOf(1, { cluster: 'work', values })]);
      const [only, ...others] = await store.total({ ...cpu, ...minute, aggregate: by });
      expect(others).toEqual([]);
      expect(only?.metric).toBe('cpuRatio');
      expect(only?.points.map(([atMs]) => atMs - startMs)).toEqual([0, 15_000, 30_000, 45_000]);
      expect(only?.points[0]?.[1]).toBeCloseTo(value, 12);
      expect(only?.points.slice(1).map(([, gap]) => gap)).toEqual([null, null, null]);
    });

    it('answers one series over every cluster, and all gaps for what nobody measures', async () => {
      const values = (cpuRatio: number) => ({ values: nodeValues({ cpuRatio }) });
      await store.write([sampleOf(1, values(0.2)), sampleOf(1, { cluster: 'b', ...values(0.6) })]);
      const { cluster: _, ...fleet } = cpu;
      const metrics = ['cpuRatio', 'powerWatts'];
      const query = { ...fleet, ...minute, metrics, stepMs: 60_000, aggregate: 'mean' } as const;
      const [ratio, watts] = await store.total(query);
      expect(ratio?.points[0]?.[1]).toBeCloseTo(0.4, 12);
      expect(watts).toEqual({ metric: 'powerWatts', points: [[startMs, null]] });
    });

    it('ranks nodes and guests by a metric, the highest first, without those that have none', async () => {
      const guests = (...ratios: number[]) =>
        ratios.map((cpuRatio, index) => guestSample(`${100 + index}`, { cpuRatio }));
      await store.write([
        sampleOf(1, { values: nodeValues({ cpuRatio: 0.1 }), guests: guests(0.3, 0.9) }),
        sampleOf(1, { node: 'n2', values: nodeValues({ cpuRatio: 0.7 }), guests: guests(0.6) }),
        sampleOf(1, { node: 'n3', values: nodeValues({ cpuRatio: null }), guests: [] }),
        sampleOf(1, { cluster: 'work', values: nodeValues({ cpuRatio: 0.8 }), guests: [] }),
      ]);
      const query = { fromMs: startMs, toMs: startMs + 60_000, metric: 'cpuRatio' } as const;
      const rank = { ...query, aggregate: 'max', limit: 2 } as const;
      expect(await store.top({ ...rank, entity: 'node' })).toEqual([
        { cluster: 'work', node: 'n1', value: 0.8 },
        { cluster: 'home', node: 'n2', value: 0.7 },
      ]);
      expect(await store.top({ ...rank, entity: 'guest', cluster: 'home' })).toEqual([
        { cluster: 'home', node: 'n1', guest: '101', value: 0.9 },
        { cluster: 'home', node: 'n2', guest: '100', value: 0.6 },
      ]);
      const all = await store.top({ ...rank, entity: 'node', cluster: 'home', limit: 10 });
      expect(all.map(({ node }) => node)).toEqual(['n2', 'n1']);
    });

    it('refuses to rank by what is no metric', async () => {
      const times = { fromMs: startMs, toMs: startMs + 1 };
      const query = { entity: 'guest', metric: 'votes', ...times, limit: 1 } as const;
      await expect(store.top({ ...query, aggregate: 'mean' })).rejects.toMatchObject({
        code: 'KR_METRICS_QUERY',
        field: 'metrics',
      });
    });

    it('keeps events with whatever their text says, the newest first', async () => {
      const event = (atMs: number, change: Partial<MetricsEvent> = {}): MetricsEvent => ({
        atMs,
        cluster: 'home',
        kind: 'guest.migrate',
        outcome: 'SUCCEEDED',
        node: 'n1',
        guest: '100',
        text: 'said "no, thanks", a=b \\ c',
        id: '0190',
        ...change,
      });
      const rest = { node: null, guest: null, id: null, text: '' };
      const hold = event(startMs + 2, { kind: 'hold', outcome: 'on', ...rest });
      await store.writeEvents([event(startMs), hold]);
      await store.writeEvents([event(startMs + 1, { cluster: 'work' })]);
      await store.writeEvents([]);
      const range = { fromMs: startMs, toMs: startMs + 10, limit: 10 };
      expect(await store.events({ ...range, cluster: 'home' })).toEqual([hold, event(startMs)]);
      expect((await store.events({ ...range, limit: 2 })).map(({ cluster }) => cluster)).toEqual([
        'home',
        'work',
      ]);
      expect(await store.events({ ...range, fromMs: startMs + 3 })).toEqual([]);
    });

    it('takes names from outside as values, never as part of a query', async () => {
      await store.write([sampleOf(1)]);
      const node = `n1' OR 1=1 OR r.x == "`;
      expect(await store.range({ ...cpu, ...minute, node, aggregate: 'mean' })).toEqual([]);
    });

    it('says that it is well', async () => {
      await store.write([sampleOf(1)]);
      expect(await store.health()).toMatchObject({ ok: true });
    });
  });
}
