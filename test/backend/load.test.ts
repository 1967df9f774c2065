import { describe, expect, it } from 'vitest';
import { createLoadReader } from '../../backend/load.ts';
import type { RangeQuery, Series } from '../../backend/store/ports.ts';
import { virtualClock } from '../support/clock.ts';

const at = { cluster: 'home', node: 'n1' };
const hour = 3_600_000;
const series = (metric: string, values: (number | null)[]): Series => ({
  metric,
  node: 'n1',
  points: values.map((value, index) => [index * 60_000, value]),
});
const minutes = (of: (index: number) => number | null): (number | null)[] =>
  Array.from({ length: 60 }, (_, index) => of(index));

function reader(answer: (query: RangeQuery) => Promise<Series[]>) {
  const clock = virtualClock();
  const asked: RangeQuery[] = [];
  const range = (query: RangeQuery) => {
    asked.push(query);
    return answer(query);
  };
  return { clock, asked, loadOf: createLoadReader({ range }, clock) };
}

describe('the busiest of the past hour', () => {
  it('is p95 of the maxima of the minutes', async () => {
    const cpu = series(
      'cpuRatio',
      minutes((index) => index / 100),
    );
    const memory = series(
      'memoryUsedBytes',
      minutes(() => 7),
    );
    const { asked, loadOf, clock } = reader(async () => [memory, cpu]);
    expect(await loadOf(at, hour)).toEqual({ cpuRatio: 0.57, memoryUsedBytes: 7 });
    expect(asked[0]).toMatchObject({ ...at, entity: 'node', stepMs: 60_000, aggregate: 'max' });
    expect(asked[0]?.toMs).toBe(clock.wallMs());
    expect(asked[0]?.fromMs).toBe(clock.wallMs() - hour);
  });

  it('is unknown where fewer than five minutes are known', async () => {
    const cpu = series(
      'cpuRatio',
      minutes((index) => (index < 4 ? 0.5 : null)),
    );
    const memory = series(
      'memoryUsedBytes',
      minutes((index) => (index < 5 ? index : null)),
    );
    const { loadOf } = reader(async () => [cpu, memory]);
    expect(await loadOf(at, hour)).toEqual({ cpuRatio: null, memoryUsedBytes: 4 });
    const empty = reader(async () => []);
    expect(await empty.loadOf(at, hour)).toEqual({ cpuRatio: null, memoryUsedBytes: null });
  });

  it('is unknown when the store fails, or does not answer within two seconds', async () => {
    const broken = reader(() => Promise.reject(new Error('away')));
    expect(await broken.loadOf(at, hour)).toBeNull();
    const silent = reader(() => new Promise<Series[]>(() => undefined));
    const asked = silent.loadOf(at, hour);
    await silent.clock.advance(2_000);
    expect(await asked).toBeNull();
  });
});
