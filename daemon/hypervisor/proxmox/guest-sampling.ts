/**
 * What a guest costs, read from its cgroup and its network taps: no process is started. A guest
 * that does not run measures nothing: null, never 0. Rates need two readings of one life of the
 * cgroup; where the counters went back, the guest was started anew and the rate is null.
 */
import { guestMetrics } from '../../../broker/contract/metrics.ts';
import {
  type GuestSample,
  type GuestState,
  type GuestValues,
  silentGuest,
} from '../../../broker/contract/telemetry.ts';
import type { Files } from '../../sample/files.ts';
import { parseNumber, parsePressure, type Traffic } from '../../sample/parse.ts';
import { type Counter, ratePerSecond } from '../../sample/rates.ts';
import { guestFacts } from './guest-config.ts';
import { cgroupOf, type LocalGuest } from './host-files.ts';

export type GuestReading = {
  atMs: number;
  cpu: Counter | undefined;
  diskIn: Counter | undefined;
  diskOut: Counter | undefined;
  networkIn: Counter | undefined;
  networkOut: Counter | undefined;
};

const counter = (value: number | null): Counter | undefined =>
  value === null ? undefined : { value };

const field = (text: string | null, name: string): number | null =>
  parseNumber(new RegExp(`^${name} (\\d+)$`, 'm').exec(text ?? '')?.[1]);

/** `8:0 rbytes=1 wbytes=2 ...`, one device a line; no line means nothing was read or written. */
function ioBytes(text: string | null, name: 'rbytes' | 'wbytes'): number | null {
  if (text === null) return null;
  let sum = 0;
  for (const [, bytes] of text.matchAll(new RegExp(`\\b${name}=(\\d+)`, 'g'))) sum += Number(bytes);
  return sum;
}

/** What enters a guest leaves the host's end of its cable. */
function network(
  { type, vmid }: LocalGuest,
  links: ReadonlyMap<string, Traffic> | null,
): { in: number | null; out: number | null } {
  const own = new RegExp(`^${type === 'qemu' ? 'tap' : 'veth'}${vmid}i\\d+$`);
  const taps = [...(links ?? [])].filter(([name]) => own.test(name)).map(([, bytes]) => bytes);
  if (taps.length === 0) return { in: null, out: null };
  const sum = (direction: keyof Traffic) => taps.reduce((all, bytes) => all + bytes[direction], 0);
  return { in: sum('outBytes'), out: sum('inBytes') };
}

async function memoryUsed(files: Files, { type, vmid }: LocalGuest): Promise<number | null> {
  const folder = cgroupOf(type, vmid);
  const current = parseNumber(await files.text(`${folder}/memory.current`));
  if (current === null || type === 'qemu') return current;
  // A container's page cache can be taken back at any time.
  const cached = field(await files.text(`${folder}/memory.stat`), 'inactive_file') ?? 0;
  return Math.max(0, current - cached);
}

async function pressures(files: Files, folder: string) {
  const read = async (what: string) =>
    parsePressure(await files.text(`${folder}/${what}.pressure`));
  const memory = await read('memory');
  return {
    cpuPressureRatio: (await read('cpu')).someAvg10,
    ioPressureRatio: (await read('io')).someAvg10,
    memoryPressureRatio: memory.someAvg10,
    memoryFullPressureRatio: memory.fullAvg10,
  };
}

/** One implausible value would make the server refuse the sample, so it becomes unknown here. */
function withinBounds(values: GuestValues): GuestValues {
  const checked = { ...values };
  for (const { name, min, max } of guestMetrics) {
    const value = checked[name];
    if (value !== null && !(value >= min && value <= max)) checked[name] = null;
  }
  return checked;
}

export type GuestAround = {
  files: Files;
  nowMs: number;
  links: ReadonlyMap<string, Traffic> | null;
  state: GuestState;
  haState: string | null;
  uptimeMs: number | null;
  /** What a container without a limit may use. */
  hostCpuCount: number | null;
  previous: GuestReading | undefined;
};

async function readCounters(guest: LocalGuest, around: GuestAround): Promise<GuestReading> {
  const { files, nowMs, links } = around;
  const folder = cgroupOf(guest.type, guest.vmid);
  const io = await files.text(`${folder}/io.stat`);
  const traffic = network(guest, links);
  return {
    atMs: nowMs,
    cpu: counter(field(await files.text(`${folder}/cpu.stat`), 'usage_usec')),
    diskIn: counter(ioBytes(io, 'rbytes')),
    diskOut: counter(ioBytes(io, 'wbytes')),
    networkIn: counter(traffic.in),
    networkOut: counter(traffic.out),
  };
}

function ratesOf(previous: GuestReading | undefined, current: GuestReading, cpus: number | null) {
  const elapsedMs = current.atMs - (previous?.atMs ?? current.atMs);
  const rate = (name: Exclude<keyof GuestReading, 'atMs'>): number | null =>
    ratePerSecond(previous?.[name], current[name], elapsedMs);
  const rounded = (value: number | null) => (value === null ? null : Math.round(value));
  const microseconds = rate('cpu');
  const share = microseconds === null || !cpus ? null : microseconds / 1e6 / cpus;
  return {
    // The emulator's own threads may bring a busy VM slightly above its cpus.
    cpuRatio: share === null ? null : Math.min(1, Math.round(share * 10_000) / 10_000),
    diskReadBytesPerSecond: rounded(rate('diskIn')),
    diskWriteBytesPerSecond: rounded(rate('diskOut')),
    networkInBytesPerSecond: rounded(rate('networkIn')),
    networkOutBytesPerSecond: rounded(rate('networkOut')),
  };
}

export async function sampleGuest(
  guest: LocalGuest,
  around: GuestAround,
): Promise<{ sample: GuestSample; reading: GuestReading | undefined }> {
  const { files, state, haState, hostCpuCount } = around;
  const context = { isShared: () => false, haState, isOwnedByBalancer: null };
  const facts = guestFacts(guest, context);
  const { id, kind, name, tags, lock } = facts;
  const cpuCount = facts.cpuCount ?? hostCpuCount;
  const identity = { id, kind, name, state, tags, lock, haState };
  const size = { cpuCount, memoryTotalBytes: facts.memoryMaxBytes };
  if (state !== 'running') {
    return { sample: { ...identity, ...silentGuest, ...size }, reading: undefined };
  }
  const folder = cgroupOf(guest.type, guest.vmid);
  const reading = await readCounters(guest, around);
  const values = withinBounds({
    ...size,
    ...ratesOf(around.previous, reading, cpuCount),
    ...(await pressures(files, folder)),
    memoryUsedBytes: await memoryUsed(files, guest),
    swapUsedBytes: parseNumber(await files.text(`${folder}/memory.swap.current`)),
    uptimeMs: around.uptimeMs,
  });
  return { sample: { ...identity, ...values }, reading };
}
