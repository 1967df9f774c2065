import { afterEach, describe, expect, it } from 'vitest';
import { limitsOf, simulatedLimits } from '../../../backend/act/guard-limits.ts';
import { takeTokens } from '../../../backend/act/limiter.ts';
import type { Context, Step } from '../../../backend/act/step.ts';
import { emptyFleet } from '../../../backend/state/fleet.ts';
import { ensureCluster, ensureNodes } from '../../../backend/store/sql/clusters.ts';
import { commandRows } from '../../../backend/store/sql/command-rows.ts';
import { type Database, openDatabase } from '../../../backend/store/sql/database.ts';
import { seededRandom } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

let database: Database;
afterEach(() => database.close());

/** A store with clusters of ten nodes each, and the one call the engine cannot get around. */
async function setUp(clusters: readonly string[], isSimulated = false) {
  let nowMs = 1_800_000_000_000;
  database = await openDatabase({ file: ':memory:', nowMs: () => nowMs, log: memoryLog() });
  await database.transaction(async (trx) => {
    for (const id of clusters) {
      await ensureCluster(trx, { id, simulated: isSimulated, nowMs });
      const nodes = Array.from({ length: 10 }, (_, index) => `n${index}`);
      await ensureNodes(trx, { cluster: id, nodes, nowMs });
    }
  });
  const fleet = emptyFleet();
  const context = { fleet: () => fleet } as unknown as Context;
  const ask = (
    cluster: string,
    kind: 'node.shutdown' | 'node.wake' | 'guest.migrate',
    id: string,
  ) =>
    database.transaction(async (trx) => {
      const row = await trx
        .selectFrom('clusters')
        .selectAll()
        .where('id', '=', cluster)
        .executeTakeFirstOrThrow();
      const rows = commandRows(trx, database.dialect);
      const step = { context, rows, cluster: row, nowMs } as unknown as Step;
      return takeTokens(step, { id: 'c', kind, target_id: id, origin: 'engine' });
    });
  return { ask, at: () => nowMs, wait: (ms: number) => void (nowMs += ms) };
}

/** The most events that any window of this length holds. */
function densest(times: readonly number[], windowMs: number): number {
  let first = 0;
  let most = 0;
  times.forEach((atMs, last) => {
    while (atMs - (times[first] ?? 0) >= windowMs) first += 1;
    most = Math.max(most, last - first + 1);
  });
  return most;
}

describe('the limiter', () => {
  it('holds an engine that proposes everything for a week to the limits', async () => {
    const { ask, at, wait } = await setUp(['a', 'b']);
    const random = seededRandom(11);
    const taken = new Map<string, number[]>();
    const propose = async (cluster: string, kind: Parameters<typeof ask>[1], id: string) => {
      if (await ask(cluster, kind, id)) return;
      const key = kind === 'guest.migrate' ? `${cluster} ${id}` : `${cluster} ${kind}`;
      for (const name of [key, `all ${kind}`]) taken.set(name, [...(taken.get(name) ?? []), at()]);
    };
    const endMs = at() + 7 * day;
    while (at() < endMs) {
      for (const cluster of random.ratio() < 0.5 ? ['a', 'b'] : ['b', 'a']) {
        await propose(cluster, 'node.shutdown', `n${Math.floor(random.ratio() * 10)}`);
        await propose(cluster, 'guest.migrate', String(Math.floor(random.ratio() * 3)));
      }
      await propose('a', 'node.wake', 'n1');
      // Mostly in a hurry, and at times on the very edge of a window.
      wait(random.ratio() < 0.1 ? 10 * minute : Math.ceil(random.ratio() * 6 * minute));
    }
    const timesOf = (name: string): number[] => taken.get(name) ?? [];
    for (const cluster of ['a', 'b']) {
      const offs = timesOf(`${cluster} node.shutdown`);
      expect(offs.length).toBeGreaterThan(100);
      expect(densest(offs, 10 * minute)).toBe(1);
      expect(densest(offs, hour)).toBeLessThanOrEqual(2);
      for (const guest of ['0', '1', '2']) {
        const moves = timesOf(`${cluster} ${guest}`);
        expect(moves.length).toBeGreaterThan(10);
        expect(densest(moves, 30 * minute)).toBe(1);
        expect(densest(moves, day)).toBe(2);
      }
    }
    expect(densest(timesOf('all node.shutdown'), 2 * minute)).toBe(1);
    expect(densest(timesOf('a node.wake'), 10_000)).toBe(1);
  });

  it('says which limit is used up, and never gives a token back', async () => {
    const { ask, wait } = await setUp(['a', 'b']);
    expect(await ask('a', 'node.shutdown', 'n1')).toBeNull();
    expect(await ask('b', 'node.shutdown', 'n1')).toMatchObject({
      rule: 'W5',
      code: 'KR_LIMITER',
      reason: 'limit power-off of 1 per 120000 ms is used up',
    });
    wait(2 * minute);
    expect(await ask('b', 'node.shutdown', 'n1')).toBeNull();
    expect((await ask('a', 'node.shutdown', 'n2'))?.wayOut).toMatch(/wait/);
    wait(8 * minute);
    expect(await ask('a', 'node.shutdown', 'n2')).toBeNull();
  });

  it('takes nothing where one of several limits is used up', async () => {
    const { ask, wait } = await setUp(['a']);
    for (let taken = 0; taken < 2; taken += 1) {
      expect(await ask('a', 'guest.migrate', '7')).toBeNull();
      wait(30 * minute);
    }
    expect(await ask('a', 'guest.migrate', '7')).toMatchObject({ rule: 'V10' });
    wait(23 * hour);
    // Had the refused one started the cool-down again, this would still be barred by it.
    expect(await ask('a', 'guest.migrate', '7')).toBeNull();
  });

  it('denies while the clock of the store stands before the last token', async () => {
    const { ask, wait } = await setUp(['a']);
    expect(await ask('a', 'node.wake', 'n1')).toBeNull();
    wait(-day);
    expect(await ask('a', 'node.wake', 'n1')).toMatchObject({ code: 'KR_LIMITER' });
  });

  it('does not hold a simulated cluster that wants no limits', async () => {
    const { ask } = await setUp(['sim'], true);
    const limits = JSON.stringify(simulatedLimits);
    const row = { simulated: 1, time_scale: 1, limits, settings: '{}' } as const;
    expect(limitsOf(row).powerOffEveryMs).toBe(0);
    for (let count = 0; count < 5; count += 1) {
      expect(await ask('sim', 'node.shutdown', 'n1')).toBeNull();
      expect(await ask('sim', 'guest.migrate', '7')).toBeNull();
    }
  });
});
