/**
 * Measures this host by reading /proc and /sys: steady sampling starts no process. Every value it
 * cannot learn is null. It keeps the previous counters, so one sampler serves one caller at a
 * time; where devices are is looked up once a minute or when a device came or went.
 */
import { NodeFacts } from '../../broker/contract/facts.ts';
import { Uuid } from '../../broker/contract/ids.ts';
import { nodeMetrics } from '../../broker/contract/metrics.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import type { NodeValues } from '../../broker/contract/telemetry.ts';
import { physicalDisks, readSpace, spaceBelow, type StatSpace } from './disks.ts';
import { type Files, filesBelow } from './files.ts';
import { type Addresses, type Link, physicalLinks, readLinks } from './links.ts';
import * as parse from './parse.ts';
import { type Counters, type CpuTicks, cpuShares, sumOfRates } from './rates.ts';
import * as sensors from './sensors.ts';

export type HostFacts = { facts: NodeFacts; bootId: string | null };

export type Sampler = {
  sample(): Promise<NodeValues>;
  /** What changes rarely: hardware, kernel, links. */
  facts(): Promise<HostFacts>;
  links(): Promise<Link[] | null>;
};

export type SamplerOptions = {
  clock: Clock;
  /** Addresses per interface, as the operating system lists them. */
  addresses: () => Addresses;
  /** Where proc and sys lie; `/` unless a test brings its own. */
  root?: string;
  statSpace?: StatSpace;
};

type Layout = {
  foundAtMs: number;
  temperatures: sensors.TemperatureSensors;
  energyZones: sensors.EnergyZone[];
};

/** The devices whose bytes count, valid for exactly this list of names. */
type Chosen = { key: string; names: ReadonlySet<string> };

type Reading = {
  atMs: number;
  ticks: CpuTicks | null;
  diskIn: Counters | null;
  diskOut: Counters | null;
  networkIn: Counters | null;
  networkOut: Counters | null;
  energy: Counters | null;
};

const layoutAgeMaxMs = 60_000;
/** As many as the schema of facts takes. */
const linksMax = 64;
const noReading: Reading = {
  atMs: 0,
  ticks: null,
  diskIn: null,
  diskOut: null,
  networkIn: null,
  networkOut: null,
  energy: null,
};

const countersOf = (
  traffic: ReadonlyMap<string, parse.Traffic> | null,
  chosen: ReadonlySet<string>,
  direction: keyof parse.Traffic,
): Counters | null =>
  traffic &&
  new Map(
    [...traffic]
      .filter(([name]) => chosen.has(name))
      .map(([name, bytes]) => [name, { value: bytes[direction] }]),
  );

const rounded = (value: number | null, digits: number): number | null =>
  value === null ? null : Math.round(value * 10 ** digits) / 10 ** digits;

/** One implausible value would make the server refuse the sample, so it becomes unknown here. */
function withinBounds(values: NodeValues): NodeValues {
  const checked = { ...values };
  for (const { name, min, max } of nodeMetrics) {
    const value = checked[name];
    if (value !== null && !(value >= min && value <= max)) checked[name] = null;
  }
  return checked;
}

async function readPressures(files: Files) {
  const read = async (resource: string): Promise<parse.Pressure> =>
    parse.parsePressure(await files.text(`proc/pressure/${resource}`));
  const cpu = await read('cpu');
  const io = await read('io');
  const memory = await read('memory');
  return {
    cpuPressureSomeAvg10Ratio: cpu.someAvg10,
    cpuPressureSomeAvg60Ratio: cpu.someAvg60,
    cpuPressureFullAvg10Ratio: cpu.fullAvg10,
    cpuPressureFullAvg60Ratio: cpu.fullAvg60,
    ioPressureSomeAvg10Ratio: io.someAvg10,
    ioPressureSomeAvg60Ratio: io.someAvg60,
    ioPressureFullAvg10Ratio: io.fullAvg10,
    ioPressureFullAvg60Ratio: io.fullAvg60,
    memoryPressureSomeAvg10Ratio: memory.someAvg10,
    memoryPressureSomeAvg60Ratio: memory.someAvg60,
    memoryPressureFullAvg10Ratio: memory.fullAvg10,
    memoryPressureFullAvg60Ratio: memory.fullAvg60,
  };
}

function ratesBetween(previous: Reading, current: Reading) {
  const elapsedMs = current.atMs - previous.atMs;
  const rate = (name: Exclude<keyof Reading, 'atMs' | 'ticks'>, digits = 0) =>
    rounded(sumOfRates(previous[name], current[name], elapsedMs), digits);
  const { cpuRatio, ioWaitRatio } = cpuShares(previous.ticks, current.ticks);
  const microwatts = rate('energy');
  return {
    cpuRatio: rounded(cpuRatio, 4),
    ioWaitRatio: rounded(ioWaitRatio, 4),
    diskReadBytesPerSecond: rate('diskIn'),
    diskWriteBytesPerSecond: rate('diskOut'),
    networkInBytesPerSecond: rate('networkIn'),
    networkOutBytesPerSecond: rate('networkOut'),
    powerWatts: microwatts === null ? null : rounded(microwatts / 1e6, 2),
  };
}

