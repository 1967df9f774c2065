import { assert, constantFrom, integer, property } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boundsOf, presenceOf } from '../../../simulator/replay/bounds.ts';
import { CloudsimWorld, tickSeconds } from '../../../simulator/replay/cloudsim-world.ts';
import { readGoldenLog, rescore } from '../../../simulator/replay/golden-log.ts';
import { initialPlacement } from '../../../simulator/replay/placement.ts';
import { iqr, lr, mad, thr } from '../../../simulator/replay/reference/detectors.ts';
import { mmtPolicy } from '../../../simulator/replay/reference/mmt.ts';
import { p0Policy } from '../../../simulator/replay/reference/p0.ts';
import { play, quantile, rulesOf, withGap } from '../../../simulator/replay/run.ts';
import { scoreOf } from '../../../simulator/replay/score.ts';
import { ml110g4, ml110g5, planetlabHosts, wattsAt } from '../../../simulator/replay/specs.ts';
import { tinyTrace } from './tiny.ts';

const stopwatch = () => 0;
const dayOf = (guests: number, seed: number, hostCount = 48) => {
  const trace = tinyTrace(guests, seed);
  const hosts = planetlabHosts(hostCount);
  return { trace, order: 'sorted', hosts, placement: initialPlacement(trace, hosts) };
};

/** One guest of 500 MIPS that wants `percents`, then its last value, on host 1 of two. */
function oneGuest(percents: number[], rules = rulesOf.B) {
  const trace = tinyTrace(1, 1);
  trace.mips[0] = 500;
  trace.ramMb[0] = 625;
  for (let step = 0; step < 288; step += 1) trace.cpu[step] = percents[step] ?? percents.at(-1)!;
  return new CloudsimWorld(trace, planetlabHosts(4), Int32Array.of(1), rules);
}

describe('the curve of a host', () => {
  it('passes through its points and is straight between them', () => {
    expect(wattsAt(ml110g4, 0)).toBe(86);
    expect(wattsAt(ml110g5, 1)).toBe(135);
    expect(wattsAt(ml110g5, 0.25)).toBeCloseTo(103, 9);
    expect(() => wattsAt(ml110g4, 1.01)).toThrow(RangeError);
  });
});

describe('the accounting', () => {
  it('books watts over time from the first tick on, by the trapezium of both ends', () => {
    const world = oneGuest([0, 100]);
    const [first = 0, second = 0] = tickSeconds(world.trace);
    world.advance(first);
    expect(world.totals.joules).toBe(0);
    world.advance(second);
    expect(world.totals.joules).toBeCloseTo(wattsAt(ml110g5, 500 / 5320) * 300, 2);
  });

  it('counts a guest at 0 % as idle load in track B, as off in CloudSim, and drops it in A', () => {
    const joulesAt = (rules: (typeof rulesOf)['B']) => {
      const world = oneGuest([10, 10, 0, 0, 0, 0], rules);
      for (const seconds of tickSeconds(world.trace).slice(0, 8)) world.advance(seconds);
      return { joules: world.totals.joules, dropped: world.totals.dropped };
    };
    // From the second tick, the first without load, to the eighth.
    const idleIntervals = 6;
    const b = joulesAt(rulesOf.B);
    const off = joulesAt({ dropsIdleGuests: false, booksIdleHosts: false });
    expect(b.joules - off.joules).toBeCloseTo(300 * 93.7 * idleIntervals, 0);
    expect(off.dropped).toBe(0);
    expect(joulesAt(rulesOf.A).dropped).toBe(1);
  });

  it('takes a tenth from a guest while it moves, and calls the target violated meanwhile', () => {
    const world = oneGuest([50]);
    const ticks = tickSeconds(world.trace);
    world.advance(ticks[0]!);
    world.start([{ guest: 0, to: 3 }]);
    expect(world.guestsOf[3]).toEqual([0]);
    world.advance(ticks[1]!);
    world.advance(ticks[2]!);
    const score = scoreOf(world.totals);
    expect(world.hostOf[0]).toBe(3);
    expect(world.guestsOf[1]).toEqual([]);
    // 625 MB at 62.5 MB/s are 10 s of 600; the host was active alone for all but these.
    expect(score.pdm).toBeCloseTo((0.1 * 10) / 600, 6);
    expect(score.slatah).toBeCloseTo(10 / 610, 6);
    expect(score.migrations).toBe(1);
  });

  it('gives whole shares when more is wanted than there is, and counts the overload', () => {
    const trace = tinyTrace(4, 1);
    trace.mips.fill(2500);
    trace.cpu.fill(100);
    const hosts = planetlabHosts(2);
    const world = new CloudsimWorld(trace, hosts, Int32Array.of(1, 1, 1, 1), rulesOf.B);
    for (const seconds of tickSeconds(trace).slice(0, 3)) world.advance(seconds);
    expect([...world.allocatedMips]).toEqual([1330, 1330, 1330, 1330]);
    const { otf, undelivered } = scoreOf(world.totals);
    expect(otf).toBe(1);
    expect(undelivered).toBeCloseTo(1 - 5320 / 10_000, 9);
  });

  it('ends a guest that is sent to two hosts on the last of them', () => {
    const world = oneGuest([50]);
    const ticks = tickSeconds(world.trace);
    world.advance(ticks[0]!);
    world.start([
      { guest: 0, to: 3 },
      { guest: 0, to: 2 },
    ]);
    world.advance(ticks[1]!);
    expect(world.guestsOf.map((guests) => guests.length)).toEqual([0, 0, 1, 0]);
  });
});

