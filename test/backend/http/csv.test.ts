import { expect, it } from 'vitest';
import { csvOf } from '../../../backend/http/csv.ts';
import type { RangeQuery, Series } from '../../../backend/store/ports.ts';

const query: RangeQuery = {
  cluster: 'home',
  entity: 'node',
  metrics: ['cpuRatio', 'powerWatts'],
  fromMs: 25_000,
  toMs: 90_000,
  stepMs: 10_000,
  aggregate: 'mean',
};

/** Every node answers its own number of seconds; n2 only between 40 and 60 s. */
function twin(asked: RangeQuery[]) {
  return async (piece: RangeQuery): Promise<Series[]> => {
    asked.push(piece);
    const firstMs = Math.floor(piece.fromMs / piece.stepMs) * piece.stepMs;
    const steps = Math.ceil((piece.toMs - firstMs) / piece.stepMs);
    const points = Array.from({ length: steps }, (_, index): [number, number | null] => [
      firstMs + index * piece.stepMs,
      (firstMs + index * piece.stepMs) / 1_000,
    ]);
    const isThere = piece.fromMs >= 40_000 && piece.fromMs < 60_000;
    const n1 = { metric: 'cpuRatio', node: 'n1', points };
    return isThere ? [n1, { metric: 'powerWatts', node: 'n"2', points }] : [n1];
  };
}

const text = async (parts: AsyncGenerator<string>): Promise<string> => {
  let all = '';
  for await (const part of parts) all += part;
  return all;
};

it('writes every step once, in order, in pieces that meet at steps', async () => {
  const asked: RangeQuery[] = [];
  const csv = await text(csvOf({ ...query, toMs: 60_000 }, 2, twin(asked)));
  expect(asked.map(({ fromMs, toMs }) => [fromMs, toMs])).toEqual([
    [25_000, 40_000],
    [40_000, 60_000],
  ]);
  expect(csv.split('\r\n')).toEqual([
    'time,cluster,node,cpuRatio,powerWatts',
    '1970-01-01T00:00:20.000Z,"home","n1",20,',
    '1970-01-01T00:00:30.000Z,"home","n1",30,',
    '1970-01-01T00:00:40.000Z,"home","n1",40,',
    '1970-01-01T00:00:40.000Z,"home","n""2",,40',
    '1970-01-01T00:00:50.000Z,"home","n1",50,',
    '1970-01-01T00:00:50.000Z,"home","n""2",,50',
    '',
  ]);
});

it('keeps a row with empty fields for whoever is gone', async () => {
  const csv = await text(csvOf(query, 2, twin([])));
  const last = csv.split('\r\n').filter((line) => line.startsWith('1970-01-01T00:01:20'));
  expect(last).toEqual([
    '1970-01-01T00:01:20.000Z,"home","n1",80,',
    '1970-01-01T00:01:20.000Z,"home","n""2",,',
  ]);
});

it('names guests, and is only a header when there is nothing', async () => {
  const guests = csvOf({ ...query, entity: 'guest' }, 100, async () => []);
  expect(await text(guests)).toBe('time,cluster,node,guest,cpuRatio,powerWatts\r\n');
});
