/**
 * One message of a plug -> watts. What is no plain number within plausible bounds is null and
 * counted by the caller; it never becomes 0. Pure, and never throws on foreign bytes.
 */
export const units = ['W', 'kW', 'mW'] as const;
type Unit = (typeof units)[number];

export type PlugReader = {
  /** Exact. */
  topic: string;
  /** Keys and indices into the JSON; empty: the payload is the number. */
  path: readonly (string | number)[];
  unit: Unit;
  /** A reading older than this says nothing of now. */
  maxAgeMs: number;
};

const wattsPer: Readonly<Record<Unit, number>> = { W: 1, kW: 1_000, mW: 0.001 };
/** The bounds of the metric `powerWatts`. */
const [wattsMin, wattsMax] = [0, 100_000];
/** A plug says a few hundred bytes; more is none. */
const payloadBytesMax = 16_384;
const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** `ENERGY.Power`, `$.a[0].w`, `switch:0.apower`; null when it is not such a path. */
export function parsePath(text: string): (string | number)[] | null {
  const plain = text.replace(/^\$\.?/, '');
  if (plain === '') return [];
  const parts: (string | number)[] = [];
  for (const step of plain.split('.')) {
    const [, key = '', indices = ''] = /^([^[\]]*)((?:\[\d{1,4}\])*)$/.exec(step) ?? [];
    if (key === '' && indices === '') return null;
    if (key !== '') parts.push(key);
    for (const [, index] of indices.matchAll(/\[(\d+)\]/g)) parts.push(Number(index));
  }
  return parts;
}

function valueAt(json: unknown, path: readonly (string | number)[]): unknown {
  let value = json;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return null;
    value = (value as Record<string | number, unknown>)[step];
  }
  return value;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

function numberOf(value: unknown): number | null {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  return typeof value === 'string' && decimal.test(value.trim()) ? Number(value) : null;
}

export function readWatts({ path, unit }: PlugReader, payload: Uint8Array): number | null {
  if (payload.byteLength > payloadBytesMax) return null;
  const text = Buffer.from(payload).toString('utf8').trim();
  const value = numberOf(path.length === 0 ? text : valueAt(parse(text), path));
  if (value === null) return null;
  const watts = value * wattsPer[unit];
  return watts >= wattsMin && watts <= wattsMax ? Math.round(watts * 100) / 100 : null;
}
