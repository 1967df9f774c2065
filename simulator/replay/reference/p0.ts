/**
 * The naive online policy to beat: an exponentially weighted mean and variance per guest, best fit
 * under mean + k sigma, eviction only on real overload, and emptying of the least loaded hosts
 * every 30 minutes. Nothing is tuned per day. It sees raw samples up to now and nothing later.
 */
import type { ReplayPolicy } from '../policy.ts';
import { sampleAt } from '../trace.ts';
import type { Move, ReplayWorld } from '../world.ts';

export type P0Options = { k: number; pack: number; emptyEveryTicks: number; emptyMax: number };

export const p0Defaults: P0Options = { k: 1, pack: 0.95, emptyEveryTicks: 6, emptyMax: 4 };

const alpha = 0.1;

/** The running sums of one host while guests are tried on it. */
type Sums = { asked: Float64Array; mean: Float64Array; variance: Float64Array };

class Planner {
  private readonly world: ReplayWorld;
  private readonly options: P0Options;
  readonly now: Float64Array;
  readonly mean: Float64Array;
  readonly variance: Float64Array;
  readonly sums: Sums;
  readonly guestsOf: number[][];
  readonly isTouched: Uint8Array;

  constructor(world: ReplayWorld, options: P0Options, forecast: Forecast) {
    this.world = world;
    this.options = options;
    this.now = forecast.now;
    this.mean = forecast.counted;
    this.variance = forecast.variance;
    const { count } = world.hosts;
    this.guestsOf = world.guestsOf.map((guests) => guests.slice());
    this.isTouched = new Uint8Array(count);
    this.sums = {
      asked: new Float64Array(count),
      mean: new Float64Array(count),
      variance: new Float64Array(count),
    };
    this.guestsOf.forEach((guests, host) => {
      for (const guest of guests) this.add(host, guest, 1);
    });
  }

  private add(host: number, guest: number, sign: 1 | -1): void {
    this.sums.asked[host]! += sign * this.now[guest]!;
    this.sums.mean[host]! += sign * this.mean[guest]!;
    this.sums.variance[host]! += sign * this.variance[guest]!;
  }

  move(guest: number, from: number, to: number): void {
    this.guestsOf[from]!.splice(this.guestsOf[from]!.indexOf(guest), 1);
    this.guestsOf[to]!.push(guest);
    this.add(from, guest, -1);
    this.add(to, guest, 1);
  }

  fits(guest: number, host: number): boolean {
    const { mips, coreMips } = this.world.hosts.modelOf[host]!;
    const { asked, mean, variance } = this.sums;
    if (this.now[guest]! > coreMips) return false;
    const limit = this.options.pack * mips;
    const spread = Math.sqrt(Math.max(0, variance[host]! + this.variance[guest]!));
    const predicted = mean[host]! + this.mean[guest]! + this.options.k * spread;
    return predicted <= limit && asked[host]! + this.now[guest]! <= limit;
  }

  isOverloaded = (host: number): boolean =>
    this.sums.asked[host]! > this.world.hosts.modelOf[host]!.mips;

  /** The fullest host that fits: the bigger model first, an empty one only when asked for. */
  target(guest: number, isAllowed: (host: number) => boolean): number | null {
    let best: number | null = null;
    let bestRank = Infinity;
    for (let host = 0; host < this.world.hosts.count; host += 1) {
      if (!isAllowed(host) || !this.fits(guest, host)) continue;
      const { mips } = this.world.hosts.modelOf[host]!;
      const spread = Math.sqrt(Math.max(0, this.sums.variance[host]!));
      const slack = this.options.pack * mips - this.sums.mean[host]! - this.options.k * spread;
      const rank = (mips > 4000 ? 0 : 1e6) + slack;
      if (rank < bestRank) {
        bestRank = rank;
        best = host;
      }
    }
    return best;
  }
}

type Forecast = { now: Float64Array; counted: Float64Array; variance: Float64Array };

