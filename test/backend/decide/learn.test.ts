import { describe, expect, it } from 'vitest';
import { varianceFactor } from '../../../backend/decide/calibration.ts';
import { decide } from '../../../backend/decide/decide.ts';
import { firstForecast, outlookOf, see } from '../../../backend/decide/forecast.ts';
import { emptyHistory, type History, observe, record } from '../../../backend/decide/history.ts';
import { clusterWallMs, hourOf } from '../../../backend/decide/learn.ts';
import { emptyPeaks, peakAhead, seeLoad, slotMs } from '../../../backend/decide/peaks.ts';
import type { Plan } from '../../../backend/decide/plan.ts';
import { Policy, zoneOf } from '../../../backend/decide/policy.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { nodeKey } from '../../../broker/contract/ids.ts';
import { between, ratioOf, seededRandom } from '../../../simulator/prng.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

const gib = 2 ** 30;
const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const stepMs = 5 * minute;
const settings = { stepMs, weight: 0.06 };
const clusterOf = (timeScale = 1) => homeCluster({ simulated: timeScale !== 1, timeScale });

describe('the forecast of a guest', () => {
  const office = (atMs: number): number => {
    const hourNow = Math.floor(atMs / hour) % 24;
    return hourNow >= 8 && hourNow < 18 ? 3 : 0.2;
  };
  const learned = (days: number, load: (atMs: number) => number) => {
    const forecast = firstForecast(load(0), 4, 0);
    for (let atMs = stepMs; atMs < days * day; atMs += stepMs) {
      see(forecast, load(atMs), { atMs, hour: Math.floor(atMs / hour) % 24 }, settings);
    }
    return forecast;
  };

  it('knows after some days what the next hour needs, before it begins', () => {
    const forecast = learned(6, office);
    expect(forecast.mean).toBeLessThan(0.6);
    expect(outlookOf(forecast, 9).mean).toBeGreaterThan(2.5);
    expect(outlookOf(forecast, 3).mean).toBeLessThan(0.5);
    expect(outlookOf(forecast, 9).variance).toBeLessThan(forecast.variance);
  });

  it('believes in no shape where the days are not alike, and in none after one day', () => {
    const random = seededRandom(5);
    const restless = learned(6, () => between(random, 0, 40) / 10);
    expect(outlookOf(restless, 9)).toEqual({
      mean: restless.mean,
      variance: restless.variance,
    });
    const young = learned(1, office);
    expect(outlookOf(young, 9)).toEqual(outlookOf(young, null));
  });

  it('follows a trend while that is the better forecast', () => {
    const rising = learned(1, (atMs) => (4 * atMs) / day);
    const outlook = outlookOf(rising, null).mean;
    const truth = (4 * (day + stepMs)) / day;
    expect(Math.abs(truth - outlook)).toBeLessThan(Math.abs(truth - rising.mean));
  });
});

/** One node of guests that share some of their noise; a step each five minutes. */
function nodeAt(atMs: number, loads: readonly number[]): NodeRecord {
  const guests = loads.map((cpuRatio, at) => guestSample(`g${at}`, { cpuCount: 1, cpuRatio }));
  return {
    ...unseenNode('home', 'n1'),
    online: true,
    sampleAtMs: atMs,
    sampledAtWallMs: atMs,
    intervalMs: stepMs,
    values: nodeValues({ cpuCount: 16, cpuRatio: 0.5 }),
    guests,
  };
}

describe('the promise of a node', () => {
  const policy = Policy.parse({});
  const run = (shared: number) => {
    const history = emptyHistory();
    const counted = () => ({ steps: 0, covered: 0, ...history.calibrations.ofCluster.get('home') });
    const last = 3_000;
    let half = counted();
    for (let step = 1; step <= last; step += 1) {
      const common = ratioOf(7, step);
      const loads = Array.from(
        { length: 12 },
        (_, guest) => shared * common + (1 - shared) * ratioOf(100 + guest, step),
      );
      const state = { cluster: clusterOf(), nodes: [nodeAt(step * stepMs, loads)] };
      observe(history, state, policy, step * stepMs);
      if (step === last / 2) half = counted();
    }
    const { steps, covered } = counted();
    return {
      covers: (covered - half.covered) / (steps - half.steps),
      factor: varianceFactor(history.calibrations, 'home'),
      steps,
      foretold: history.calibrations.foretold.get('home'),
    };
  };

  it.each([0, 0.5, 1])('covers nine of ten steps, whatever its guests share: %f', (shared) => {
    const { covers, foretold, steps } = run(shared);
    expect(covers).toBeGreaterThan(0.85);
    expect(covers).toBeLessThan(0.95);
    // Noise around a level is foretold by the level: both sums are within 5 % of each other.
    expect(foretold?.steps).toBe(steps);
    expect((foretold?.measured ?? 0) / steps).toBeGreaterThan(0.1);
    expect((foretold?.predicted ?? 0) / (foretold?.measured ?? 1)).toBeCloseTo(1, 1);
  });

  it('keeps more room for guests that rise together than for those that do not', () => {
    expect(run(0.7).factor).toBeGreaterThan(1.5 * run(0).factor);
  });
});

