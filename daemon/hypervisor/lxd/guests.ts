/**
 * LXD's instances as the wire knows guests: samples from counters between two looks, and the facts
 * guards need. An instance name is unique in its cluster, or on its host alone: there the id is
 * `<node>.<name>`, so that two hosts may both have a `web`. Projects other than `default` are seen
 * under `<project>:<name>`, so that nothing that runs is overlooked. Pure.
 */
import { GuestFacts } from '../../../broker/contract/facts.ts';
import { tagLengthMax, tagsPerGuestMax } from '../../../broker/contract/limits.ts';
import { GuestSample, type GuestState } from '../../../broker/contract/telemetry.ts';
import { type Counter, ratePerSecond } from '../../sample/rates.ts';
import { bytesOf, cpuCountOf, cpuLimitOf, type Instance } from './answers.ts';

export type Host = {
  node: string;
  isClustered: boolean;
  cpuCount: number | null;
  memoryBytes: number | null;
};

/** Counters of one instance at one look. */
export type Reading = { atMs: number; cpuNs: Counter; inBytes: Counter; outBytes: Counter };

export type Pressures = {
  cpu: number | null;
  io: number | null;
  memory: number | null;
  memoryFull: number | null;
};
export const noPressures: Pressures = { cpu: null, io: null, memory: null, memoryFull: null };

export function guestIdOf(
  host: Host,
  { name, project }: Pick<Instance, 'name' | 'project'>,
): string {
  const own = project === 'default' ? name : `${project}:${name}`;
  return host.isClustered ? own : `${host.node}.${own}`;
}

/** The instance an id means, or why there can be none. */
export function instanceNameOf(
  host: Host,
  guestId: string,
): { ok: true; name: string; project: string } | { ok: false; why: string } {
  const prefix = `${host.node}.`;
  if (!host.isClustered && !guestId.startsWith(prefix)) {
    return { ok: false, why: `guests of this host are named ${prefix}<name>, not ${guestId}` };
  }
  const own = host.isClustered ? guestId : guestId.slice(prefix.length);
  const at = own.indexOf(':');
  const [project, name] = at < 0 ? ['default', own] : [own.slice(0, at), own.slice(at + 1)];
  // LXD's own rule for instance names, which also keeps them out of paths and queries.
  if (!/^[A-Za-z][A-Za-z0-9-]{0,62}$/.test(name) || name.endsWith('-')) {
    return {
      ok: false,
      why: `${name} is no instance name: letters, digits and - from a letter on`,
    };
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(project)) {
    return { ok: false, why: `${project} is no project name` };
  }
  return { ok: true, name, project };
}

const states: Readonly<Record<string, GuestState>> = {
  Running: 'running',
  Ready: 'running',
  Stopped: 'stopped',
  Frozen: 'paused',
};
export const stateOf = (status: string): GuestState => states[status] ?? 'unknown';

const kindOf = ({ type }: Instance) => (type === 'container' ? 'container' : 'vm');

const tagsOf = ({ expanded_config: config }: Instance): string[] =>
  (config['user.kr_tags'] ?? '')
    .split(/[,; ]+/)
    .filter((tag) => tag !== '' && tag.length <= tagLengthMax)
    .slice(0, tagsPerGuestMax);

export function readingOf({ state }: Instance, atMs: number): Reading | undefined {
  if (!state || stateOf(state.status) !== 'running') return undefined;
  let inBytes = 0;
  let outBytes = 0;
  for (const link of Object.values(state.network ?? {})) {
    if (link.type === 'loopback') continue;
    inBytes += Math.max(0, link.counters?.bytes_received ?? 0);
    outBytes += Math.max(0, link.counters?.bytes_sent ?? 0);
  }
  return {
    atMs,
    cpuNs: { value: state.cpu?.usage ?? -1 },
    inBytes: { value: inBytes },
    outBytes: { value: outBytes },
  };
}

const clamped = (ratio: number): number => Math.round(Math.min(1, Math.max(0, ratio)) * 1e4) / 1e4;