/** What one sampler remembers between two samples. */
type Memory = {
  readonly files: Files;
  readonly clock: Clock;
  readonly statSpace: StatSpace;
  previous: Reading;
  layout: Layout | undefined;
  chosen: { disk?: Chosen; link?: Chosen };
};

async function currentLayout(memory: Memory): Promise<Layout> {
  const { files, layout } = memory;
  const nowMs = memory.clock.monotonicMs();
  if (layout && nowMs - layout.foundAtMs < layoutAgeMaxMs) return layout;
  memory.layout = {
    foundAtMs: nowMs,
    temperatures: await sensors.findTemperatures(files),
    energyZones: await sensors.findEnergyZones(files),
  };
  return memory.layout;
}

async function choose(
  { files, chosen }: Memory,
  what: 'disk' | 'link',
  traffic: ReadonlyMap<string, unknown> | null,
): Promise<ReadonlySet<string>> {
  const names = [...(traffic?.keys() ?? [])];
  const key = names.join(' ');
  const known = chosen[what];
  if (known?.key === key) return known.names;
  const found = await (what === 'disk' ? physicalDisks : physicalLinks)(files, names);
  chosen[what] = { key, names: found };
  return found;
}

async function read(memory: Memory, ticks: CpuTicks | null, layout: Layout): Promise<Reading> {
  const { files } = memory;
  const disks = parse.parseDiskStats(await files.text('proc/diskstats'));
  const links = parse.parseNetDev(await files.text('proc/net/dev'));
  const disk = await choose(memory, 'disk', disks);
  const link = await choose(memory, 'link', links);
  const energy = await sensors.readEnergy(files, layout.energyZones);
  return {
    atMs: memory.clock.monotonicMs(),
    ticks,
    diskIn: countersOf(disks, disk, 'inBytes'),
    diskOut: countersOf(disks, disk, 'outBytes'),
    networkIn: countersOf(links, link, 'inBytes'),
    networkOut: countersOf(links, link, 'outBytes'),
    energy,
  };
}

async function sample(memory: Memory): Promise<NodeValues> {
  const { files, statSpace } = memory;
  const layout = await currentLayout(memory);
  const cpu = parse.parseCpu(await files.text('proc/stat'));
  const reading = await read(memory, cpu?.ticks ?? null, layout);
  const rates = ratesBetween(memory.previous, reading);
  memory.previous = reading;
  const used = parse.parseMemory(await files.text('proc/meminfo'));
  const load = parse.parseLoadAverage(await files.text('proc/loadavg'));
  const mounts = parse.parseMounts(await files.text('proc/self/mounts'));
  const space = await readSpace(statSpace, mounts);
  return withinBounds({
    ...rates,
    cpuCount: cpu?.cpuCount ?? null,
    loadAverage1: load[0],
    loadAverage5: load[1],
    loadAverage15: load[2],
    memoryUsedBytes: used.usedBytes,
    memoryTotalBytes: used.totalBytes,
    swapUsedBytes: used.swapUsedBytes,
    swapTotalBytes: used.swapTotalBytes,
    diskUsedBytes: space?.usedBytes ?? null,
    diskTotalBytes: space?.totalBytes ?? null,
    ...(await readPressures(files)),
    temperatureCelsius: rounded(await sensors.readTemperature(files, layout.temperatures), 1),
    uptimeMs: parse.parseUptimeMs(await files.text('proc/uptime')),
    powerEstimatedWatts: null,
    votes: null,
  });
}

async function readFacts(files: Files, addresses: Addresses): Promise<HostFacts> {
  const model = parse.parseCpuModel(await files.text('proc/cpuinfo'));
  const bootId = Uuid.safeParse(await files.line('proc/sys/kernel/random/boot_id'));
  const links = await readLinks(files, addresses);
  const facts = NodeFacts.parse({
    cpuVendor: model.vendor,
    cpuModel: model.model,
    microcode: model.microcode,
    cpuCount: parse.parseCpu(await files.text('proc/stat'))?.cpuCount ?? null,
    memoryBytes: parse.parseMemory(await files.text('proc/meminfo')).totalBytes,
    biosVersion: await files.line('sys/class/dmi/id/bios_version'),
    systemUuid: (await files.line('sys/class/dmi/id/product_uuid'))?.toLowerCase() ?? null,
    kernel: await files.line('proc/sys/kernel/osrelease'),
    links: links?.slice(0, linksMax).map((link) => ({ ...link, wakeOnMagic: null })),
  });
  return { facts, bootId: bootId.success ? bootId.data : null };
}

export function createSampler(options: SamplerOptions): Sampler {
  const { clock, addresses, root = '/' } = options;
  const files = filesBelow(root);
  const statSpace = options.statSpace ?? spaceBelow(root);
  const memory: Memory = {
    files,
    clock,
    statSpace,
    previous: noReading,
    layout: undefined,
    chosen: {},
  };
  return {
    sample: () => sample(memory),
    facts: () => readFacts(files, addresses()),
    links: () => readLinks(files, addresses()),
  };
}
