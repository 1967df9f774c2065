/**
 * Reads the GWA-T-12 "rnd" trace of Bitbrains in its compact form: a row per guest of cpu MHz and
 * of memory MB in use, little-endian 16 bit, and a table of what each guest was given. Here a MHz
 * counts as a MIPS. Days are cut out of the month, and guests that
 * were given nothing are left out; what is recorded is not repaired.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { Trace } from './trace.ts';

const stepSeconds = 300;
const stepsPerDay = 86_400 / stepSeconds;

/** The month that a folder holds, `2013-7`, or null when it holds none. */
export async function bitbrainsMonth(folder: string): Promise<string | null> {
  const found = (await readdir(folder)).map(
    (name) => /^(\d{4}-\d+)_meta\.csv\.gz$/.exec(name)?.[1],
  );
  return found.find((month) => month !== undefined) ?? null;
}

type Given = { name: string; cores: number; mhz: number; ramMb: number };

function givenOf(text: string, path: string): Given[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.slice(1).map((line) => {
    const [name = '', cores, mhz, ramMb] = line.split(',');
    const given = { name, cores: Number(cores), mhz: Number(mhz), ramMb: Number(ramMb) };
    if (given.cores >= 0 && given.mhz >= 0 && given.ramMb >= 0) return given;
    throw new Error(`${path}: guest ${name} has no cpu or memory: "${line}"`);
  });
}

async function matrix(path: string, guests: number): Promise<Uint16Array> {
  const bytes = Uint8Array.from(gunzipSync(await readFile(path)));
  if (bytes.length % (2 * guests) !== 0) {
    throw new Error(
      `${path}: ${bytes.length} bytes are no whole number of samples of ${guests} guests`,
    );
  }
  const view = new DataView(bytes.buffer);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, at) => view.getUint16(2 * at, true));
}

/**
 * Days `first` to `last` of the month, counted from 1, as one trace.
 * @throws Error when the folder holds no month, or the month not that day
 */
export async function readBitbrains(folder: string, first: number, last: number): Promise<Trace> {
  const month = await bitbrainsMonth(folder);
  if (month === null) throw new Error(`${folder}: no *_meta.csv.gz of a Bitbrains month`);
  const metaPath = join(folder, `${month}_meta.csv.gz`);
  const all = givenOf(gunzipSync(await readFile(metaPath)).toString('utf8'), metaPath);
  const cpu = await matrix(join(folder, `${month}_cpu_mhz_used.u16le.gz`), all.length);
  const ram = await matrix(join(folder, `${month}_mem_mb_used.u16le.gz`), all.length);
  const recorded = cpu.length / all.length;
  const [from, to] = [(first - 1) * stepsPerDay, last * stepsPerDay];
  if (from < 0 || to > recorded || from >= to) {
    const days = Math.floor(recorded / stepsPerDay);
    throw new Error(`days ${first}-${last}: the month of ${folder} holds days 1 to ${days}`);
  }
  const kept = Array.from(all.keys()).filter(
    (row) => all[row]!.cores > 0 && all[row]!.mhz > 0 && all[row]!.ramMb > 0,
  );
  const given = kept.map((row) => all[row]!);
  const cut = (values: Uint16Array): Uint16Array => {
    const part = new Uint16Array(kept.length * (to - from));
    kept.forEach((row, guest) => {
      const start = row * recorded;
      part.set(values.subarray(start + from, start + to), guest * (to - from));
    });
    return part;
  };
  const mips = Float64Array.from(given, ({ mhz }) => mhz);
  return {
    name: `${month}-${first}${last > first ? `..${last}` : ''}`,
    guestNames: given.map(({ name }) => name),
    guestCount: given.length,
    steps: to - from,
    stepSeconds,
    cpu: cut(cpu),
    // The rows are MHz already: the share of a guest's own speed is MHz over what it was given.
    cpuScale: mips.slice(),
    mips,
    cores: Float64Array.from(given, ({ cores }) => cores),
    ramMb: Float64Array.from(given, ({ ramMb }) => ramMb),
    ramUsedMb: cut(ram),
  };
}
