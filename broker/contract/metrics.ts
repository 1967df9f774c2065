/**
 * The one catalogue of measured values. Store columns and fields, the API's `metrics=`, Grafana
 * and `/metrics` derive from it. Missing is null, never 0; a ratio is 0..1, never percent.
 */

export type Entity = 'node' | 'guest';
export type Unit =
  | 'ratio'
  | 'count'
  | 'bytes'
  | 'bytesPerSecond'
  | 'milliseconds'
  | 'celsius'
  | 'watts'
  | 'load';

export type Metric = {
  readonly name: string;
  readonly entity: Entity;
  readonly unit: Unit;
  /** Inclusive bounds of a plausible value; outside, the message is refused and counted. */
  readonly min: number;
  readonly max: number;
  readonly help: string;
};

/** Above any machine's size in the next years, and still exact as a double: 2^50. */
const bytesMax = 2 ** 50;
const rateMax = 2 ** 40;
const timeMax = 10 * 365 * 86_400_000;

const metric = <const N extends string>(
  [entity, name]: readonly [Entity, N],
  unit: Unit,
  [min, max]: readonly [number, number],
  help: string,
): Metric & { readonly name: N } => ({ name, entity, unit, min, max, help });

const ratio = [0, 1] as const;
const bytes = [0, bytesMax] as const;
const rate = [0, rateMax] as const;

type Resource = 'cpu' | 'io' | 'memory';
type Level = 'Some' | 'Full';
type Window = 'Avg10' | 'Avg60';

const pressure = <const R extends Resource, const L extends Level, const W extends Window>(
  resource: R,
  level: L,
  window: W,
): Metric & { readonly name: `${R}Pressure${L}${W}Ratio` } =>
  metric(
    ['node', `${resource}Pressure${level}${window}Ratio`],
    'ratio',
    ratio,
    `PSI ${resource} ${level.toLowerCase()}, ${window.toLowerCase()} (/proc/pressure/${resource})`,
  );

export const nodeMetrics = [
  metric(['node', 'cpuRatio'], 'ratio', ratio, 'Busy share of all logical cpus'),
  metric(['node', 'cpuCount'], 'count', [1, 8_192], 'Logical cpus'),
  metric(['node', 'ioWaitRatio'], 'ratio', ratio, 'Share of time waiting for disks'),
  metric(['node', 'loadAverage1'], 'load', [0, 1e6], 'Load average, 1 minute'),
  metric(['node', 'loadAverage5'], 'load', [0, 1e6], 'Load average, 5 minutes'),
  metric(['node', 'loadAverage15'], 'load', [0, 1e6], 'Load average, 15 minutes'),
  metric(['node', 'memoryUsedBytes'], 'bytes', bytes, 'MemTotal - MemAvailable'),
  metric(['node', 'memoryTotalBytes'], 'bytes', bytes, 'MemTotal'),
  metric(['node', 'swapUsedBytes'], 'bytes', bytes, 'Swap in use'),
  metric(['node', 'swapTotalBytes'], 'bytes', bytes, 'Swap'),
  metric(['node', 'diskUsedBytes'], 'bytes', bytes, 'Used on local file systems'),
  metric(['node', 'diskTotalBytes'], 'bytes', bytes, 'Size of local file systems'),
  metric(['node', 'diskReadBytesPerSecond'], 'bytesPerSecond', rate, 'Read from block devices'),
  metric(['node', 'diskWriteBytesPerSecond'], 'bytesPerSecond', rate, 'Written to block devices'),
  metric(['node', 'networkInBytesPerSecond'], 'bytesPerSecond', rate, 'Received, physical links'),
  metric(['node', 'networkOutBytesPerSecond'], 'bytesPerSecond', rate, 'Sent, physical links'),
  pressure('cpu', 'Some', 'Avg10'),
  pressure('cpu', 'Some', 'Avg60'),
  pressure('cpu', 'Full', 'Avg10'),
  pressure('cpu', 'Full', 'Avg60'),
  pressure('io', 'Some', 'Avg10'),
  pressure('io', 'Some', 'Avg60'),
  pressure('io', 'Full', 'Avg10'),
  pressure('io', 'Full', 'Avg60'),
  pressure('memory', 'Some', 'Avg10'),
  pressure('memory', 'Some', 'Avg60'),
  pressure('memory', 'Full', 'Avg10'),
  pressure('memory', 'Full', 'Avg60'),
  metric(['node', 'temperatureCelsius'], 'celsius', [-60, 200], 'Hottest cpu or board sensor'),
  metric(['node', 'powerWatts'], 'watts', [0, 100_000], 'Measured power, where readable'),
  metric(['node', 'powerEstimatedWatts'], 'watts', [0, 100_000], 'Power by a model, not measured'),
  metric(['node', 'uptimeMs'], 'milliseconds', [0, timeMax], 'Time since boot'),
  metric(['node', 'votes'], 'count', [0, 255], 'Quorum votes of this node'),
] as const;

export const guestMetrics = [
  metric(['guest', 'cpuRatio'], 'ratio', ratio, 'Busy share of its cpus'),
  metric(['guest', 'cpuCount'], 'count', [0, 8_192], 'Cpus it may use'),
  metric(['guest', 'memoryUsedBytes'], 'bytes', bytes, 'Memory really used'),
  metric(['guest', 'memoryTotalBytes'], 'bytes', bytes, 'Memory it may use'),
  metric(['guest', 'swapUsedBytes'], 'bytes', bytes, 'Swap in use'),
  metric(['guest', 'diskReadBytesPerSecond'], 'bytesPerSecond', rate, 'Read from its disks'),
  metric(['guest', 'diskWriteBytesPerSecond'], 'bytesPerSecond', rate, 'Written to its disks'),
  metric(['guest', 'networkInBytesPerSecond'], 'bytesPerSecond', rate, 'Received'),
  metric(['guest', 'networkOutBytesPerSecond'], 'bytesPerSecond', rate, 'Sent'),
  metric(['guest', 'uptimeMs'], 'milliseconds', [0, timeMax], 'Time since its start'),
  metric(['guest', 'cpuPressureRatio'], 'ratio', ratio, 'PSI cpu some, avg10'),
  metric(['guest', 'ioPressureRatio'], 'ratio', ratio, 'PSI io some, avg10'),
  metric(['guest', 'memoryPressureRatio'], 'ratio', ratio, 'PSI memory some, avg10'),
  metric(['guest', 'memoryFullPressureRatio'], 'ratio', ratio, 'PSI memory full, avg10'),
] as const;

/**
 * Where the watts of a node come from, the best first: a program of its administrator (IPMI, DCMI),
 * a driver that knows its machine, the plug it hangs on, the processor's own counters, a model.
 */
export const powerSources = ['program', 'driver', 'plug', 'rapl', 'model'] as const;
export type PowerSource = (typeof powerSources)[number];

export const metricsOf = (entity: Entity): readonly Metric[] =>
  entity === 'node' ? nodeMetrics : guestMetrics;
