/**
 * The text of /proc and /sys files -> numbers. A line or value that is not there is null, never
 * 0; a zero that stands there stays 0. Pure: reads nothing itself and never throws on any text.
 */
import type { CpuTicks } from './rates.ts';

const decimal = /^-?\d+(\.\d+)?$/;
const sectorBytes = 512;

export function parseNumber(text: string | null | undefined): number | null {
  const trimmed = text?.trim() ?? '';
  return decimal.test(trimmed) ? Number(trimmed) : null;
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line.trim() !== '');
const words = (line: string): string[] => line.trim().split(/\s+/);

/** The numbers of a row, or null when one of them is not a number. */
function numbers(row: readonly string[]): number[] | null {
  const values = row.map((word) => parseNumber(word));
  return values.every((value) => value !== null) ? values : null;
}

export type Cpu = { ticks: CpuTicks; cpuCount: number };

/** /proc/stat: `cpu user nice system idle iowait irq softirq steal guest guest_nice`. */
export function parseCpu(text: string | null): Cpu | null {
  const rows = lines(text ?? '');
  const total = rows.find((line) => line.startsWith('cpu '));
  const ticks = numbers(words(total ?? '').slice(1));
  const cpuCount = rows.filter((line) => /^cpu\d+ /.test(line)).length;
  if (!ticks || ticks.length < 4 || cpuCount === 0) return null;
  const [user = 0, nice = 0, system = 0, idle = 0, ioWait = 0, irq = 0, softIrq = 0, steal = 0] =
    ticks;
  // guest and guest_nice are already part of user and nice.
  return { ticks: { busy: user + nice + system + irq + softIrq + steal, idle, ioWait }, cpuCount };
}

export type Memory = {
  totalBytes: number | null;
  usedBytes: number | null;
  swapTotalBytes: number | null;
  swapUsedBytes: number | null;
};

/** /proc/meminfo: `Name:   123 kB`. */
export function parseMemory(text: string | null): Memory {
  const byName = new Map<string, number>();
  for (const [, name = '', kibibytes = ''] of (text ?? '').matchAll(/^(\w+):\s+(\d+) kB$/gm)) {
    byName.set(name, Number(kibibytes) * 1024);
  }
  const difference = (whole: string, part: string): number | null => {
    const total = byName.get(whole);
    const free = byName.get(part);
    return total === undefined || free === undefined ? null : Math.max(0, total - free);
  };
  return {
    totalBytes: byName.get('MemTotal') ?? null,
    usedBytes: difference('MemTotal', 'MemAvailable'),
    swapTotalBytes: byName.get('SwapTotal') ?? null,
    swapUsedBytes: difference('SwapTotal', 'SwapFree'),
  };
}

export type LoadAverage = [one: number | null, five: number | null, fifteen: number | null];

export function parseLoadAverage(text: string | null): LoadAverage {
  const [one, five, fifteen] = words(text ?? '');
  return [parseNumber(one), parseNumber(five), parseNumber(fifteen)];
}

/** First field of /proc/uptime, seconds. */
export function parseUptimeMs(text: string | null): number | null {
  const seconds = parseNumber(words(text ?? '')[0]);
  return seconds === null ? null : Math.round(seconds * 1000);
}

/** What went in and out of one device since it appeared. */
export type Traffic = { inBytes: number; outBytes: number };

/** /proc/diskstats: in is read, out is written; sectors are 512 bytes whatever the device. */
export function parseDiskStats(text: string | null): Map<string, Traffic> | null {
  if (text === null) return null;
  const traffic = new Map<string, Traffic>();
  for (const line of lines(text)) {
    const row = words(line);
    const read = parseNumber(row[5]);
    const written = parseNumber(row[9]);
    const name = row[2];
    if (name === undefined || read === null || written === null) continue;
    traffic.set(name, { inBytes: read * sectorBytes, outBytes: written * sectorBytes });
  }
  return traffic;
}

/** /proc/net/dev: `name: rxBytes rxPackets (6 more) txBytes ...`. */
export function parseNetDev(text: string | null): Map<string, Traffic> | null {
  if (text === null) return null;
  const traffic = new Map<string, Traffic>();
  for (const line of lines(text)) {
    const [, name, rest] = /^\s*([^:\s|]+):(.*)$/.exec(line) ?? [];
    const row = words(rest ?? '');
    const inBytes = parseNumber(row[0]);
    const outBytes = parseNumber(row[8]);
    if (name === undefined || inBytes === null || outBytes === null) continue;
    traffic.set(name, { inBytes, outBytes });
  }
  return traffic;
}

export type Pressure = {
  someAvg10: number | null;
  someAvg60: number | null;
  fullAvg10: number | null;
  fullAvg60: number | null;
};

/** /proc/pressure/*: percentages there, ratios here. Older kernels have no `full` for cpu. */
export function parsePressure(text: string | null): Pressure {
  const ratioOf = (level: string, window: string): number | null => {
    const line = lines(text ?? '').find((row) => row.startsWith(`${level} `)) ?? '';
    const percent = parseNumber(new RegExp(`${window}=(\\S+)`).exec(line)?.[1]);
    return percent === null ? null : Math.min(1, Math.max(0, percent / 100));
  };
  return {
    someAvg10: ratioOf('some', 'avg10'),
    someAvg60: ratioOf('some', 'avg60'),
    fullAvg10: ratioOf('full', 'avg10'),
    fullAvg60: ratioOf('full', 'avg60'),
  };
}

export type Mount = { device: string; path: string; type: string };

/** The kernel writes blanks and backslashes of a path as three octal digits. */
const unescapeMount = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));

export const parseMounts = (text: string | null): Mount[] =>
  lines(text ?? '').map((line) => {
    const [device = '', path = '', type = ''] = words(line);
    return { device: unescapeMount(device), path: unescapeMount(path), type };
  });

export type CpuModel = { vendor: string | null; model: string | null; microcode: string | null };

/** /proc/cpuinfo of x86; other architectures name no model there, which is null. */
export function parseCpuModel(text: string | null): CpuModel {
  const field = (name: string): string | null =>
    new RegExp(`^${name}\\s*:\\s*(.+)$`, 'm').exec(text ?? '')?.[1]?.trim() ?? null;
  return { vendor: field('vendor_id'), model: field('model name'), microcode: field('microcode') };
}
