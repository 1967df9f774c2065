/**
 * The reference policies of the literature: a detector of overload, minimum migration time to
 * choose the guest, power-aware best fit decreasing to choose the host, and emptying of the least
 * used hosts. Faithful to CloudSim 3.0.3, its defects included; it takes the same decisions.
 *
 * Source: Beloglazov & Buyya, CCPE 24(13), 2012; `PowerVmAllocationPolicyMigrationAbstract`.
 */
import type { ReplayPolicy } from '../policy.ts';
import { wattsAt } from '../specs.ts';
import type { Move, ReplayWorld } from '../world.ts';
import type { Detector } from './detectors.ts';

const historyLength = 30;

/** What each guest used in past ticks, newest first, as CloudSim's guests remember it. */
class Memory {
  readonly values: Float64Array;
  private readonly guests: number;
  constructor(guests: number) {
    this.guests = guests;
    this.values = new Float64Array(guests * historyLength);
  }
  remember(world: ReplayWorld): void {
    if (!world.isRemembered()) return;
    for (let guest = 0; guest < this.guests; guest += 1) {
      const start = guest * historyLength;
      this.values.copyWithin(start + 1, start, start + historyLength - 1);
      this.values[start] = world.demand[guest]! / world.trace.mips[guest]!;
    }
  }
}

type Sums = { history: Float64Array; asked: number; capped: number; free: number };

/** Where guests would be, while the policy tries placements within one decision. */
class Draft {
  readonly guestsOf: (number[] | null)[];
  private readonly world: ReplayWorld;
  private readonly memory: Memory;
  private readonly detector: Detector;
  private readonly cached: (Sums | null)[];

  constructor(world: ReplayWorld, memory: Memory, detector: Detector) {
    this.world = world;
    this.memory = memory;
    this.detector = detector;
    this.guestsOf = world.guestsOf.map(() => null);
    this.cached = world.guestsOf.map(() => null);
  }

  guests(host: number): number[] {
    return (this.guestsOf[host] ??= this.world.guestsOf[host]!.slice());
  }

  private sums(host: number) {
    const known = this.cached[host];
    if (known) return known;
    const sums: Sums = {
      history: new Float64Array(historyLength),
      asked: 0,
      capped: 0,
      free: this.world.hosts.modelOf[host]!.mips,
    };
    for (const guest of this.guests(host)) this.add(sums, host, guest);
    return (this.cached[host] = sums);
  }

  private add(sums: Sums, host: number, guest: number): void {
    const { trace, hosts, demand } = this.world;
    const { mips, coreMips } = hosts.modelOf[host]!;
    const full = trace.mips[guest]!;
    const start = guest * historyLength;
    for (let place = 0; place < historyLength; place += 1) {
      sums.history[place]! += (this.memory.values[start + place]! * full) / mips;
    }
    const wanted = demand[guest]!;
    const most = coreMips * trace.cores[guest]!;
    const capped = wanted > most ? most : wanted;
    sums.asked += wanted;
    sums.capped += capped;
    sums.free = sums.free >= capped ? sums.free - capped : 0;
  }

  isOverloaded(host: number): boolean {
    return this.judge(host, this.sums(host));
  }

  private judge(host: number, sums: Sums): boolean {
    let length = historyLength;
    while (length > 1 && sums.history[length - 1] === 0) length -= 1;
    const demand = sums.asked / this.world.hosts.modelOf[host]!.mips;
    return this.detector({ history: sums.history, length, demand });
  }

  wouldOverload(host: number, guest: number): boolean {
    const now = this.sums(host);
    const sums = { ...now, history: now.history.slice() };
    this.add(sums, host, guest);
    return this.judge(host, sums);
  }

  isSuitable(host: number, guest: number): boolean {
    const { demand, hosts, trace } = this.world;
    const { coreMips } = hosts.modelOf[host]!;
    const isFastEnough = coreMips * trace.cores[guest]! >= demand[guest]!;
    return isFastEnough && this.sums(host).free >= demand[guest]! && this.holds(host, guest);
  }

  private holds(host: number, guest: number): boolean {
    const { ramNeeded, hosts } = this.world;
    if (ramNeeded === null) return true;
    const used = this.guests(host).reduce((sum, other) => sum + ramNeeded[other]!, 0);
    return used + ramNeeded[guest]! <= hosts.modelOf[host]!.ramMb;
  }

  put(guest: number, host: number): void {
    const sums = this.sums(host);
    this.guests(host).push(guest);
    this.add(sums, host, guest);
  }

  take(guest: number, host: number): void {
    const guests = this.guests(host);
    guests.splice(guests.indexOf(guest), 1);
    this.cached[host] = null;
  }

