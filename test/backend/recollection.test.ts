import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { emptyHistory, type History, observe } from '../../backend/decide/history.ts';
import { outlookOf } from '../../backend/decide/forecast.ts';
import { learnedText, recallLearned } from '../../backend/decide/memory.ts';
import { peakAhead } from '../../backend/decide/peaks.ts';
import { Policy } from '../../backend/decide/policy.ts';
import { createRecollection } from '../../backend/recollection.ts';
import { emptyFleet, type NodeRecord } from '../../backend/state/fleet.ts';
import { unseenNode } from '../../backend/state/reduce.ts';
import { readAlarms } from '../../backend/store/sql/alarms.ts';
import { type Database, openDatabase } from '../../backend/store/sql/database.ts';
import { virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { guestSample, nodeValues } from '../support/messages.ts';
import { homeCluster } from '../support/records.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const policy = Policy.parse({});
const cluster = homeCluster();

const nodeAt = (atMs: number, cpuRatio: number): NodeRecord => ({
  ...unseenNode('home', 'n1'),
  online: true,
  sampleAtMs: atMs,
  sampledAtWallMs: atMs,
  values: nodeValues({ cpuRatio, cpuCount: 8 }),
  guests: [guestSample('web', { cpuCount: 4, cpuRatio })],
});

const busy = (atMs: number): number => (Math.floor(atMs / hour) % 24 === 9 ? 0.8 : 0.1);

/** A week of one guest that is busy at nine. */
function weekOf(): History {
  const history = emptyHistory();
  for (let atMs = 5 * minute; atMs <= 7 * day; atMs += 5 * minute) {
    observe(history, { cluster, nodes: [nodeAt(atMs, busy(atMs))] }, policy, atMs);
  }
  return history;
}

let database: Database;
beforeEach(async () => {
  database = await openDatabase({ file: ':memory:', nowMs: () => 0, log: memoryLog() });
});
afterEach(() => database.close());

const fleetWith = (...names: string[]) => {
  const fleet = emptyFleet();
  fleet.nodesByCluster.set('home', new Map(names.map((name) => [name, unseenNode('home', name)])));
  return fleet;
};

describe('what was learned', () => {
  it('is the same after a restart: forecasts, daily shape, calibration and peaks', async () => {
    const clock = virtualClock();
    const [fleet, before, after] = [fleetWith('n1'), weekOf(), emptyHistory()];
    const keep = createRecollection({ database, fleet, history: before, clock });
    await keep(['home']);
    await clock.advance(11 * minute);
    await keep(['home']);
    await createRecollection({ database, fleet, history: after, clock })(['home']);
    const [old, recalled] = [before, after].map((one) => one.forecasts.get('home')!.get('web')!);
    for (const atNine of [8, 9, 10]) {
      expect(outlookOf(recalled!, atNine).mean).toBeCloseTo(outlookOf(old!, atNine).mean, 3);
    }
    expect(outlookOf(recalled!, 9).mean).toBeGreaterThan(1.5);
    expect(after.calibrations.ofCluster.get('home')?.steps).toBe(
      before.calibrations.ofCluster.get('home')?.steps,
    );
    const ahead = (history: History) => peakAhead(history.peaks.get('home')!, 9 * hour, 0)?.units;
    expect(ahead(after)).toBeCloseTo(ahead(before)!, 3);
    expect(learnedText(after, 'home')).toBe(learnedText(before, 'home'));
  });

  it('is learned again where the stored text cannot be read, and never throws', () => {
    for (const text of ['', '{', '[]', '{"version":9}', 'null']) {
      const history = emptyHistory();
      expect(recallLearned(history, 'home', text, 0)).toBe(false);
      expect(history.forecasts.size).toBe(0);
    }
  });
});

describe('a wait', () => {
  const begun = async (clock: ReturnType<typeof virtualClock>) => {
    const history = emptyHistory();
    const keep = createRecollection({ database, fleet: fleetWith('n1'), history, clock });
    await keep(['home']);
    const atMs = clock.monotonicMs();
    observe(history, { cluster, nodes: [nodeAt(atMs, 0.95)] }, policy, atMs);
    await keep(['home']);
    return { history, keep };
  };
  const restarted = async (clock: ReturnType<typeof virtualClock>): Promise<History> => {
    const history = emptyHistory();
    await createRecollection({ database, fleet: fleetWith('n1'), history, clock })(['home']);
    return history;
  };

  it('counts on after a short restart from where it began', async () => {
    const clock = virtualClock();
    await begun(clock);
    await clock.advance(2 * minute);
    const history = await restarted(clock);
    expect(history.hotSinceMs.get('home/n1')).toBe(0);
    const atMs = clock.monotonicMs();
    observe(history, { cluster, nodes: [nodeAt(atMs, 0.95)] }, policy, atMs);
    expect(history.hotSinceMs.get('home/n1')).toBe(0);
    observe(history, { cluster, nodes: [nodeAt(atMs, 0.2)] }, policy, atMs);
    expect(history.hotSinceMs.has('home/n1')).toBe(false);
  });

  it('is over after a long one, since nobody saw whether it ended', async () => {
    const clock = virtualClock();
    await begun(clock);
    await clock.advance(4 * minute);
    expect((await restarted(clock)).hotSinceMs.size).toBe(0);
  });

  it('for another size, for memory, and a hotter one count on as well, with what they saw', async () => {
    const clock = virtualClock();
    const scaling = Policy.parse({
      relieve: { urgent: { above: 0.9, forMs: 60_000 } },
      scale: { guests: [{ guests: ['web'], cpu: { min: 1, max: 8 } }] },
    });
    const history = emptyHistory();
    const keep = createRecollection({ database, fleet: fleetWith('n1'), history, clock });
    await keep(['home']);
    const short = (cpuRatio: number): NodeRecord => {
      const node = nodeAt(clock.monotonicMs(), cpuRatio);
      const memory = { memoryUsedBytes: 31, memoryTotalBytes: 32 };
      return { ...node, values: { ...node.values!, ...memory } };
    };
    observe(history, { cluster, nodes: [short(0.95)] }, scaling, clock.monotonicMs());
    await keep(['home']);
    await clock.advance(minute);
    const after = await restarted(clock);
    expect(after.urgentSinceMs.get('home/n1')).toBe(0);
    expect(after.pressedSinceMs.get('home/n1 memoryRatio')).toBe(0);
    expect(after.sizeWaits.get('home')?.get('web/cpu')).toEqual({
      resource: 'cpu',
      way: 'grow',
      sinceMs: 0,
      most: 3.8,
    });
    observe(after, { cluster, nodes: [short(0.99)] }, scaling, clock.monotonicMs());
    expect(after.sizeWaits.get('home')?.get('web/cpu')).toMatchObject({ sinceMs: 0, most: 3.96 });
  });

  it('is taken out of the store when it ends', async () => {
    const clock = virtualClock();
    const { history, keep } = await begun(clock);
    expect(await readAlarms(database.db, 'home')).toHaveLength(1);
    history.hotSinceMs.clear();
    await keep(['home']);
    expect(await readAlarms(database.db, 'home')).toEqual([]);
  });
});
