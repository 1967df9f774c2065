/**
 * What a host of this world measures of itself: every value of the catalogue, changing like real
 * ones. Values are rounded to what a real sensor resolves, which also keeps the JSON short.
 */
import type { HostSample } from '../../daemon/hypervisor/port.ts';
import type { GuestSample, NodeValues } from '../../broker/contract/telemetry.ts';
import { noiseAt } from '../prng.ts';
import { hostMemoryBytes, type World, type WorldGuest, type WorldNode } from './model.ts';
import { cpuPressure, demandOf, moveAverages, setPower } from './power.ts';

const mebibyte = 2 ** 20;
const ratio = (value: number): number => Math.round(Math.min(1, value) * 1000) / 1000;
const wholeMebibytes = (bytes: number): number => Math.round(bytes / mebibyte) * mebibyte;
const hundredth = (value: number): number => Math.round(value * 100) / 100;

/** Bytes per second of one kind of traffic: bursts over a floor that follows the guest's work. */
function rate(guest: WorldGuest, cpuRatio: number, nowMs: number, salt: number): number {
  const burst = noiseAt(guest.spec.load.seed + salt, nowMs / 11_000);
  const peak = 4e6 * guest.cpuCount;
  return Math.round(((0.02 + cpuRatio) * burst * burst * burst * peak) / 100) * 100;
}

const memoryRatio = (guest: WorldGuest, nowMs: number): number =>
  0.45 + 0.4 * noiseAt(guest.spec.load.seed + 9, nowMs / 90_000);

/** A guest that does not run measures nothing: null, never 0. */
const stoppedValues = {
  cpuRatio: null,
  memoryUsedBytes: null,
  swapUsedBytes: null,
  diskReadBytesPerSecond: null,
  diskWriteBytesPerSecond: null,
  networkInBytesPerSecond: null,
  networkOutBytesPerSecond: null,
  uptimeMs: null,
  cpuPressureRatio: null,
  ioPressureRatio: null,
  memoryPressureRatio: null,
  memoryFullPressureRatio: null,
} as const;

/** `cpuRatio` is what the guest got, `pressure` how long it waited for it. */
function guestSample(
  guest: WorldGuest,
  got: { cpuRatio: number; pressure: number },
  nowMs: number,
): GuestSample {
  const { spec } = guest;
  const identity = {
    id: spec.id,
    kind: spec.kind,
    name: spec.name,
    state: guest.state,
    tags: spec.tags as string[],
    lock: guest.lock,
    haState: null,
    cpuCount: guest.cpuCount,
    memoryTotalBytes: guest.memoryBytes,
  };
  if (guest.state !== 'running') return { ...identity, ...stoppedValues };
  const used = memoryRatio(guest, nowMs);
  const read = rate(guest, got.cpuRatio, nowMs, 3);
  const written = rate(guest, got.cpuRatio, nowMs, 4);
  const memoryPressure = ratio(Math.max(0, used - 0.8) / 10);
  return {
    ...identity,
    cpuRatio: ratio(got.cpuRatio),
    memoryUsedBytes: wholeMebibytes(guest.memoryBytes * used),
    swapUsedBytes: 0,
    diskReadBytesPerSecond: read,
    diskWriteBytesPerSecond: written,
    networkInBytesPerSecond: rate(guest, got.cpuRatio, nowMs, 5),
    networkOutBytesPerSecond: rate(guest, got.cpuRatio, nowMs, 6),
    uptimeMs: Math.max(0, Math.round(nowMs - guest.startedAtMs)),
    cpuPressureRatio: ratio(got.pressure),
    ioPressureRatio: ratio((read + written) / 1e9),
    memoryPressureRatio: memoryPressure,
    memoryFullPressureRatio: ratio(memoryPressure / 2),
  };
}

type Sums = {
  memoryUsedBytes: number;
  read: number;
  written: number;
  networkIn: number;
  networkOut: number;
};

function sumOf(guests: readonly GuestSample[]): Sums {
  const sums = { memoryUsedBytes: 0, read: 0, written: 0, networkIn: 0, networkOut: 0 };
  for (const guest of guests) {
    sums.memoryUsedBytes += guest.memoryUsedBytes ?? 0;
    sums.read += guest.diskReadBytesPerSecond ?? 0;
    sums.written += guest.diskWriteBytesPerSecond ?? 0;
    sums.networkIn += guest.networkInBytesPerSecond ?? 0;
    sums.networkOut += guest.networkOutBytesPerSecond ?? 0;
  }
  return sums;
}

