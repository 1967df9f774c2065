import { describe, expect, it } from 'vitest';
import { Policy } from '../../../backend/decide/policy.ts';
import { physicalBoundKwh, slopeOf } from '../../../simulator/replay/physical-bound.ts';
import {
  openGate,
  physicalEngine,
  type PhysicalPolicy,
} from '../../../simulator/replay/physical-engine.ts';
import { hostPower } from '../../../simulator/replay/physical-power.ts';
import { alwaysOn, obeying, playPhysical } from '../../../simulator/replay/physical-run.ts';
import { physicalRules, PhysicalWorld } from '../../../simulator/replay/physical-world.ts';
import { initialPlacement } from '../../../simulator/replay/placement.ts';
import { lr } from '../../../simulator/replay/reference/detectors.ts';
import { mmtPolicy } from '../../../simulator/replay/reference/mmt.ts';
import { bigHosts, ml110g5, planetlabHosts } from '../../../simulator/replay/specs.ts';
import type { Trace } from '../../../simulator/replay/trace.ts';
import { guardedGate } from '../../bench/replay-gate.ts';
import { tinyTrace } from './tiny.ts';

/** Guests that do the same all day: percents and MB of each. */
function steady(loads: readonly { mips: number; percent: number; ramMb: number }[]): Trace {
  const steps = 288;
  const of = (pick: (load: (typeof loads)[number]) => number) => Float64Array.from(loads, pick);
  return {
    name: 'steady',
    guestNames: loads.map((_, guest) => `g${guest}`),
    guestCount: loads.length,
    steps,
    stepSeconds: 300,
    cpu: Uint8Array.from({ length: loads.length * steps }, (_, at) =>
      Math.round(loads[Math.floor(at / steps)]!.percent),
    ),
    cpuScale: new Float64Array(loads.length).fill(100),
    mips: of(({ mips }) => mips),
    cores: new Float64Array(loads.length).fill(2),
    ramMb: of(({ ramMb }) => ramMb),
    ramUsedMb: null,
  };
}

const g5s = (count: number) => ({ count, modelOf: Array.from({ length: count }, () => ml110g5) });
const worldOf = (trace: Trace, placement: number[], change = {}) =>
  new PhysicalWorld(trace, g5s(3), Int32Array.from(placement), { ...physicalRules, ...change });
const one = { mips: 2660, percent: 50, ramMb: 625 };

describe('a physical world', () => {
  it('costs what the curve says, nothing while off', () => {
    const world = worldOf(steady([one]), [0]);
    world.advance(300 + 3_600);
    // 1330 of 5320 MIPS: half way between 101 and 105 W.
    expect(world.totals.joules).toBeCloseTo(103 * 3_600, 3);
  });

  it('boots for its time, at watts that rise to a fifth of the load, and is usable only then', () => {
    const world = worldOf(steady([one]), [0], { wakeFailureRatio: 0 });
    expect(world.wake(1)).toBe(null);
    expect(world.move(0, 1)).toBe('the target is not awake');
    world.advance(300 + 119);
    expect(world.power[1]).toBe(hostPower.booting);
    world.advance(300 + 120);
    expect(world.power[1]).toBe(hostPower.on);
    expect(world.totals.joules).toBeCloseTo(103 * 120 + ((93.7 + 101) / 2) * 120, 3);
  });

  it('may fail to wake, and says so by being off again after its boot', () => {
    const world = worldOf(steady([one]), [0], { wakeFailureRatio: 1 });
    world.wake(1);
    world.advance(300 + 120);
    expect([world.power[1], world.failedWakes]).toEqual([hostPower.off, 1]);
    expect(world.wake(1)).toBe(null);
  });

  it('copies for memory over bandwidth, and both ends lose a tenth of the guest meanwhile', () => {
    const world = worldOf(steady([one, one]), [0, 1]);
    expect(world.move(0, 1)).toBe(null);
    expect(world.sleep(0)).toBe('guests run on it');
    world.advance(300 + 9);
    expect(world.hostOf[0]).toBe(0);
    world.advance(300 + 10);
    expect(world.hostOf[0]).toBe(1);
    expect(world.totals.lostToMoves).toBeCloseTo(0.1 * 1330 * 10, 6);
    expect(world.totals.requested).toBeCloseTo(2 * 1330 * 10, 6);
    expect(world.sleep(0)).toBe(null);
    world.advance(300 + 40);
    expect(world.power[0]).toBe(hostPower.off);
  });

  it('lets one copy out and one in at a host, and no guest where memory is short', () => {
    const big = { ...one, ramMb: 2_500 };
    const world = worldOf(steady([one, one, big, big]), [0, 0, 0, 1]);
    expect(world.move(2, 1)).toBe('the target has no memory for it');
    expect(world.move(0, 1)).toBe(null);
    expect(world.move(0, 1)).toBe('an end is busy with a copy');
    expect(world.move(1, 1)).toBe('an end is busy with a copy');
  });

  it('counts the part of a line above capacity as overload, and what is not delivered', () => {
    const full = { mips: 5320, percent: 80, ramMb: 100 };
    const world = worldOf(steady([full, full]), [0, 0]);
    world.advance(300 + 100);
    expect(world.totals.overloadedSeconds).toBe(100);
    expect(world.totals.requested - world.totals.allocated).toBeCloseTo(0.6 * 5320 * 100, 3);
  });
});