  /** MIPS that the drafted guests of a host get: all they want, or whole shares of what is there. */
  private allocated(host: number): number {
    const { demand, hosts, trace } = this.world;
    const { mips, coreMips } = hosts.modelOf[host]!;
    const { capped } = this.sums(host);
    if (capped <= mips) return capped;
    const scale = mips / capped;
    return this.guests(host).reduce(
      (sum, guest) =>
        sum + Math.floor(Math.min(demand[guest]!, coreMips * trace.cores[guest]!) * scale),
      0,
    );
  }

  /** Watts of a host with one guest more, null when that is beyond its capacity. */
  wattsWith(host: number, guest: number): number | null {
    const model = this.world.hosts.modelOf[host]!;
    const utilisation = (this.allocated(host) + this.world.demand[guest]!) / model.mips;
    return utilisation > 1 ? null : wattsAt(model, utilisation);
  }
}

function bestHost(
  world: ReplayWorld,
  draft: Draft,
  guest: number,
  excluded: Uint8Array,
): number | null {
  let least = Infinity;
  let best: number | null = null;
  for (let host = 0; host < world.hosts.count; host += 1) {
    if (excluded[host] || !draft.isSuitable(host, guest)) continue;
    const watts = draft.wattsWith(host, guest);
    if (watts === null) continue;
    const more = watts - wattsAt(world.hosts.modelOf[host]!, world.utilisation(host));
    if (more >= least) continue;
    if (world.usedMips[host] !== 0 && draft.wouldOverload(host, guest)) continue;
    least = more;
    best = host;
  }
  return best;
}

const byDemand = (world: ReplayWorld) => (a: number, b: number) =>
  world.demand[b]! - world.demand[a]!;

/** Smallest memory first, until the host is overloaded no more. */
function shed(world: ReplayWorld, draft: Draft, overloaded: readonly number[]): number[] {
  const shedGuests: number[] = [];
  for (const host of overloaded) {
    do {
      let chosen: number | null = null;
      for (const guest of draft.guests(host)) {
        if (chosen === null || world.trace.ramMb[guest]! < world.trace.ramMb[chosen]!) {
          chosen = guest;
        }
      }
      if (chosen === null) break;
      shedGuests.push(chosen);
      draft.take(chosen, host);
    } while (draft.isOverloaded(host));
  }
  return shedGuests;
}

function leastUsed(world: ReplayWorld, excluded: Uint8Array): number | null {
  let least = 1;
  let found: number | null = null;
  for (let host = 0; host < world.hosts.count; host += 1) {
    if (excluded[host]) continue;
    const utilisation = world.utilisation(host);
    if (utilisation > 0 && utilisation < least) {
      least = utilisation;
      found = host;
    }
  }
  return found;
}

/** All guests of a host elsewhere, or none. */
function emptied(world: ReplayWorld, draft: Draft, host: number, excluded: Uint8Array): Move[] {
  const moves: Move[] = [];
  for (const guest of draft.guests(host).slice().sort(byDemand(world))) {
    const to = bestHost(world, draft, guest, excluded);
    if (to === null) {
      for (const move of moves) draft.take(move.guest, move.to);
      return [];
    }
    draft.put(guest, to);
    moves.push({ guest, to });
  }
  return moves;
}

function empty(world: ReplayWorld, draft: Draft, overloaded: Uint8Array): Move[] {
  const moves: Move[] = [];
  const noTarget = overloaded.slice();
  for (let host = 0; host < world.hosts.count; host += 1) {
    if (world.utilisation(host) === 0) noTarget[host] = 1;
  }
  const noSource = noTarget.slice();
  for (let host = leastUsed(world, noSource); host !== null; host = leastUsed(world, noSource)) {
    noSource[host] = 1;
    noTarget[host] = 1;
    for (const move of emptied(world, draft, host, noTarget)) {
      noSource[move.to] = 1;
      moves.push(move);
    }
  }
  return moves;
}

/** One of the reference policies: `name` for the tables, `detector` for what overload is. */
export function mmtPolicy(name: string, detector: Detector): ReplayPolicy {
  let memory: Memory | null = null;
  return {
    name,
    decide(world) {
      memory ??= new Memory(world.trace.guestCount);
      memory.remember(world);
      const draft = new Draft(world, memory, detector);
      const hosts = Array.from({ length: world.hosts.count }, (_, host) => host);
      const overloaded = hosts.filter((host) => draft.isOverloaded(host));
      const excluded = Uint8Array.from(hosts, () => 0);
      for (const host of overloaded) excluded[host] = 1;
      const moves: Move[] = [];
      for (const guest of shed(world, draft, overloaded).sort(byDemand(world))) {
        const to = bestHost(world, draft, guest, excluded);
        if (to === null) continue;
        draft.put(guest, to);
        moves.push({ guest, to });
      }
      return [...moves, ...empty(world, draft, excluded)];
    },
  };
}
