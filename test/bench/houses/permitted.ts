/**
 * The least energy that the guards permit: for each hour the nodes that are awake are chosen with
 * all loads known, placed for free and in fractions, and changed at the price of boots alone. They
 * keep the votes, the wakers and the reserve that the guards ask for, and the memory that the world
 * asks for. Nobody who acts under these guards can need less; how often a node may sleep and how long it
 * must be idle are left out, which makes it less still.
 */
import type { Reel } from '../../../backend/backtest/reel.ts';
import { wattsAsleep } from '../../../backend/backtest/watts.ts';
import { hostMemoryBytes, type World } from '../../../simulator/world/model.ts';

const stepsPerHour = 60;
const hourMs = 3_600_000;
/** Share of the way to full load that a boot draws. */
const bootLoadRatio = 0.5;

type Machine = { idle: number; slope: number; units: number; memory: number; bootWh: number };

function machinesOf(world: World): Machine[] {
  return world.clusters.get('home')!.nodes.map(({ spec }) => {
    const units = spec.cpuCount * spec.singleThreadFactor;
    const rise = spec.wattsLoaded - spec.wattsIdle;
    const bootWatts = spec.wattsIdle + bootLoadRatio * rise;
    return {
      idle: spec.wattsIdle,
      slope: rise / units,
      units,
      memory: spec.memoryBytes,
      bootWh: ((bootWatts - wattsAsleep) * spec.bootMs) / hourMs,
    };
  });
}

export class Permitted {
  private readonly machines: Machine[];
  private readonly sets: number[];
  private readonly factors: number[];
  private best: Float64Array;
  private readonly guestBytes: number;

  constructor(world: World) {
    this.machines = machinesOf(world);
    const cluster = world.clusters.get('home')!;
    this.factors = cluster.nodes.map(({ spec }) => spec.singleThreadFactor);
    this.guestBytes = [...world.guests.values()].reduce((sum, one) => sum + one.memoryBytes, 0);
    const count = this.machines.length;
    const votes = cluster.nodes.map(({ spec }) => spec.votes);
    const all = votes.reduce((sum, one) => sum + one, cluster.qdeviceVotes ?? 0);
    this.sets = Array.from({ length: 2 ** count }, (_, set) => set).filter((set) =>
      this.isPermitted(set, { votes, all, qdevice: cluster.qdeviceVotes ?? 0 }),
    );
    // Everything was awake when it began.
    this.best = Float64Array.from(this.sets, (set) => (set === 2 ** count - 1 ? 0 : Infinity));
  }

  private of = (set: number): Machine[] => this.machines.filter((_, place) => (set >> place) & 1);

  private isPermitted(
    set: number,
    { votes, all, qdevice }: { votes: number[]; all: number; qdevice: number },
  ): boolean {
    const awake = this.of(set);
    const isWhole = awake.length === this.machines.length;
    if (isWhole) return true;
    if (awake.length < Math.min(2, this.machines.length - 1)) return false;
    const memory = awake.reduce((sum, one) => sum + one.memory - hostMemoryBytes, 0);
    if (memory < this.guestBytes) return false;
    if (all === 0) return true;
    const held = votes.filter((_, place) => (set >> place) & 1).sort((a, b) => b - a);
    // One more may fail: the strongest voter is not counted.
    const left = [...held, ...(qdevice > 0 ? [qdevice] : [])]
      .sort((a, b) => b - a)
      .slice(1)
      .reduce((sum, one) => sum + one, 0);
    if (left < Math.floor(all / 2) + 1) return false;
    const spare = this.machines.length < 4 ? this.machines : awake;
    const sizes = spare.map((one) => one.memory);
    return sizes.reduce((sum, one) => sum + one, 0) - Math.max(...sizes) >= this.guestBytes;
  }

  /** Wh of an hour with `units` of work on what is awake, Infinity where it does not fit. */
  private wh(set: number, units: number): number {
    const awake = this.of(set);
    let left = units;
    let watts = (this.machines.length - awake.length) * wattsAsleep;
    for (const machine of awake.toSorted((a, b) => a.slope - b.slope)) {
      const taken = Math.min(left, machine.units);
      left -= taken;
      watts += machine.idle + taken * machine.slope;
    }
    return left > 1e-9 && awake.length < this.machines.length ? Infinity : watts;
  }

  /** One more day of what was recorded. */
  add({ steps, guests, guestNode }: Reel): void {
    for (let from = 0; from < steps; from += stepsPerHour) {
      let units = 0;
      guests.names.forEach((_, row) => {
        for (let step = from; step < from + stepsPerHour; step += 1) {
          const cell = row * steps + step;
          const ratio = guests.values['cpuRatio']![cell]!;
          const cores = guests.values['cpuCount']![cell]!;
          if (guestNode[cell]! >= 0 && ratio > 0) {
            units += (ratio * cores * this.factors[guestNode[cell]!]!) / stepsPerHour;
          }
        }
      });
      const costs = this.sets.map((set) => this.wh(set, units));
      this.best = Float64Array.from(this.sets, (set, to) => {
        let least = Infinity;
        this.sets.forEach((before, at) => {
          const boots = this.of(set & ~before).reduce((sum, { bootWh }) => sum + bootWh, 0);
          least = Math.min(least, this.best[at]! + boots);
        });
        return least + costs[to]!;
      });
    }
  }

  kwh = (): number => Math.min(...this.best) / 1_000;
}