function diskUsedBytes(node: WorldNode): number {
  let sum = 8 * 2 ** 30;
  for (const guest of node.guests) sum += guest.spec.diskBytes * 0.4;
  return wholeMebibytes(Math.min(node.spec.diskBytes, sum));
}

function nodeValues(node: WorldNode, demandRatio: number, sums: Sums, nowMs: number): NodeValues {
  const { spec, averages } = node;
  const cpuRatio = Math.min(1, demandRatio);
  const ioPressure = ratio((sums.read + sums.written) / 4e9);
  return {
    cpuRatio: ratio(cpuRatio),
    cpuCount: spec.cpuCount,
    ioWaitRatio: ioPressure,
    loadAverage1: hundredth(averages.load1),
    loadAverage5: hundredth(averages.load5),
    loadAverage15: hundredth(averages.load15),
    memoryUsedBytes: wholeMebibytes(hostMemoryBytes + sums.memoryUsedBytes),
    memoryTotalBytes: spec.memoryBytes,
    swapUsedBytes: 0,
    swapTotalBytes: 8 * 2 ** 30,
    diskUsedBytes: diskUsedBytes(node),
    diskTotalBytes: spec.diskBytes,
    diskReadBytesPerSecond: sums.read,
    diskWriteBytesPerSecond: sums.written,
    networkInBytesPerSecond: sums.networkIn,
    networkOutBytesPerSecond: sums.networkOut,
    cpuPressureSomeAvg10Ratio: ratio(averages.cpu10),
    cpuPressureSomeAvg60Ratio: ratio(averages.cpu60),
    // The kernel defines "full" of the whole system's cpu as 0.
    cpuPressureFullAvg10Ratio: 0,
    cpuPressureFullAvg60Ratio: 0,
    ioPressureSomeAvg10Ratio: ioPressure,
    ioPressureSomeAvg60Ratio: ioPressure,
    ioPressureFullAvg10Ratio: ratio(ioPressure / 2),
    ioPressureFullAvg60Ratio: ratio(ioPressure / 2),
    memoryPressureSomeAvg10Ratio: ratio(averages.memory10),
    memoryPressureSomeAvg60Ratio: ratio(averages.memory60),
    memoryPressureFullAvg10Ratio: ratio(averages.memory10 / 2),
    memoryPressureFullAvg60Ratio: ratio(averages.memory60 / 2),
    temperatureCelsius: Math.round((38 + 42 * cpuRatio) * 10) / 10,
    powerWatts: Math.round(node.watts * 10) / 10,
    powerEstimatedWatts: null,
    uptimeMs: Math.max(0, Math.round(nowMs - node.bootedAtMs)),
    votes: spec.votes,
  };
}

/** Who this node sees in its membership; null where there is none. */
const membersOf = (world: World, node: WorldNode): string[] | null =>
  node.spec.votes === 0 ? null : (world.clusters.get(node.spec.cluster)?.online as string[]);

/** The caller has advanced the world to `nowMs`; the node is on or stopping. */
export function sampleNode(world: World, node: WorldNode, nowMs: number): HostSample {
  const demand = demandOf(world, node, nowMs);
  const pressure = cpuPressure(demand.ratio);
  const share = demand.ratio > 1 ? 1 / demand.ratio : 1;
  const guests = node.guests.map((guest, index) =>
    guestSample(guest, { cpuRatio: (demand.wants[index] ?? 0) * share, pressure }, nowMs),
  );
  const sums = sumOf(guests);
  const memoryRatioNow = (hostMemoryBytes + sums.memoryUsedBytes) / node.spec.memoryBytes;
  moveAverages(node.averages, {
    atMs: nowMs,
    cpu: pressure,
    memory: Math.max(0, memoryRatioNow - 0.9),
    load: demand.ratio * node.spec.cpuCount,
  });
  setPower(world, node, Math.min(1, demand.ratio));
  return {
    node: nodeValues(node, demand.ratio, sums, nowMs),
    guests,
    membersOnline: membersOf(world, node),
    versions: { daemon: 'simulated', hypervisor: 'memory 1', kernel: '6.14.0-twin' },
  };
}
