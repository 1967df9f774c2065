/**
 * The world of the benchmark: guests on hosts in virtual time, with the accounting of CloudSim
 * 3.0.3 to the last digit, its oddities included where `Rules` ask for them. It applies moves and
 * counts; it never chooses one. A tick is every 300 s; within it moves end after their copy time.
 *
 * Source: CloudSim 3.0.3 `PowerDatacenter`, `HostDynamicWorkload`,
 * `VmSchedulerTimeSharedOverSubscription`, `Helper.getSlaMetrics`.
 */
import { copyMbPerSecond, type Hosts, wattsAt } from './specs.ts';
import { noTotals, type Totals } from './totals.ts';
import { demandAt, type Trace } from './trace.ts';
import type { Move, ReplayWorld } from './world.ts';

export type Rules = {
  /** Guests whose demand is 0 at an update leave for good (CloudSim's defect). */
  dropsIdleGuests: boolean;
  /** Hosts whose guests are all at 0 % count as idle rather than off. */
  booksIdleHosts: boolean;
};

type Arrival = Move & { atSeconds: number };

/** Hosts woken in the first 35 minutes belong to the start and are not counted as wakes. */
const countWakesFromSeconds = 35 * 60;

export class CloudsimWorld implements ReplayWorld {
  readonly trace: Trace;
  readonly hosts: Hosts;
  readonly rules: Rules;
  /** Guests of each host in order of arrival, those still being copied to it included. */
  readonly guestsOf: number[][];
  readonly arrivingAt: number[][];
  readonly hostOf: Int32Array;
  readonly isMoving: Uint8Array;
  readonly isGone: Uint8Array;
  /** MIPS that each guest wants now. */
  readonly demand: Float64Array;
  /** MIPS in use on each host as of the last update. */
  readonly usedMips: Float64Array;
  readonly allocatedMips: Float64Array;
  readonly totals: Totals = noTotals();
  /** Hosts hold any amount of memory here. */
  readonly ramNeeded = null;
  seconds = 0;
  private readonly arrivals: Arrival[] = [];
  private lastFrameSeconds = 0;
  private readonly hadGuests: Uint8Array;
  private readonly wasActive: Uint8Array;
  private readonly hostEntry: { at: Float64Array; isActive: Uint8Array; isViolated: Uint8Array };
  private readonly hostLoad: { isHosting: Uint8Array; isOverloaded: Uint8Array };
  private readonly guestEntry: { at: Float64Array; got: Float64Array; asked: Float64Array };
  private readonly guestMoved: Uint8Array;

  constructor(trace: Trace, hosts: Hosts, placement: Int32Array, rules: Rules) {
    this.trace = trace;
    this.hosts = hosts;
    this.rules = rules;
    this.hostOf = placement.slice();
    this.guestsOf = Array.from({ length: hosts.count }, () => []);
    this.arrivingAt = Array.from({ length: hosts.count }, () => []);
    placement.forEach((host, guest) => this.guestsOf[host]!.push(guest));
    this.isMoving = new Uint8Array(trace.guestCount);
    this.isGone = new Uint8Array(trace.guestCount);
    this.demand = new Float64Array(trace.guestCount);
    this.allocatedMips = new Float64Array(trace.guestCount);
    this.usedMips = new Float64Array(hosts.count);
    this.hadGuests = new Uint8Array(hosts.count);
    this.wasActive = new Uint8Array(hosts.count).fill(1);
    this.hostEntry = {
      at: new Float64Array(hosts.count).fill(-1),
      isActive: new Uint8Array(hosts.count).fill(1),
      isViolated: new Uint8Array(hosts.count),
    };
    this.hostLoad = {
      isHosting: new Uint8Array(hosts.count),
      isOverloaded: new Uint8Array(hosts.count),
    };
    this.guestEntry = {
      at: new Float64Array(trace.guestCount).fill(-1),
      got: new Float64Array(trace.guestCount),
      asked: new Float64Array(trace.guestCount),
    };
    this.guestMoved = new Uint8Array(trace.guestCount);
  }

  /** Share of a host's MIPS in use, with the clamp that CloudSim applies just above 1. */
  utilisation(host: number): number {
    const ratio = this.usedMips[host]! / this.hosts.modelOf[host]!.mips;
    return ratio > 1 && ratio < 1.01 ? 1 : ratio;
  }