function createForecast(guests: number) {
  const mean = new Float64Array(guests);
  const variance = new Float64Array(guests);
  const forecast: Forecast = {
    now: new Float64Array(guests),
    counted: new Float64Array(guests),
    variance,
  };
  return (world: ReplayWorld, tick: number): Forecast => {
    const { trace } = world;
    const see = (guest: number, x: number): void => {
      const delta = x - mean[guest]!;
      mean[guest]! += alpha * delta;
      variance[guest] = (1 - alpha) * (variance[guest]! + alpha * delta * delta);
    };
    for (let guest = 0; guest < guests; guest += 1) {
      const full = trace.mips[guest]!;
      const x = sampleAt(trace, guest, tick + 1) * full;
      if (tick === 0) {
        const first = sampleAt(trace, guest, 0) * full;
        mean[guest] = first;
        variance[guest] = (0.6 * Math.max(first, 0.05 * full)) ** 2;
      }
      see(guest, x);
      forecast.now[guest] = x;
      forecast.counted[guest] = Math.max(mean[guest]!, (mean[guest]! + x) / 2);
    }
    return forecast;
  };
}

function victim(world: ReplayWorld, plan: Planner, host: number): number | null {
  const excess = plan.sums.asked[host]! - world.hosts.modelOf[host]!.mips;
  const { ramMb } = world.trace;
  const guests = plan.guestsOf[host]!;
  const cures = guests.filter((guest) => plan.now[guest]! >= excess);
  const smallest = cures.sort((a, b) => ramMb[a]! - ramMb[b]! || plan.now[a]! - plan.now[b]!)[0];
  return smallest ?? guests.toSorted((a, b) => plan.now[b]! - plan.now[a]!)[0] ?? null;
}

function relieve(world: ReplayWorld, plan: Planner): Move[] {
  const moves: Move[] = [];
  const isAwake = world.guestsOf.map((guests) => guests.length > 0);
  for (let host = 0; host < world.hosts.count; host += 1) {
    while (plan.isOverloaded(host)) {
      const guest = victim(world, plan, host);
      if (guest === null) break;
      const open = (other: number) => other !== host && !plan.isOverloaded(other);
      const to =
        plan.target(guest, (other) => open(other) && isAwake[other] === true) ??
        plan.target(guest, (other) => open(other) && isAwake[other] !== true);
      if (to === null) break;
      isAwake[to] = true;
      plan.move(guest, host, to);
      plan.isTouched[host] = 1;
      plan.isTouched[to] = 1;
      moves.push({ guest, to });
    }
  }
  return moves;
}

function emptySome(world: ReplayWorld, plan: Planner, max: number): Move[] {
  const { modelOf } = world.hosts;
  const moves: Move[] = [];
  const share = (host: number) => plan.sums.mean[host]! / modelOf[host]!.mips;
  const hosts = plan.guestsOf
    .map((guests, host) => (guests.length > 0 ? host : -1))
    .filter((host) => host >= 0 && !plan.isTouched[host] && !plan.isOverloaded(host))
    .sort((a, b) => modelOf[a]!.mips - modelOf[b]!.mips || share(a) - share(b));
  let left = max;
  for (const host of hosts) {
    if (left === 0) break;
    if (plan.isTouched[host]) continue;
    const found: Move[] = [];
    const guests = plan.guestsOf[host]!.toSorted((a, b) => plan.mean[b]! - plan.mean[a]!);
    const allowed = (other: number) =>
      other !== host && plan.guestsOf[other]!.length > 0 && plan.isTouched[other] !== 2;
    for (const guest of guests) {
      const to = plan.target(guest, allowed);
      if (to === null) break;
      plan.move(guest, host, to);
      found.push({ guest, to });
    }
    if (found.length < guests.length) {
      for (const { guest, to } of found) plan.move(guest, to, host);
      continue;
    }
    left -= 1;
    plan.isTouched[host] = 2;
    for (const { to } of found) plan.isTouched[to] = 1;
    moves.push(...found);
  }
  return moves;
}

export function p0Policy(options: P0Options = p0Defaults, name = 'p0'): ReplayPolicy {
  let forecast: ReturnType<typeof createForecast> | null = null;
  return {
    name,
    decide(world, tick) {
      forecast ??= createForecast(world.trace.guestCount);
      const plan = new Planner(world, options, forecast(world, tick));
      const moves = relieve(world, plan);
      if (tick === 0) return [...moves, ...emptySome(world, plan, Infinity)];
      if (tick % options.emptyEveryTicks !== 0) return moves;
      return [...moves, ...emptySome(world, plan, options.emptyMax)];
    },
  };
}
