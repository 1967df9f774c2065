/**
 * Numbers and durations as people read them, in the panel and on the terminal. Pure, and knows no
 * Node: it runs in browsers. Not measured is a dash, never a zero.
 */

export const dash = '–';

export const orDash = <T>(value: T | null | undefined, format: (value: T) => string): string =>
  value === null || value === undefined ? dash : format(value);

export const percent = (ratio: number): string => {
  const value = ratio * 100;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} %`;
};

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(value: number): string {
  const power = value < 1 ? 0 : Math.min(byteUnits.length - 1, Math.floor(Math.log2(value) / 10));
  const scaled = value / 2 ** (10 * power);
  return `${scaled < 10 && power > 0 ? scaled.toFixed(1) : Math.round(scaled)} ${byteUnits[power]}`;
}

export const rate = (bytesPerSecond: number): string => `${bytes(bytesPerSecond)}/s`;
export const watts = (value: number): string =>
  value >= 10_000 ? `${(value / 1_000).toFixed(1)} kW` : `${Math.round(value)} W`;

type Drawn = { powerWatts: number | null; powerEstimatedWatts: number | null };
/** A sample has one of them or neither. */
export const drawn = (of: Drawn): number | null => of.powerWatts ?? of.powerEstimatedWatts;
/** What a model says is never shown as if it were measured. */
export function power(of: Drawn): string {
  if (of.powerWatts !== null) return watts(of.powerWatts);
  return of.powerEstimatedWatts === null ? dash : `≈ ${watts(of.powerEstimatedWatts)}`;
}

/** What the watts of a node were measured by, as the API names it. */
export const powerHints: Readonly<Record<string, string>> = {
  program: 'measured by a program on the host',
  driver: 'measured by the host',
  plug: 'measured by its plug',
  rapl: 'the processor alone',
  model: 'estimated by its class',
};

export const celsius = (value: number): string => `${Math.round(value)} °C`;
export const plain = (value: number): string =>
  Number.isInteger(value) ? String(value) : value.toFixed(2);

/** 93,000 -> `1 min 33 s`: the two largest units that are not zero. */
export function duration(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3_600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return '0 s';
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(' ');
}

export const ago = (ms: number): string => (ms < 1_500 ? 'now' : `${duration(ms)} ago`);

export const counted = (count: number, noun: string): string =>
  `${count.toLocaleString()} ${noun}${count === 1 ? '' : 's'}`;
