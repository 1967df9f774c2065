import { describe, expect, it } from 'vitest';
import { ConfigError, readSettings } from '../../../backend/config.ts';
import { isOfShard, parseShard } from '../../../backend/ingest/shard.ts';
import { startIngestWorker } from '../../../backend/worker.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

const ids = Array.from({ length: 1_000 }, (_, index) => `sim-${index + 1}`);

describe('a shard', () => {
  it.each([
    ['2/4', { index: 2, count: 4 }],
    ['1/1', { index: 1, count: 1 }],
    ['64/64', { index: 64, count: 64 }],
  ])('is read from %s', (text, shard) => expect(parseShard(text)).toEqual(shard));

  it.each(['0/4', '5/4', '1/65', '4', '1/', '/2', '1/2/3', '01/2', '-1/2', 'a/b', ''])(
    'is not %j',
    (text) => expect(parseShard(text)).toBeNull(),
  );

  it('gives every cluster to exactly one worker, and each about as many', () => {
    for (const count of [1, 2, 3, 4, 7, 64]) {
      const shares = Array.from({ length: count }, () => 0);
      for (const id of ids) {
        const owners = shares.flatMap((_, at) =>
          isOfShard(id, { index: at + 1, count }) ? [at] : [],
        );
        expect(owners).toHaveLength(1);
        shares[owners[0] ?? 0] = (shares[owners[0] ?? 0] ?? 0) + 1;
      }
      // Four standard deviations of a fair draw.
      const mean = ids.length / count;
      const spread = 4 * Math.sqrt(mean * (1 - 1 / count));
      for (const share of shares) expect(Math.abs(share - mean)).toBeLessThanOrEqual(spread + 1);
    }
  });

  it('is the same in every process and version', () => {
    const owner = (id: string) => [1, 2, 3, 4].find((index) => isOfShard(id, { index, count: 4 }));
    expect(['home', 'lab', 'oslo', 'bergen', 'turku', 'lahti'].map(owner)).toEqual([
      2, 4, 4, 2, 3, 4,
    ]);
  });
});

describe('an ingest worker', () => {
  const clock = virtualClock();
  const random = seededRandom(1);
  const parts = { clock, random, newId: idsOf(clock, random), log: memoryLog() };

  it('does not start on anything embedded, and names all of it at once', async () => {
    const settings = readSettings({ KR_INGEST_SHARD: '1/2' });
    const error = await startIngestWorker(settings, parts).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    const fields = (error as ConfigError).problems.map(({ field }) => field);
    expect(fields).toEqual(['KR_MQTT_URL', 'KR_SQL_URL', 'KR_INFLUX_URL']);
  });

  it('does not start without a shard, and the backend beside it not without shared stores', async () => {
    const shared = {
      KR_MQTT_URL: 'mqtt://127.0.0.1:1',
      KR_MQTT_PASSWORD: 'x',
      KR_SQL_URL: 'mariadb://a:b@127.0.0.1:1/c',
      KR_INFLUX_URL: 'http://127.0.0.1:1',
      KR_INFLUX_TOKEN: 't',
    };
    await expect(startIngestWorker(readSettings(shared), parts)).rejects.toThrow('--shard 2/4');
    expect(() => readSettings({ ...shared, KR_INGEST_SHARD: '3/2' })).toThrow('like 2/4');
    expect(readSettings({ ...shared, KR_INGEST_WORKERS: '2' }).KR_INGEST_WORKERS).toBe(2);
    expect(() => readSettings({ KR_INGEST_WORKERS: '2' })).toThrow('KR_SQL_URL: workers need');
  });
});
