/**
 * Guests on hosts as machines are: memory is enforced, a host is usable only after its boot and
 * may fail to wake, copies take time and slow both ends, and every second that a machine is on
 * costs what its curve says. It does what it is told or says why not; it never chooses.
 *
 * Demand is linear between samples, so between two events every sum is linear and booked exactly.
 */
import { between, seededRandom } from '../prng.ts';
import { type Hosts, wattsAt } from './specs.ts';
import { loadAt, type Load, noWatts, overlapAbove, type WattsFor } from './physical-load.ts';
import { hostPower } from './physical-power.ts';
import { noTotals, type Totals } from './totals.ts';
import { demandAt, ramAt, type Trace } from './trace.ts';
import type { ReplayWorld } from './world.ts';

export type PhysicalRules = {
  bootSeconds: number;
  shutdownSeconds: number;
  wakeFailureRatio: number;
  copyMbPerSecond: number;
  movesAtOnce: number;
  seed: number;
};

export const physicalRules: PhysicalRules = {
  bootSeconds: 120,
  shutdownSeconds: 30,
  wakeFailureRatio: 0.01,
  copyMbPerSecond: 62.5,
  movesAtOnce: 8,
  seed: 1,
};

export type Copy = { guest: number; from: number; to: number; beganAt: number; endsAt: number };

/** A copy is never shorter than its handshake. */
const copySecondsMin = 1;
const causes = Object.keys(noWatts()) as (keyof WattsFor)[];
const drawsPerWake = 1_000_000;

export class PhysicalWorld implements ReplayWorld {
  readonly trace: Trace;
  readonly hosts: Hosts;
  readonly rules: PhysicalRules;
  readonly guestsOf: number[][];
  readonly hostOf: Int32Array;
  readonly demand: Float64Array;
  readonly usedMips: Float64Array;
  readonly ramNeeded: Float64Array;
  readonly power: Uint8Array;
  /** End of a boot or shutdown under way. */
  readonly changesAt: Float64Array;
  readonly copies: Copy[] = [];
  /** 1 while a copy leaves or reaches the host. */
  readonly isSending: Uint8Array;
  readonly isReceiving: Uint8Array;
  /** Since when each host is on, and when it last failed to wake. */
  readonly onSince: Float64Array;
  readonly totals: Totals = noTotals();
  failedWakes = 0;
  /** Grows with every sample and every end of a copy, boot or shutdown. */
  changes = 0;
  memoryOverSeconds = 0;
  readonly joulesFor: WattsFor = noWatts();
  seconds: number;
  private load: Load;
  private readonly isWakeDoomed: Uint8Array;
  private readonly random: ReturnType<typeof seededRandom>;

  /** Hosts without guests are off at the start. */
  constructor(trace: Trace, hosts: Hosts, placement: Int32Array, rules: PhysicalRules) {
    this.trace = trace;
    this.hosts = hosts;
    this.rules = rules;
    this.hostOf = placement.slice();
    this.guestsOf = Array.from({ length: hosts.count }, () => []);
    placement.forEach((host, guest) => this.guestsOf[host]!.push(guest));
    this.demand = new Float64Array(trace.guestCount);
    this.ramNeeded = new Float64Array(trace.guestCount);
    this.usedMips = new Float64Array(hosts.count);
    this.power = Uint8Array.from(this.guestsOf, ({ length }) => (length > 0 ? 1 : 0));
    this.changesAt = new Float64Array(hosts.count);
    this.isSending = new Uint8Array(hosts.count);
    this.isReceiving = new Uint8Array(hosts.count);
    this.onSince = new Float64Array(hosts.count).fill(-Infinity);
    this.isWakeDoomed = new Uint8Array(hosts.count);
    this.random = seededRandom(rules.seed);
    this.seconds = trace.stepSeconds;
    this.remember();
    this.load = this.look();
  }

  utilisation(host: number): number {
    return this.usedMips[host]! / this.hosts.modelOf[host]!.mips;
  }

  isRemembered(): boolean {
    return this.seconds % this.trace.stepSeconds === 0;
  }

  ramUsed(host: number): number {
    let used = this.guestsOf[host]!.reduce((sum, guest) => sum + this.ramNeeded[guest]!, 0);
    for (const { guest, to } of this.copies) if (to === host) used += this.ramNeeded[guest]!;
    return used;
  }

  /** Goes on in time; boots, shutdowns and copies end on the way. */
  advance(toSeconds: number): void {
    while (this.seconds < toSeconds) {
      const next = Math.min(toSeconds, this.nextChange());
      this.book(next);
      if (this.isRemembered()) this.remember();
      this.settle();
      this.load = this.look();
    }
  }

  /** Starts a copy. @returns why not, or null */
  move(guest: number, to: number): string | null {
    const refusal = this.refusalOf(guest, to);
    if (refusal !== null) return refusal;
    const from = this.hostOf[guest]!;
    const lasts = Math.max(copySecondsMin, this.ramNeeded[guest]! / this.rules.copyMbPerSecond);
    this.copies.push({ guest, from, to, beganAt: this.seconds, endsAt: this.seconds + lasts });
    this.isSending[from] = 1;
    this.isReceiving[to] = 1;
    this.totals.migrations += 1;
    this.load = this.look();
    return null;
  }

