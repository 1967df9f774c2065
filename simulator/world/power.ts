/**
 * Watts, energy and pressure: what a node's load costs and how it shows. Energy only grows; it is
 * watts x elapsed x timeScale, since a second of a fast world stands for many.
 */
import { wantedRatio } from './load.ts';
import { type Averages, type World, type WorldNode, worldTimeMs } from './model.ts';

/** A machine that is off still feeds its network card and its board controller. */
export const wattsOff = 3;
/** Share of a node's cpus that the host itself burns. */
const hostShare = 0.01;
/** A migration keeps about one core busy on either end. */
const coresPerMigration = 1;

/** The share of its own cpus that a running guest wants now. */
export function guestWant(world: World, guest: WorldNode['guests'][number], nowMs: number): number {
  if (guest.state !== 'running') return 0;
  const wanted = guest.forcedRatio ?? wantedRatio(guest.spec.load, worldTimeMs(world, nowMs));
  // The work was sized for the cpus it was built with; more or faster cpus make it less busy.
  const work = wanted * guest.spec.cpuCount * guest.homeFactor;
  const ratio = Math.min(1, work / (guest.cpuCount * guest.node.spec.singleThreadFactor));
  return guest.cpuLimit === null || guest.cpuLimit === 0
    ? ratio
    : Math.min(ratio, guest.cpuLimit / guest.cpuCount);
}

export type Demand = {
  /** Wanted share per guest, in the order of `node.guests`. */
  wants: number[];
  /** All wanted cores over the cores there are; above 1 the node is saturated. */
  ratio: number;
};

export function demandOf(world: World, node: WorldNode, nowMs: number): Demand {
  const { cpuCount } = node.spec;
  let cores = cpuCount * hostShare + node.migrations * coresPerMigration;
  const wants: number[] = [];
  for (const guest of node.guests) {
    const want = guestWant(world, guest, nowMs);
    wants.push(want);
    cores += want * guest.cpuCount;
  }
  return { wants, ratio: cores / cpuCount };
}

/** Time some task waits: begins to rise at 70 % and is the unserved share beyond 100 %. */
export const cpuPressure = (demandRatio: number): number =>
  demandRatio <= 1
    ? Math.max(0, demandRatio - 0.7) / 3
    : Math.min(1, 0.1 + (demandRatio - 1) / demandRatio);

export function wattsAt(node: WorldNode, cpuRatio: number): number {
  const { wattsIdle, wattsLoaded } = node.spec;
  if (node.power === 'off') return wattsOff;
  // Firmware, disks and unthrottled cpus: a boot costs about half of the way to full load.
  const share = node.power === 'on' ? cpuRatio : 0.5;
  return wattsIdle + (wattsLoaded - wattsIdle) * share;
}

/** Books the energy since the last look, then goes on at the new draw. */
export function settleEnergy(world: World, node: WorldNode, nowMs: number): void {
  const elapsedMs = Math.max(0, nowMs - node.settledAtMs);
  node.joules += (node.watts * elapsedMs * world.timeScale) / 1000;
  node.settledAtMs = Math.max(node.settledAtMs, nowMs);
}

export function setPower(world: World, node: WorldNode, cpuRatio: number): void {
  settleEnergy(world, node, world.nowMs);
  node.watts = wattsAt(node, cpuRatio);
}

export const freshAverages = (atMs: number): Averages => ({
  atMs,
  cpu10: 0,
  cpu60: 0,
  memory10: 0,
  memory60: 0,
  load1: 0,
  load5: 0,
  load15: 0,
});

/** Moves the kernel's running averages on to `nowMs`; exact for a constant input. */
export function moveAverages(
  averages: Averages,
  now: { atMs: number; cpu: number; memory: number; load: number },
): void {
  const elapsedMs = Math.max(0, now.atMs - averages.atMs);
  const blend = (from: number, to: number, windowMs: number): number =>
    to + (from - to) * Math.exp(-elapsedMs / windowMs);
  averages.cpu10 = blend(averages.cpu10, now.cpu, 10_000);
  averages.cpu60 = blend(averages.cpu60, now.cpu, 60_000);
  averages.memory10 = blend(averages.memory10, now.memory, 10_000);
  averages.memory60 = blend(averages.memory60, now.memory, 60_000);
  averages.load1 = blend(averages.load1, now.load, 60_000);
  averages.load5 = blend(averages.load5, now.load, 300_000);
  averages.load15 = blend(averages.load15, now.load, 900_000);
  averages.atMs = Math.max(averages.atMs, now.atMs);
}