describe('a log of decisions', () => {
  it('scores to the same energy when its moves are played again, and strays when they are not', async () => {
    const day = dayOf(40, 7);
    const world = new CloudsimWorld(day.trace, day.hosts, day.placement, rulesOf.A);
    const policy = mmtPolicy('lr-mmt', lr(1.2));
    const lines = [...day.placement].map((host, guest) => `P,${guest},${host}`);
    tickSeconds(day.trace).forEach((seconds, tick) => {
      world.advance(seconds);
      lines.push(`T,${seconds},0,0,0,0,0,${world.totals.joules}`);
      const moves = policy.decide(world, tick);
      for (const { guest, to } of moves) lines.push(`M,${seconds},${guest},0,${to},0`);
      world.start(moves);
    });
    world.finish();
    lines.push(`E,86400.0,${world.totals.joules}`);
    const again = async (text: string[]) => {
      const log = await readGoldenLog(text, day.trace.guestCount);
      const fresh = new CloudsimWorld(day.trace, day.hosts, log.placement, rulesOf.A);
      return rescore(fresh, log, tickSeconds(day.trace));
    };
    expect(await again(lines)).toBe(0);
    const firstMove = lines.findIndex((line) => line.startsWith('M,'));
    expect(firstMove).toBeGreaterThan(0);
    expect(await again(lines.toSpliced(firstMove, 1))).toBeGreaterThan(1e-6);
  });
});

describe('the bounds', () => {
  it('lie below what any policy reaches that delivers all demand', () => {
    const makers = {
      lr: () => mmtPolicy('lr-mmt', lr(1.2)),
      thr: () => mmtPolicy('thr-mmt', thr(0.8)),
      iqr: () => mmtPolicy('iqr-mmt', iqr(1.5)),
      mad: () => mmtPolicy('mad-mmt', mad(2.5)),
      p0: () => p0Policy(),
    };
    const names = constantFrom(...(Object.keys(makers) as (keyof typeof makers)[]));
    assert(
      property(integer({ min: 1, max: 1000 }), names, (seed, name) => {
        const day = dayOf(24, seed);
        const bounds = boundsOf(day.trace, day.hosts, presenceOf(day.trace, false));
        const result = play(day, makers[name](), rulesOf.B, stopwatch);
        const delivered = 1 - result.undelivered;
        expect(bounds.fluidKwh).toBeLessThanOrEqual(bounds.clairvoyantKwh);
        expect(result.energyKwh).toBeGreaterThan(bounds.fluidKwh * delivered);
      }),
      { seed: 1, numRuns: 15 },
    );
  });

  it('say how much of the gap a policy closes, against LR-MMT alone', () => {
    const day = dayOf(24, 3);
    const bounds = boundsOf(day.trace, day.hosts, presenceOf(day.trace, false));
    const results = [mmtPolicy('lr-mmt', lr(1.2)), p0Policy()].map((policy) =>
      play(day, policy, rulesOf.B, stopwatch),
    );
    const [first, second] = withGap(results, bounds);
    expect(first?.gapClosed).toBe(0);
    expect(second?.gapClosed).toBeCloseTo(
      (results[0]!.energyKwh - results[1]!.energyKwh) /
        (results[0]!.energyKwh - bounds.clairvoyantKwh),
      12,
    );
    expect(withGap(results.slice(1), bounds)[0]?.gapClosed).toBeNull();
  });
});

describe('a quantile', () => {
  it('is the value below which that share lies', () => {
    expect(quantile([5, 1, 3, 2, 4], 0.5)).toBe(3);
    expect(quantile([1, 2], 0.99)).toBe(2);
    expect(quantile([], 0.5)).toBe(0);
  });
});