describe('the days of a cluster', () => {
  const daysOf = (days: number, load: (atMs: number) => number) => {
    const peaks = emptyPeaks('UTC');
    for (let atMs = 0; atMs < days * day; atMs += 10 * minute) seeLoad(peaks, load(atMs), atMs);
    return peaks;
  };
  const morning = (atMs: number): number => {
    const inDay = atMs % day;
    return inDay >= 7 * hour && inDay < 9 * hour ? 30 : 4;
  };

  it('are known after two of them: the peak ahead, and nothing before', () => {
    expect(peakAhead(daysOf(1, morning), day, day)).toBe(null);
    const peaks = daysOf(3, morning);
    const now = 3 * day + 6 * hour;
    expect(peakAhead(peaks, now, 20 * minute)?.units).toBeCloseTo(4, 6);
    const peak = peakAhead(peaks, now, hour);
    expect(peak).toMatchObject({ atWallMs: 3 * day + 7 * hour, days: 3 });
    expect(peak?.units).toBeCloseTo(30, 6);
  });

  it('count a load that lasts for five minutes, not the second in which all rise together', () => {
    const peaks = emptyPeaks('UTC');
    for (let atMs = 0; atMs < 3 * day; atMs += minute) {
      seeLoad(peaks, (atMs / minute) % 10 === 3 ? 20 : 4, atMs);
    }
    // One minute in ten at 20: the five minutes around it come to 7.2.
    expect(peakAhead(peaks, 3 * day, 0)?.units).toBeCloseTo(7.2, 6);
  });

  it('differ by weekday once two weeks are known', () => {
    const weekdays = (atMs: number): number => (Math.floor(atMs / day) % 7 < 5 ? morning(atMs) : 4);
    const peaks = daysOf(15, weekdays);
    const at = (weekday: number) => peakAhead(peaks, (14 + weekday) * day + 7 * hour, 0)?.units;
    expect(at(6)).toBeCloseTo(4, 6);
    expect(at(2)).toBeCloseTo(30, 6);
  });

  it('follow the clock of the zone that the policy names, through summer time as well', () => {
    const policyOf = (zone: string) => Policy.parse({ forecast: { zone } });
    const wall = (iso: string, zone: string) => {
      const atMs = Date.parse(iso);
      const node = { ...unseenNode('home', 'n1'), sampleAtMs: atMs, sampledAtWallMs: atMs };
      return hourOf(clusterWallMs({ cluster: homeCluster(), nodes: [node] }, atMs, zone));
    };
    expect(wall('2026-01-05T07:30:00Z', 'UTC')).toBe(7);
    expect(wall('2026-01-05T07:30:00Z', 'Europe/Berlin')).toBe(8);
    expect(wall('2026-07-05T07:30:00Z', 'Europe/Berlin')).toBe(9);
    expect(wall('2026-01-05T07:30:00Z', 'Asia/Kolkata')).toBe(13);
    expect(zoneOf(policyOf('Asia/Kolkata'))).toBe('Asia/Kolkata');
    const calendar = [{ what: 'work', cron: '0 7 * * *', durationMs: hour, zone: 'Europe/Berlin' }];
    expect(zoneOf(Policy.parse({ calendar }))).toBe('Europe/Berlin');
    expect(zoneOf(Policy.parse({}))).toBe('UTC');
  });

  it('are learned anew where the zone has changed', () => {
    const history = emptyHistory();
    const node = (atMs: number) => ({
      ...unseenNode('home', 'n1'),
      online: true,
      sampleAtMs: atMs,
      sampledAtWallMs: atMs,
      values: nodeValues({ cpuCount: 8, cpuRatio: 0.5 }),
      guests: [],
    });
    const see = (atMs: number, zone: string) =>
      observe(
        history,
        { cluster: homeCluster(), nodes: [node(atMs)] },
        Policy.parse({ forecast: { zone } }),
        atMs,
      );
    for (let atMs = hour; atMs < 3 * day; atMs += 10 * minute) see(atMs, 'UTC');
    const known = () => history.peaks.get('home')?.day.filter((slot) => slot !== null).length;
    expect(known()).toBe(48);
    see(3 * day, 'Europe/Berlin');
    expect(known()).toBe(0);
    expect(history.peaks.get('home')?.zone).toBe('Europe/Berlin');
  });

  it('forget nothing over a gap: a slot that nobody saw keeps what it knew', () => {
    const peaks = daysOf(3, morning);
    seeLoad(peaks, 4, 5 * day);
    expect(peakAhead(peaks, 5 * day + 7 * hour, slotMs)?.units).toBeCloseTo(30, 6);
  });
});

