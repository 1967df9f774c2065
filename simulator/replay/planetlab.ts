/**
 * Reads PlanetLab days: from the source's own layout, a folder per day with one text file per
 * guest (288 lines of whole percent), and from the compact one, `DAY.u8.gz` with `DAY.names.gz`.
 * Guests stand in byte order of their file names in both. Nothing is repaired: a wrong line is an
 * error that names the file.
 */
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createGunzip, gunzipSync } from 'node:zlib';
import { planetlabGuests } from './specs.ts';
import type { Trace } from './trace.ts';

const steps = 288;
const stepSeconds = 300;

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

function traceOf(name: string, guestNames: string[], cpu: Uint8Array): Trace {
  const guestCount = guestNames.length;
  return {
    name,
    guestNames,
    guestCount,
    steps,
    stepSeconds,
    cpu,
    cpuScale: new Float64Array(guestCount).fill(100),
    ...planetlabGuests(guestCount),
    ramUsedMb: null,
  };
}

/** Whole percents of one guest from its text file. */
function percents(text: string, path: string): Uint8Array {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  if (lines.length < steps) throw new Error(`${path}: ${lines.length} lines, ${steps} are needed`);
  return Uint8Array.from(lines.slice(0, steps), (line, index) => {
    const value = Number(line);
    if (Number.isInteger(value) && value >= 0 && value <= 100) return value;
    throw new Error(`${path}:${index + 1}: "${line}" is no whole percent from 0 to 100`);
  });
}

async function readSource(folder: string, day: string): Promise<Trace> {
  const path = join(folder, day);
  const names = (await readdir(path)).filter((name) => !name.startsWith('.')).sort(byBytes);
  const cpu = new Uint8Array(names.length * steps);
  for (const [index, name] of names.entries()) {
    const file = join(path, name);
    cpu.set(percents(await readFile(file, 'utf8'), file), index * steps);
  }
  return traceOf(day, names, cpu);
}

async function readCompact(folder: string, day: string): Promise<Trace> {
  const path = join(folder, `${day}.u8.gz`);
  const cpu = Uint8Array.from(gunzipSync(await readFile(path)));
  const text = gunzipSync(await readFile(join(folder, `${day}.names.gz`))).toString('utf8');
  const names = text.split('\n').filter((name) => name !== '');
  if (cpu.length !== names.length * steps) {
    throw new Error(`${path}: ${cpu.length} bytes for ${names.length} names of ${steps} samples`);
  }
  if (cpu.some((value) => value > 100)) throw new Error(`${path}: a value lies above 100 percent`);
  return traceOf(day, names, cpu);
}

const isFolder = async (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/** One day in whichever layout the folder has it. */
export const readPlanetlab = async (folder: string, day: string): Promise<Trace> =>
  (await isFolder(join(folder, day))) ? readSource(folder, day) : readCompact(folder, day);

/** The days that a folder holds, in order; a day is eight digits. */
export async function planetlabDays(folder: string): Promise<string[]> {
  const found = (await readdir(folder)).map((name) => /^(\d{8})(\.u8\.gz)?$/.exec(name)?.[1]);
  return [...new Set(found.filter((day) => day !== undefined))].sort();
}

/** CloudSim's initial placement of a day when it lies beside the trace, else null. */
export async function readPlacement(folder: string, trace: Trace): Promise<Int32Array | null> {
  const path = join(folder, `${trace.name}_initial_placement.csv.gz`);
  const packed = await readFile(path).catch(() => null);
  if (packed === null) return null;
  const placement = new Int32Array(trace.guestCount).fill(-1);
  for (const line of gunzipSync(packed).toString('utf8').split('\n')) {
    const [guest, host] = line.split(',').map(Number);
    if (guest !== undefined && host !== undefined) placement[guest] = host;
  }
  if (placement.includes(-1)) throw new Error(`${path}: not every guest of the trace has a host`);
  return placement;
}

/** Lines of a gzipped text file, one at a time. */
export const linesOf = (path: string): AsyncIterable<string> =>
  createInterface({ input: createReadStream(path).pipe(createGunzip()), crlfDelay: Infinity });