describe('the bound of the physical world', () => {
  it('keeps as many hosts awake as load or memory need, and pays for each boot', () => {
    const trace = steady([{ mips: 5320, percent: 50, ramMb: 4_000 }, one]);
    const hours = (286 * 300) / 3_600;
    const two = (2 * 93.7 + slopeOf(ml110g5) * (2660 + 1330)) * (hours / 1_000);
    expect(physicalBoundKwh(trace, g5s(3), 120)).toBeCloseTo(two, 6);
    // An hour at double load needs a host more: its boot is paid once.
    const light = { ...trace, ramMb: Float64Array.of(1_000, 625) };
    const cpu = trace.cpu.slice();
    cpu.fill(100, 100, 112);
    cpu.fill(100, 388, 400);
    const more = physicalBoundKwh({ ...light, cpu }, g5s(3), 120);
    const dearer = physicalBoundKwh({ ...light, cpu }, g5s(3), 240);
    expect((dearer - more) * 3_600_000).toBeCloseTo(97 * 120, 3);
  });

  const shipped = Policy.parse({
    relieve: { cpuRatio: { forMs: 60_000 } },
    save: { mode: 'on', everyMs: 60_000, spareRatio: 0.5, sleepAfterMs: 60_000 },
    limits: { migrationsPerCluster: 8, guestCooldownMs: 0 },
  });
  const engine = (policy = shipped) =>
    physicalEngine({ policy, gate: openGate, clusterSize: 24, hasQuorum: false });

  it.each<[string, () => PhysicalPolicy]>([
    ['always-on', () => alwaysOn],
    ['lr-mmt', () => obeying(mmtPolicy('lr-mmt', lr(1.2)))],
    ['kernreaktor', engine],
  ])('is undercut by no policy: %s', async (_, make) => {
    const trace = tinyTrace(48, 21);
    const hosts = planetlabHosts(24);
    const day = { trace, order: 'sorted', hosts, placement: initialPlacement(trace, hosts) };
    const bound = physicalBoundKwh(trace, hosts, physicalRules.bootSeconds);
    const { energyKwh, undelivered } = await playPhysical(day, make(), physicalRules, () => 0);
    expect(energyKwh * (1 + undelivered)).toBeGreaterThan(bound);
  });

  it('shows what the engine saves of a day, and the guards of production take some of it', async () => {
    const trace = tinyTrace(24, 22);
    const hosts = bigHosts(4);
    const placement = Int32Array.from({ length: 24 }, (__, guest) => guest % 4);
    const day = { trace, order: 'sorted', hosts, placement };
    const played = (policy: PhysicalPolicy) => playPhysical(day, policy, physicalRules, () => 0);
    const on = await played(alwaysOn);
    const free = await played(engine());
    const gate = guardedGate({ limits: {}, without: new Set(), hasLimiter: true });
    const guarded = await played(
      physicalEngine({ policy: shipped, gate, clusterSize: 4, hasQuorum: true }),
    );
    expect(free.energyKwh).toBeLessThan(on.energyKwh * 0.6);
    // Four votes: three must stay, since one more may fail.
    expect(guarded.energyKwh).toBeGreaterThan(free.energyKwh);
    expect(guarded.energyKwh).toBeLessThanOrEqual(on.energyKwh);
    expect([...gate.refusals.keys()].some((code) => code.includes('KR_QUORUM'))).toBe(true);
  });
});