  /** CloudSim compares floats: a tick off by one in the last place is not remembered. */
  isRemembered(): boolean {
    return (this.seconds - 0.1) % this.trace.stepSeconds === 0;
  }

  /** Goes to the moment of the next decision; arrivals on the way happen at their time. */
  advance(toSeconds: number): void {
    this.settleArrivals(toSeconds);
    this.frame(toSeconds);
  }

  /** Ends the day: moves under way arrive, and nothing is counted after the last of them. */
  finish(): void {
    this.settleArrivals(Infinity);
    for (let host = 0; host < this.hosts.count; host += 1) this.bookHost(host, 0);
  }

  /** Starts copies now. A guest named twice is copied twice and ends on the last target. */
  start(moves: readonly Move[]): void {
    const { totals, seconds } = this;
    const woken = new Set(
      moves.filter(({ to }) => this.guestsOf[to]!.length === 0).map(({ to }) => to),
    );
    for (const { guest, to } of moves) {
      this.isMoving[guest] = 1;
      if (!this.arrivingAt[to]!.includes(guest)) {
        this.arrivingAt[to]!.push(guest);
        this.guestsOf[to]!.push(guest);
      }
      this.refresh(to);
      this.refresh(this.hostOf[guest]!);
      const copySeconds = this.trace.ramMb[guest]! / copyMbPerSecond;
      this.arrivals.push({ guest, to, atSeconds: seconds + copySeconds });
    }
    totals.migrations += moves.length;
    totals.movesPerTickMax = Math.max(totals.movesPerTickMax, moves.length);
    if (seconds > countWakesFromSeconds) totals.wakes += woken.size;
  }

  private settleArrivals(untilSeconds: number): void {
    this.arrivals.sort((a, b) => a.atSeconds - b.atSeconds);
    for (let first = this.arrivals[0]; first; first = this.arrivals[0]) {
      const { atSeconds } = first;
      if (atSeconds >= untilSeconds) return;
      this.frame(atSeconds);
      while (this.arrivals[0]?.atSeconds === atSeconds) this.arrive(this.arrivals.shift()!);
      this.refreshAll();
      this.dropIdle();
    }
  }

  private arrive({ guest, to }: Arrival): void {
    remove(this.guestsOf[this.hostOf[guest]!]!, guest);
    remove(this.arrivingAt[to]!, guest);
    remove(this.guestsOf[to]!, guest);
    this.isMoving[guest] = 0;
    this.hostOf[guest] = to;
    this.guestsOf[to]!.push(guest);
  }

  /** Books the energy since the last update and takes the load of this moment. */
  private frame(seconds: number): void {
    const elapsed = seconds - this.lastFrameSeconds;
    this.seconds = seconds;
    demandAt(this.trace, seconds, this.demand);
    let joules = 0;
    for (let host = 0; host < this.hosts.count; host += 1) {
      const from = this.utilisation(host);
      const wasHosting = this.hadGuests[host] === 1;
      this.refresh(host);
      if (from === 0 && !(this.rules.booksIdleHosts && wasHosting)) continue;
      const model = this.hosts.modelOf[host]!;
      const fromWatts = wattsAt(model, from);
      joules += (fromWatts + (wattsAt(model, this.utilisation(host)) - fromWatts) / 2) * elapsed;
    }
    this.totals.joules += joules;
    this.lastFrameSeconds = seconds;
    this.dropIdle();
  }

  private refreshAll(): void {
    for (let host = 0; host < this.hosts.count; host += 1) this.refresh(host);
  }

  private dropIdle(): void {
    if (!this.rules.dropsIdleGuests) return;
    for (const guests of this.guestsOf) {
      const idle = guests.filter((guest) => !this.isMoving[guest] && this.demand[guest] === 0);
      for (const guest of idle) {
        remove(guests, guest);
        this.isGone[guest] = 1;
        this.totals.dropped += 1;
      }
    }
  }