function ratesBetween(
  previous: Reading | undefined,
  now: Reading | undefined,
  cpus: number | null,
) {
  if (!previous || !now) return { cpuRatio: null, inRate: null, outRate: null };
  const elapsedMs = now.atMs - previous.atMs;
  const rate = (name: 'cpuNs' | 'inBytes' | 'outBytes'): number | null =>
    ratePerSecond(previous[name], now[name], elapsedMs);
  // A usage below 0 is LXD's word for "not known".
  const ns = now.cpuNs.value < 0 || previous.cpuNs.value < 0 ? null : rate('cpuNs');
  const rounded = (value: number | null) => (value === null ? null : Math.round(value));
  return {
    cpuRatio: ns === null || cpus === null || cpus === 0 ? null : clamped(ns / 1e9 / cpus),
    inRate: rounded(rate('inBytes')),
    outRate: rounded(rate('outBytes')),
  };
}

/** Cpus it may use at once: its limit, its hard allowance, else those of the host. */
function cpusOf({ expanded_config: config }: Instance, { cpuCount }: Host): number | null {
  const set = cpuCountOf(config['limits.cpu']) ?? cpuCount;
  const hard = cpuLimitOf(config['limits.cpu.allowance']);
  return hard === null || set === null ? set : Math.min(set, hard);
}

export function sampleOf(
  instance: Instance,
  at: {
    host: Host;
    wallMs: number;
    previous: Reading | undefined;
    now: Reading | undefined;
    pressures: Pressures;
  },
): GuestSample {
  const { host, previous, now, pressures } = at;
  const { state, last_used_at: lastUsedAt, expanded_config: config } = instance;
  const isRunning = stateOf(instance.status) === 'running';
  const memory = isRunning ? state?.memory : null;
  const rates = ratesBetween(previous, now, cpusOf(instance, host));
  const cpuCount = cpuCountOf(config['limits.cpu']) ?? host.cpuCount;
  return GuestSample.parse({
    id: guestIdOf(host, instance),
    kind: kindOf(instance),
    name: instance.name,
    state: stateOf(instance.status),
    tags: tagsOf(instance),
    cpuCount,
    memoryTotalBytes: bytesOf(config['limits.memory'], host.memoryBytes) ?? host.memoryBytes,
    cpuRatio: rates.cpuRatio,
    memoryUsedBytes: memory && memory.usage > 0 ? memory.usage : null,
    swapUsedBytes: memory ? Math.max(0, memory.swap_usage) : null,
    networkInBytesPerSecond: rates.inRate,
    networkOutBytesPerSecond: rates.outRate,
    uptimeMs:
      isRunning && lastUsedAt ? Math.max(0, Math.round(at.wallMs - Date.parse(lastUsedAt))) : null,
    cpuPressureRatio: pressures.cpu,
    ioPressureRatio: pressures.io,
    memoryPressureRatio: pressures.memory,
    memoryFullPressureRatio: pressures.memoryFull,
  }) as GuestSample;
}

/** Device types that bind an instance to this host. */
const localDevices = new Set(['gpu', 'usb', 'pci', 'tpm', 'unix-char', 'unix-block', 'infiniband']);

function localResourcesOf({ expanded_devices: devices }: Instance): string[] {
  return Object.entries(devices).flatMap(([name, device]) => {
    const type = device['type'] ?? '';
    const isBind = type === 'disk' && device['source']?.startsWith('/') === true;
    return localDevices.has(type) || isBind ? [`${name} (${type})`] : [];
  });
}

export function factsOf(
  instance: Instance,
  { host, isShared }: { host: Host; isShared: (pool: string) => boolean },
): GuestFacts {
  const { expanded_config: config, expanded_devices: devices } = instance;
  const cpuCount = cpuCountOf(config['limits.cpu']);
  const disks = Object.entries(devices).filter(([, { type }]) => type === 'disk');
  return GuestFacts.parse({
    id: guestIdOf(host, instance),
    kind: kindOf(instance),
    name: instance.name,
    tags: tagsOf(instance),
    cpuCount: cpuCount ?? host.cpuCount,
    cpuLimit: cpuLimitOf(config['limits.cpu.allowance']),
    memoryMaxBytes: bytesOf(config['limits.memory'], host.memoryBytes) ?? host.memoryBytes,
    // LXD shows its virtual machines the cpu of their host.
    cpuType: instance.type === 'container' ? null : 'host',
    hotplug: instance.type === 'container' ? ['cpu', 'memory'] : ['cpu'],
    disks: disks.map(([name, device]) => ({
      volume: device['source'] ?? name,
      storage: device['pool'] ?? null,
      sizeBytes: bytesOf(device['size'], null),
      shared: isShared(device['pool'] ?? ''),
    })),
    localResources: localResourcesOf(instance),
  });
}
