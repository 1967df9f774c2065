import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDuckDbStore } from '../../backend/store/metrics/duckdb.ts';
import { partsOf, shortestStepMs } from '../../backend/store/metrics/sources.ts';
import type { MetricsStore } from '../../backend/store/ports.ts';
import { type VirtualClock, virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { guestSample, nodeValues } from '../support/messages.ts';
import { sampleOf, startMs } from './metrics-samples.ts';

const minuteMs = 60_000;
const hourMs = 3_600_000;
const dayMs = 86_400_000;
const midnightMs = Math.ceil(startMs / dayMs) * dayMs;
const until = (minute: number, hour: number) => ({ '1m': minute, '1h': hour });

describe('the parts of a range', () => {
  const nowMs = midnightMs + 10 * dayMs;
  const horizons = {
    rawSinceMs: nowMs - 7 * dayMs,
    until: until(nowMs - 2 * minuteMs, nowMs - hourMs),
  };
  const range = (agoMs: number, stepMs: number, endAgoMs = 0) =>
    partsOf({ fromMs: nowMs - agoMs, toMs: nowMs - endAgoMs, stepMs }, horizons).map(
      ({ source, fromMs, toMs }) => [source, nowMs - fromMs, nowMs - toMs],
    );

  it('are raw for a short or fine one', () => {
    expect(range(hourMs, minuteMs)).toEqual([['raw', hourMs, 0]]);
    expect(range(dayMs, 30_000)).toEqual([['raw', dayMs, 0]]);
  });

  it('are minutes and the newest raw for a day', () => {
    expect(range(dayMs, 2 * minuteMs)).toEqual([
      ['1m', dayMs, 2 * minuteMs],
      ['raw', 2 * minuteMs, 0],
    ]);
  });

  it('are hours, minutes and raw for a month, and meet at steps', () => {
    expect(range(30 * dayMs, hourMs)).toEqual([
      ['1h', 30 * dayMs, hourMs],
      ['raw', hourMs, 0],
    ]);
    expect(range(30 * dayMs, 6 * hourMs)).toEqual([
      ['1h', 30 * dayMs, 6 * hourMs],
      ['raw', 6 * hourMs, 0],
    ]);
  });

  it('are minutes for a short one that raw samples have outlived', () => {
    expect(range(9 * dayMs, minuteMs, 9 * dayMs - hourMs)).toEqual([
      ['1m', 9 * dayMs, 9 * dayMs - hourMs],
    ]);
  });

  it('are raw alone while no roll-up was made', () => {
    const span = { fromMs: nowMs - dayMs, toMs: nowMs, stepMs: 2 * minuteMs };
    const parts = partsOf(span, { ...horizons, until: until(0, 0) });
    expect(parts).toEqual([{ source: 'raw', fromMs: span.fromMs, toMs: span.toMs }]);
  });

  it('need a step of a minute after a week, of an hour after 90 days', () => {
    expect(shortestStepMs(nowMs - 6 * dayMs, nowMs, 7)).toBe(1);
    expect(shortestStepMs(nowMs - 8 * dayMs, nowMs, 7)).toBe(minuteMs);
    expect(shortestStepMs(nowMs - 91 * dayMs, nowMs, 7)).toBe(hourMs);
  });
});

describe('the roll-ups of the embedded store', () => {
  let folder: string;
  const opened: MetricsStore[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kr-rollups-'));
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((store) => store.close()));
    await rm(folder, { recursive: true, force: true });
  });

  type Change = { nowMs?: number; diskMaxMb?: number };
  async function open({ nowMs = midnightMs, ...change }: Change = {}) {
    const clock = virtualClock(nowMs);
    const log = memoryLog();
    const file = join(folder, 'metrics.duckdb');
    const store = await openDuckDbStore({ file, clock, log, ...change });
    opened.push(store);
    return { store, clock, log };
  }
  const close = async (store: MetricsStore): Promise<void> => {
    opened.splice(opened.indexOf(store), 1);
    await store.close();
  };

  /** A sample every 5 s of the hours from midnight, whose cpu counts up in each minute. */
  const samples = (fromMs: number, toMs: number, everyMs = 5_000) =>
    Array.from({ length: (toMs - fromMs) / everyMs }, (_, index) => {
      const sampledAtMs = fromMs + index * everyMs;
      const cpuRatio = (sampledAtMs % minuteMs) / minuteMs;
      const seq = Math.round((sampledAtMs - midnightMs) / everyMs) + 1;
      const guests = [guestSample('100', { cpuRatio: cpuRatio / 2 })];
      return sampleOf(seq, { sampledAtMs, values: nodeValues({ cpuRatio }), guests });
    });

  const query = { cluster: 'home', entity: 'node', node: 'n1', metrics: ['cpuRatio'] } as const;
  const day = { fromMs: midnightMs, toMs: midnightMs + dayMs, stepMs: 10 * minuteMs };

  const values = async (
    store: MetricsStore,
    aggregate: 'mean' | 'max' | 'min',
    span: { fromMs: number; toMs: number; stepMs: number } = day,
  ) => {
    const [series] = await store.range({ ...query, ...span, aggregate });
    return (series?.points ?? [])
      .filter(([, value]) => value !== null)
      .map(([atMs, value]) => [atMs - midnightMs, value]);
  };

  const settle = async (clock: VirtualClock): Promise<void> => clock.advance(11_000);

  it('answer a day with the means and maxima of the samples, after raw ones are gone', async () => {
    const first = await open({ nowMs: midnightMs + dayMs });
    await first.store.write(samples(midnightMs, midnightMs + 20 * minuteMs));
    await settle(first.clock);
    expect(first.store.figures()['rollupLagMs']).toBeLessThan(4 * minuteMs);
    await close(first.store);

    const later = await open({ nowMs: midnightMs + 30 * dayMs });
    await settle(later.clock);
    expect(await later.store.missing(0)).toEqual({ samples: 0, missing: 0 });
    const means = await values(later.store, 'mean');
    expect(means.map(([at]) => at)).toEqual([0, 600_000]);
    for (const [, value] of means) expect(value).toBeCloseTo(27.5 / 60, 6);
    for (const [, value] of await values(later.store, 'max')) expect(value).toBeCloseTo(55 / 60, 6);
    const guests = { ...query, ...day, entity: 'guest', guest: '100', aggregate: 'max' } as const;
    const [guest] = await later.store.range(guests);
    expect(guest?.points[0]?.[1]).toBeCloseTo(55 / 120, 6);
  });

  it('weigh a mean of minutes by the samples in each', async () => {
    const { store, clock } = await open({ nowMs: midnightMs + 12 * hourMs });
    const one = (seq: number, atMs: number, cpuRatio: number) =>
      sampleOf(seq, { sampledAtMs: midnightMs + atMs, values: nodeValues({ cpuRatio }) });
    await store.write([one(1, 0, 1), one(2, 60_000, 0), one(3, 61_000, 0), one(4, 62_000, 0)]);
    await settle(clock);
    expect(await values(store, 'mean')).toEqual([[0, 0.25]]);
    expect(await values(store, 'min')).toEqual([[0, 0]]);
  });

  it('keep hours for two years and forget them then', async () => {
    const first = await open({ nowMs: midnightMs + 12 * hourMs });
    await first.store.write(samples(midnightMs, midnightMs + 2 * hourMs, 60_000));
    await settle(first.clock);
    await close(first.store);
    const year = { ...day, toMs: midnightMs + 20 * dayMs, stepMs: hourMs };
    const later = await open({ nowMs: midnightMs + 365 * dayMs });
    await settle(later.clock);
    expect((await values(later.store, 'max', year)).map(([at]) => at)).toEqual([0, hourMs]);
    await close(later.store);
    const last = await open({ nowMs: midnightMs + 800 * dayMs });
    await settle(last.clock);
    expect(await values(last.store, 'max', year)).toEqual([]);
  });

  it('take in what comes late, minute and hour, and nothing twice', async () => {
    const { store, clock } = await open({ nowMs: midnightMs + 12 * hourMs });
    const all = samples(midnightMs, midnightMs + hourMs);
    const isLate = (index: number) => index >= 120 && index < 300;
    await store.write(all.filter((_, index) => !isLate(index)));
    await settle(clock);
    expect((await values(store, 'max')).map(([at]) => at)).not.toContain(10 * minuteMs);
    await store.write(all.filter((_, index) => isLate(index)));
    expect(store.figures()).toMatchObject({ lateMinutes: 15 });
    await settle(clock);
    expect(store.figures()).toMatchObject({ lateMinutes: 0 });
    const means = await values(store, 'mean');
    expect(means).toHaveLength(6);
    for (const [, value] of means) expect(value).toBeCloseTo(27.5 / 60, 6);
    const hours = { ...day, toMs: midnightMs + 3 * dayMs, stepMs: hourMs };
    const [[, mean] = []] = await values(store, 'mean', hours);
    expect(mean).toBeCloseTo(27.5 / 60, 6);
  });

  it('go on after a restart where they were, late minutes included', async () => {
    const first = await open({ nowMs: midnightMs + 12 * hourMs });
    await first.store.write(samples(midnightMs, midnightMs + 10 * minuteMs));
    await settle(first.clock);
    await first.store.write(samples(midnightMs + 10 * minuteMs, midnightMs + 20 * minuteMs));
    await close(first.store);
    const second = await open({ nowMs: midnightMs + 13 * hourMs });
    expect(second.store.figures()).toMatchObject({ lateMinutes: 10 });
    await settle(second.clock);
    expect(await values(second.store, 'mean')).toHaveLength(2);
    expect(second.store.figures()).toMatchObject({ lateMinutes: 0 });
  });

  it('show a gap as a gap', async () => {
    const { store, clock } = await open({ nowMs: midnightMs + dayMs });
    await store.write([
      ...samples(midnightMs, midnightMs + 10 * minuteMs),
      ...samples(midnightMs + hourMs, midnightMs + hourMs + 10 * minuteMs),
    ]);
    await settle(clock);
    const [series] = await store.range({ ...query, ...day, aggregate: 'mean' });
    expect(series?.points).toHaveLength(144);
    expect(series?.points.slice(1, 6).map(([, value]) => value)).toEqual(Array(5).fill(null));
  });

  it('give way, raw days first, when the disk allowance is full', async () => {
    const nowMs = midnightMs + dayMs + hourMs;
    const first = await open({ nowMs });
    const guests = Array.from({ length: 60 }, (_, index) =>
      guestSample(`${index}`, { cpuRatio: Math.abs(Math.sin(index * 7)) }),
    );
    for (let dayIndex = 0; dayIndex < 2; dayIndex += 1) {
      const batch = Array.from({ length: 300 }, (_, index) => {
        const noisy = guests.map((guest) => {
          return { ...guest, memoryUsedBytes: Math.abs(Math.sin(index * 999 + Number(guest.id))) };
        });
        const sampledAtMs = midnightMs + dayIndex * dayMs + index * 5_000;
        return sampleOf(dayIndex * 300 + index + 1, { sampledAtMs, guests: noisy });
      });
      await first.store.write(batch);
    }
    await settle(first.clock);
    await close(first.store);
    const { store, clock, log } = await open({ nowMs, diskMaxMb: 1 });
    await settle(clock);
    const { daysDroppedEarly = 0 } = store.figures();
    expect(daysDroppedEarly).toBe(1);
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
    expect(await values(store, 'max')).toHaveLength(3);
    const { samples: left } = await store.missing(0);
    expect(left).toBe(300);
  });
});