  /** Shares the host's MIPS out and notes what host and guests got. */
  private refresh(host: number): void {
    const guests = this.guestsOf[host]!;
    const arriving = this.arrivingAt[host]!;
    const { coreMips, mips } = this.hosts.modelOf[host]!;
    const isArriving = (guest: number) => arriving.length > 0 && arriving.includes(guest);
    let total = 0;
    let resident = 0;
    let asked = 0;
    for (const guest of guests) {
      const wanted = this.demand[guest]!;
      const capped = wanted > coreMips ? coreMips : wanted;
      total += isArriving(guest) ? capped * 0.1 : capped;
      if (!isArriving(guest)) resident += capped;
      asked += wanted;
    }
    const scale = mips / total;
    let used = 0;
    for (const guest of guests) {
      const wanted = this.demand[guest]!;
      let got = wanted > coreMips ? coreMips : wanted;
      const here = isArriving(guest);
      if (total > mips) got = Math.floor(shared(got, scale, here, this.isMoving[guest] === 1));
      else if (here) got *= 0.1;
      else if (this.isMoving[guest]) got *= 0.9;
      if (!here) {
        this.noteGuest(guest, got);
        if (this.isMoving[guest]) got /= 0.9;
      }
      used += got;
    }
    this.usedMips[host] = used;
    this.noteHost(host, used, asked);
    this.hadGuests[host] = guests.length > 0 ? 1 : 0;
    this.hostLoad.isHosting[host] = guests.length > arriving.length ? 1 : 0;
    this.hostLoad.isOverloaded[host] = resident > mips ? 1 : 0;
  }

  private noteHost(host: number, used: number, asked: number): void {
    const { at, isActive, isViolated } = this.hostEntry;
    const elapsed = this.seconds - at[host]!;
    const isActiveNow = used > 0 ? 1 : 0;
    if (at[host] !== this.seconds) {
      if (at[host] !== -1) this.bookHost(host, elapsed);
      at[host] = this.seconds;
    }
    isActive[host] = isActiveNow;
    isViolated[host] = used < asked ? 1 : 0;
  }

  private bookHost(host: number, elapsed: number): void {
    const { totals, hostEntry, hostLoad } = this;
    if (this.wasActive[host] && !hostEntry.isActive[host]) totals.shutdowns += 1;
    this.wasActive[host] = hostEntry.isActive[host]!;
    if (hostEntry.isActive[host]) {
      totals.activeSeconds += elapsed;
      if (hostEntry.isViolated[host]) totals.violatedSeconds += elapsed;
    }
    if (!hostLoad.isHosting[host]) return;
    totals.hostingSeconds += elapsed;
    if (hostLoad.isOverloaded[host]) totals.overloadedSeconds += elapsed;
  }

  private noteGuest(guest: number, got: number): void {
    if (this.guestEntry.at[guest] !== this.seconds) this.closeGuest(guest);
    this.guestEntry.at[guest] = this.seconds;
    this.guestEntry.got[guest] = got;
    this.guestEntry.asked[guest] = this.demand[guest]!;
    this.guestMoved[guest] = this.isMoving[guest]!;
    this.allocatedMips[guest] = got;
  }

  private closeGuest(guest: number): void {
    const { at, got, asked } = this.guestEntry;
    if (at[guest] === -1) return;
    const elapsed = this.seconds - at[guest]!;
    this.totals.allocated += got[guest]! * elapsed;
    this.totals.requested += asked[guest]! * elapsed;
    if (this.guestMoved[guest] && got[guest]! < asked[guest]!) {
      this.totals.lostToMoves += (asked[guest]! - got[guest]!) * elapsed;
    }
  }
}

/** The order of the factors is CloudSim's. */
function shared(mips: number, scale: number, isArriving: boolean, isMoving: boolean): number {
  if (isArriving) return mips * 0.1 * scale;
  return isMoving ? mips * scale * 0.9 : mips * scale;
}

function remove(list: number[], value: number): void {
  const at = list.indexOf(value);
  if (at >= 0) list.splice(at, 1);
}

/** The moments of CloudSim's clock: 300.1, 600.1, .. as its repeated addition gives them. */
export function tickSeconds(trace: Pick<Trace, 'steps' | 'stepSeconds'>): number[] {
  const ticks: number[] = [];
  let clock = 0.1;
  for (let tick = 1; tick < trace.steps; tick += 1) ticks.push((clock += trace.stepSeconds));
  return ticks;
}
