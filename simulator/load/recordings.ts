/**
 * Recorded load for simulated guests: the CSV that `/api/v1/telemetry/export` writes, of this or
 * any other installation, or a day of PlanetLab. A gap keeps the value before it. This file alone
 * imports csv-parse. A file that cannot be used is an error that names it and the way out.
 */
import { createReadStream, statSync } from 'node:fs';
import { parse } from 'csv-parse';
import { planetlabDays, readPlanetlab } from '../replay/planetlab.ts';

export type Recorded = { stepMs: number; ratios: Float32Array };

export class RecordingError extends Error {
  override readonly name = 'RecordingError';
  readonly code = 'KR_RECORDING';
}

type Rows = Map<string, Map<number, number | null>>;

/** Everything below is one guest or node: a guest that moved goes on under its own name. */
const nameOf = (row: Record<string, string | undefined>): string =>
  `${row['cluster'] ?? ''}/${row['guest'] ?? row['node'] ?? ''}`;

function cellOf(text: string | undefined, where: string): number | null {
  if (text === undefined || text === '') return null;
  const ratio = Number(text);
  if (ratio >= 0 && ratio <= 1) return ratio;
  throw new RecordingError(`${where}: cpuRatio is '${text}'; export it as a number from 0 to 1`);
}

async function rowsOf(path: string): Promise<Rows> {
  const rows: Rows = new Map();
  const lines = createReadStream(path).pipe(parse({ columns: true, bom: true, info: true }));
  for await (const { record, info } of lines as AsyncIterable<{
    record: Record<string, string | undefined>;
    info: { lines: number };
  }>) {
    const where = `${path}:${info.lines}`;
    const atMs = Date.parse(record['time'] ?? '');
    if (Number.isNaN(atMs) || record['cpuRatio'] === undefined) {
      const wayOut = 'export with /api/v1/telemetry/export?...&metrics=cpuRatio';
      throw new RecordingError(`${where}: needs the columns time and cpuRatio; ${wayOut}`);
    }
    const name = nameOf(record);
    const series = rows.get(name) ?? new Map<number, number | null>();
    // Two rows of one instant: a guest on its way from one node to another.
    series.set(atMs, cellOf(record['cpuRatio'], where) ?? series.get(atMs) ?? null);
    rows.set(name, series);
  }
  return rows;
}

/** The shortest distance between two instants: every series of an export has the same step. */
function stepOf(instants: readonly number[]): number {
  let stepMs = Infinity;
  for (let index = 1; index < instants.length; index += 1) {
    stepMs = Math.min(stepMs, (instants[index] ?? 0) - (instants[index - 1] ?? 0));
  }
  return stepMs;
}

const stepsMax = 1_000_000;

async function readExport(path: string): Promise<Recorded[]> {
  const rows = await rowsOf(path).catch((error: unknown) => {
    if (error instanceof RecordingError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new RecordingError(`${path}: ${why}`, { cause: error });
  });
  const instants = [...new Set([...rows.values()].flatMap((series) => [...series.keys()]))];
  instants.sort((a, b) => a - b);
  const [firstMs = 0] = instants;
  const stepMs = stepOf(instants);
  const steps = (instants.at(-1) ?? 0) === firstMs ? 0 : (instants.at(-1)! - firstMs) / stepMs + 1;
  if (!(steps >= 2 && steps <= stepsMax)) {
    throw new RecordingError(`${path}: holds ${steps} steps; use 2 to ${stepsMax}`);
  }
  return [...rows.values()].map((series) => {
    const ratios = new Float32Array(Math.floor(steps));
    let last = 0;
    for (let step = 0; step < ratios.length; step += 1) {
      last = series.get(firstMs + step * stepMs) ?? last;
      ratios[step] = last;
    }
    return { stepMs, ratios };
  });
}

async function readDay(folder: string, asked: string | undefined): Promise<Recorded[]> {
  const days = await planetlabDays(folder);
  const day = asked ?? days[0];
  if (day === undefined || !days.includes(day)) {
    const held =
      days.length === 0 ? 'no day: name a folder with days as 20110303' : days.join(', ');
    throw new RecordingError(`${folder}: holds ${held}`);
  }
  const { cpu, cpuScale, guestCount, steps, stepSeconds } = await readPlanetlab(folder, day);
  return Array.from({ length: guestCount }, (_, guest) => {
    const row = cpu.subarray(guest * steps, (guest + 1) * steps);
    const scale = cpuScale[guest] ?? 100;
    return { stepMs: stepSeconds * 1_000, ratios: Float32Array.from(row, (cell) => cell / scale) };
  });
}

/** @throws RecordingError when there is nothing to be used. */
export function readRecordings(path: string, day: string | undefined): Promise<Recorded[]> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) return Promise.reject(new RecordingError(`${path}: there is no such file or folder`));
  return found.isDirectory() ? readDay(path, day) : readExport(path);
}
