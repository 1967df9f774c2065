/**
 * What becomes of a report: the table and the JSON line, files, the exit code; and what reads such
 * files again, to compare two or to put shards together.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { compareReports, renderComparison } from './load/compare.ts';
import { htmlOf } from './load/html.ts';
import { MergeError } from './load/merge.ts';
import { csvOfSeconds } from './load/rows.ts';
import type { SimulationOptions } from './options.ts';
import { renderReport } from './render.ts';
import type { Report } from './report.ts';

export const exitCodes = { fine: 0, failed: 1, badOption: 2, brokenPromise: 99 } as const;

export type Outlet = {
  out: Writable & { isTTY?: boolean };
  errors: Writable;
  setExitCode: (code: number) => void;
};

type Kept = Pick<SimulationOptions, 'out' | 'csv' | 'html'>;

function writeFiles({ out, csv, html }: Kept, report: Report): void {
  if (out !== undefined) writeFileSync(out, `${JSON.stringify(report)}\n`);
  if (csv !== undefined) writeFileSync(csv, csvOfSeconds(report.seconds ?? []));
  if (html !== undefined) writeFileSync(html, htmlOf(report));
}

export function conclude(report: Report, options: Kept & { json?: boolean }, parts: Outlet): void {
  const { out, setExitCode } = parts;
  writeFiles(options, report);
  const { seconds: _seconds, books: _books, ...printed } = report;
  if (!options.json) out.write(`${out.isTTY ? '\n' : ''}${renderReport(report)}\n`);
  out.write(`${JSON.stringify(printed)}\n`);
  const isBroken = report.brokenPromises.length > 0;
  setExitCode(isBroken ? exitCodes.brokenPromise : exitCodes.fine);
}

/** What `--out` wrote; a report that was printed has no seconds, and can be compared all the same. */
export function readReport(path: string): Report {
  try {
    const report = JSON.parse(readFileSync(path, 'utf8')) as Report;
    if (typeof report.samples.taken === 'number' && Array.isArray(report.stages)) return report;
  } catch (cause) {
    throw new MergeError(`${path}: is no report of simulate --out`, { cause });
  }
  throw new MergeError(`${path}: is no report of simulate --out`);
}

/** 99 when something is worse, so that a pipeline stops. */
export function compareCommand(
  [before, after]: readonly [string, string],
  { tolerance }: { tolerance: string },
  { out, setExitCode }: Outlet,
): void {
  const allowed = Number(tolerance.replace('%', '')) / 100;
  if (!(allowed >= 0 && allowed <= 10)) {
    throw new MergeError(`--tolerance: use 0 to 1000 percent, not '${tolerance}'`);
  }
  const rows = compareReports(readReport(before), readReport(after), allowed);
  out.write(`${renderComparison(rows)}\n`);
  const isWorse = rows.some(({ verdict }) => verdict === 'worse');
  setExitCode(isWorse ? exitCodes.brokenPromise : exitCodes.fine);
}

/** What was asked wrongly is one line and 2. */
export function forgiving(parts: () => Outlet, work: (parts: Outlet) => void): void {
  const own = parts();
  try {
    work(own);
  } catch (error) {
    if (!(error instanceof MergeError)) throw error;
    own.errors.write(`${error.message}\n`);
    own.setExitCode(exitCodes.badOption);
  }
}