/** Two nodes of 8 cores in a house whose load rises at 7 o'clock; n2 is the one that may sleep. */
describe('a learned morning', () => {
  const policy = Policy.parse({ save: { mode: 'on', sleepAfterMs: 0 } });
  const cluster = clusterOf();
  const nodes = (atMs: number, isSecondAwake: boolean): NodeRecord[] => {
    const facts = NodeFacts.parse({ wattsIdle: 60, wattsLoaded: 100, bootMs: 120_000 });
    const values = nodeValues({ cpuCount: 8, cpuRatio: 0.3, memoryTotalBytes: 32 * gib });
    const common = { online: true, sampleAtMs: atMs, sampledAtWallMs: atMs, facts, values };
    const guests = [guestSample('web', { cpuCount: 2, cpuRatio: 0.5 })];
    const asleep = { online: false, desired: 'asleep' as const, sampleAtMs: null, values: null };
    return [
      { ...unseenNode('home', 'n1'), ...common, guests },
      {
        ...unseenNode('home', 'n2'),
        ...common,
        guests: [],
        ...(!isSecondAwake && {
          ...asleep,
          facts: { ...facts, cpuCount: 8, memoryBytes: 32 * gib },
        }),
      },
    ];
  };
  const learnedHistory = (): History => {
    const history = emptyHistory();
    const peaks = emptyPeaks('UTC');
    for (let atMs = 0; atMs < 3 * day; atMs += 10 * minute) {
      const inDay = atMs % day;
      seeLoad(peaks, inDay >= 7 * hour && inDay < 9 * hour ? 11 : 2, atMs);
    }
    history.peaks.set('home', peaks);
    return history;
  };
  const planAt = (atMs: number, isSecondAwake: boolean, emptyForMs = 0): Plan => {
    const history = learnedHistory();
    history.emptySinceMs.set(nodeKey('home', 'n2'), atMs - emptyForMs);
    const plan = decide({ cluster, nodes: nodes(atMs, isSecondAwake) }, policy, history, atMs);
    record(history, plan, atMs);
    return plan;
  };

  it('is met by a wake before it, and not hours before', () => {
    expect(planAt(3 * day + 5 * hour, false).intents).toEqual([]);
    const [wake] = planAt(3 * day + 6 * hour + 50 * minute, false).intents;
    expect(wake).toMatchObject({ rule: 'wake.ahead', target: { kind: 'node', id: 'n2' } });
    expect(wake?.reason).toBe(
      '11.0 cores of load are expected around 07:00 UTC, as on 3 days before, ' +
        'and 5.0 of them have no room: n2 wakes',
    );
  });

  it('lets nothing sleep for the few minutes before it, and says what that would cost', () => {
    const plan = planAt(3 * day + 6 * hour + 59 * minute, true, hour);
    expect(plan.intents).toEqual([]);
    expect(plan.report.nonActions.map(({ reason }) => reason).join()).toMatch(
      /n?needed again in 0\.\d h: sleeping would cost \d+\.\d Wh/,
    );
    const [sleep] = planAt(3 * day + 10 * hour, true, hour).intents;
    expect(sleep).toMatchObject({ rule: 'save.sleep', target: { id: 'n2' } });
  });

  it('is learned sixty times as fast where time runs so', () => {
    const [slow, fast] = [emptyHistory(), emptyHistory()];
    for (let step = 1; step <= 60; step += 1) {
      const atMs = step * 5_000;
      for (const [history, scale] of [
        [slow, 1],
        [fast, 60],
      ] as const) {
        const state = { cluster: clusterOf(scale), nodes: nodes(atMs, true) };
        observe(history, state, policy, atMs);
      }
    }
    const stepsOf = (history: History) => history.forecasts.get('home')?.get('web')?.steps;
    expect([stepsOf(slow), stepsOf(fast)]).toEqual([1, 60]);
  });
});