  private refusalOf(guest: number, to: number): string | null {
    const from = this.hostOf[guest]!;
    if (from === to) return 'it is there already';
    if (this.power[to] !== hostPower.on) return 'the target is not awake';
    if (this.copies.length >= this.rules.movesAtOnce) return 'enough copies are under way';
    if (this.isSending[from] || this.isReceiving[to]) return 'an end is busy with a copy';
    if (this.copies.some((copy) => copy.guest === guest)) return 'it moves already';
    const ram = this.ramUsed(to) + this.ramNeeded[guest]!;
    return ram > this.hosts.modelOf[to]!.ramMb ? 'the target has no memory for it' : null;
  }

  /** @returns why not, or null */
  wake(host: number): string | null {
    if (this.power[host] !== hostPower.off) return 'it is not off';
    const draw = between(this.random, 0, drawsPerWake - 1) / drawsPerWake;
    this.isWakeDoomed[host] = draw < this.rules.wakeFailureRatio ? 1 : 0;
    this.power[host] = hostPower.booting;
    this.changesAt[host] = this.seconds + this.rules.bootSeconds;
    this.totals.wakes += 1;
    this.load = this.look();
    return null;
  }

  /** @returns why not, or null */
  sleep(host: number): string | null {
    if (this.power[host] !== hostPower.on) return 'it is not on';
    if (this.guestsOf[host]!.length > 0) return 'guests run on it';
    if (this.isReceiving[host]) return 'a guest is on its way to it';
    this.power[host] = hostPower.stopping;
    this.changesAt[host] = this.seconds + this.rules.shutdownSeconds;
    this.totals.shutdowns += 1;
    this.load = this.look();
    return null;
  }

  private nextChange(): number {
    const { stepSeconds } = this.trace;
    let next = (Math.floor(this.seconds / stepSeconds) + 1) * stepSeconds;
    for (const { endsAt } of this.copies) next = Math.min(next, endsAt);
    for (let host = 0; host < this.hosts.count; host += 1) {
      if (this.power[host]! >= hostPower.booting) next = Math.min(next, this.changesAt[host]!);
    }
    return next;
  }

  private settle(): void {
    for (const copy of this.copies.filter(({ endsAt }) => endsAt <= this.seconds)) {
      this.changes += 1;
      this.copies.splice(this.copies.indexOf(copy), 1);
      const guests = this.guestsOf[copy.from]!;
      guests.splice(guests.indexOf(copy.guest), 1);
      this.guestsOf[copy.to]!.push(copy.guest);
      this.hostOf[copy.guest] = copy.to;
      this.isSending[copy.from] = 0;
      this.isReceiving[copy.to] = 0;
    }
    for (let host = 0; host < this.hosts.count; host += 1) {
      if (this.power[host]! < hostPower.booting || this.changesAt[host]! > this.seconds) continue;
      this.changes += 1;
      const comes = this.power[host] === hostPower.booting && this.isWakeDoomed[host] === 0;
      if (this.power[host] === hostPower.booting && !comes) this.failedWakes += 1;
      this.power[host] = comes ? hostPower.on : hostPower.off;
      if (comes) this.onSince[host] = this.seconds;
    }
  }

  private remember(): void {
    this.changes += 1;
    const sample = Math.floor(this.seconds / this.trace.stepSeconds);
    for (let guest = 0; guest < this.trace.guestCount; guest += 1) {
      this.ramNeeded[guest] = ramAt(this.trace, guest, sample);
    }
  }

  private look(): Load {
    demandAt(this.trace, this.seconds, this.demand);
    const load = loadAt(this);
    load.mips.forEach((mips, host) => {
      this.usedMips[host] = Math.min(mips, this.hosts.modelOf[host]!.mips);
    });
    return load;
  }

  /** Books the time up to `seconds`, in which nothing changes but what is asked. */
  private book(seconds: number): void {
    const { totals, hosts } = this;
    const before = this.load;
    const elapsed = seconds - this.seconds;
    this.seconds = seconds;
    const after = this.look();
    const mean = (name: 'watts' | 'requested' | 'undelivered' | 'lostToMoves') =>
      ((before[name] + after[name]) / 2) * elapsed;
    totals.joules += mean('watts');
    for (const name of causes) {
      this.joulesFor[name] += ((before.wattsFor[name] + after.wattsFor[name]) / 2) * elapsed;
    }
    totals.requested += mean('requested');
    totals.allocated += mean('requested') - mean('undelivered') - mean('lostToMoves');
    totals.lostToMoves += mean('lostToMoves');
    for (let host = 0; host < hosts.count; host += 1) {
      if (this.guestsOf[host]!.length === 0) continue;
      const { mips, ramMb } = hosts.modelOf[host]!;
      const over = overlapAbove(before.mips[host]! - mips, after.mips[host]! - mips) * elapsed;
      totals.hostingSeconds += elapsed;
      totals.activeSeconds += elapsed;
      totals.overloadedSeconds += over;
      totals.violatedSeconds += this.isSending[host] ? elapsed : over;
      if (this.ramUsed(host) > ramMb) this.memoryOverSeconds += elapsed;
    }
  }

  /** Watts of a host now: by its curve when on, rising to 20 % of it during a boot. */
  wattsOf(host: number, mips: number): number {
    const model = this.hosts.modelOf[host]!;
    const idle = model.watts[0]!;
    if (this.power[host] === hostPower.on) return wattsAt(model, Math.min(1, mips / model.mips));
    if (this.power[host] === hostPower.stopping) return idle;
    if (this.power[host] === hostPower.off) return 0;
    const done = 1 - (this.changesAt[host]! - this.seconds) / this.rules.bootSeconds;
    return idle + (model.watts[2]! - idle) * done;
  }
}
