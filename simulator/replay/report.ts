/**
 * The figures of a replay as a table for people, and one line of JSON for programs. Ratios
 * are fractions in the JSON and scaled only in the table's own headings.
 */
import type { Bounds } from './bounds.ts';
import type { PhysicalResult } from './physical-run.ts';
import type { Result } from './run.ts';
import { wilcoxonP } from './wilcoxon.ts';

type Column<Row> = [string, (result: Row) => string];

const columns: Column<Result>[] = [
  ['day', ({ day }) => day],
  ['order', ({ order }) => order],
  ['policy', ({ policy }) => policy],
  ['kWh', ({ energyKwh }) => energyKwh.toFixed(2)],
  ['migrations', ({ migrations }) => String(migrations)],
  ['SLAV e-6', ({ slav }) => (slav * 1e6).toFixed(3)],
  ['SLATAH %', ({ slatah }) => (slatah * 100).toFixed(3)],
  ['PDM %', ({ pdm }) => (pdm * 100).toFixed(5)],
  ['OTF %', ({ otf }) => (otf * 100).toFixed(3)],
  ['undelivered %', ({ undelivered }) => (undelivered * 100).toFixed(4)],
  ['wakes', ({ wakes }) => String(wakes)],
  ['max moves', ({ movesPerTickMax }) => String(movesPerTickMax)],
  ['gap closed %', ({ gapClosed }) => (gapClosed === null ? '' : (gapClosed * 100).toFixed(1))],
  ['ms', ({ decideMsMedian }) => decideMsMedian.toFixed(1)],
  ['ms p99', ({ decideMsP99 }) => decideMsP99.toFixed(1)],
];

const perDay = (count: number, { days }: PhysicalResult): string => (count / days).toFixed(1);

const shareOf = (part = 0, whole = 0): string =>
  whole === 0 ? '' : ((100 * part) / whole).toFixed(1);

const physicalColumns: Column<PhysicalResult>[] = [
  ['day', ({ day }) => day],
  ['policy', ({ policy }) => policy],
  ['kWh', ({ energyKwh }) => energyKwh.toFixed(2)],
  ['x bound', ({ energyKwh, boundKwh }) => (energyKwh / boundKwh).toFixed(3)],
  [
    'x bound, after 3 h',
    ({ energyKwh, startKwh, settledBoundKwh }) =>
      ((energyKwh - startKwh) / settledBoundKwh).toFixed(3),
  ],
  ['idle', ({ kwhFor }) => kwhFor.idle.toFixed(1)],
  ['work', ({ kwhFor }) => kwhFor.work.toFixed(1)],
  ['empty', ({ kwhFor }) => kwhFor.empty.toFixed(1)],
  ['boots', ({ kwhFor }) => kwhFor.changing.toFixed(1)],
  ['OTF %', ({ otf }) => (otf * 100).toFixed(3)],
  ['undelivered %', ({ undelivered }) => (undelivered * 100).toFixed(4)],
  ['memory over %', ({ memoryOver }) => (memoryOver * 100).toFixed(3)],
  ['SLAV e-6', ({ slav }) => (slav * 1e6).toFixed(3)],
  ['migrations/day', (result) => perDay(result.migrations, result)],
  ['wakes/day', (result) => perDay(result.wakes, result)],
  ['failed wakes', ({ failedWakes }) => String(failedWakes)],
  ['p90 covers %', ({ foretold }) => shareOf(foretold?.covered, foretold?.steps)],
  ['moves as foretold %', ({ foretold }) => shareOf(foretold?.close, foretold?.moves)],
  ['ms', ({ decideMsMedian }) => decideMsMedian.toFixed(2)],
  ['ms p99', ({ decideMsP99 }) => decideMsP99.toFixed(2)],
];

/** One aligned row per result, headings first; also valid Markdown. */
function tableOf<Row>(results: readonly Row[], shown: readonly Column<Row>[]): string {
  const rows = [
    shown.map(([name]) => name),
    ...results.map((result) => shown.map(([, cell]) => cell(result))),
  ];
  const widths = shown.map((_, place) => Math.max(...rows.map((row) => row[place]!.length)));
  const lines = rows.map(
    (row) => `| ${row.map((cell, place) => cell.padStart(widths[place]!)).join(' | ')} |`,
  );
  const rule = `| ${widths.map((width) => `${'-'.repeat(width - 1)}:`).join(' | ')} |`;
  return [lines[0], rule, ...lines.slice(1)].join('\n');
}

export const table = (results: readonly Result[]): string => tableOf(results, columns);

/** The same for the worlds in which machines boot. */
export const physicalTable = (results: readonly PhysicalResult[]): string =>
  tableOf(results, physicalColumns);

const pairsMin = 5;

type Figures = { energyKwh: number; slav?: number; otf: number; migrations: number };
/** Where machines boot a trace lasts for days, each of which is one pair. */
type Compared = Result & { daily?: PhysicalResult['daily'] };

/** Whether the engine is better than each other policy over all days, by Wilcoxon's test. */
export function comparison(results: readonly Compared[]): string[] {
  const ours = results.filter(({ policy }) => policy === 'kernreaktor');
  const others = [...new Set(results.map(({ policy }) => policy))];
  const daysOf = (one: Compared): readonly Figures[] => one.daily ?? [one];
  return others.flatMap((name) => {
    const theirs = ours.map(({ day, order }) =>
      results.find((one) => one.policy === name && one.day === day && one.order === order),
    );
    if (name === 'kernreaktor' || theirs.includes(undefined)) return [];
    const [mine, its] = [ours.flatMap(daysOf), theirs.flatMap((one) => daysOf(one!))];
    if (mine.length < pairsMin) return [];
    const violation = ours[0]?.daily === undefined ? 'slav' : 'otf';
    const parts = (['energyKwh', violation, 'migrations'] as const).map((figure) => {
      const of = (one: Figures): number => one[figure] ?? 0;
      const wins = mine.filter((one, at) => of(one) < of(its[at]!)).length;
      const p = wilcoxonP(mine.map(of), its.map(of));
      return `${figure} lower in ${wins} of ${mine.length}, p = ${p === null ? 'none' : p.toPrecision(2)}`;
    });
    return [`kernreaktor against ${name}: ${parts.join('; ')}`];
  });
}

export const boundsLine = (day: string, { fluidKwh, clairvoyantKwh }: Bounds): string =>
  `${day}: no policy below ${fluidKwh.toFixed(2)} kWh, clairvoyant ${clairvoyantKwh.toFixed(2)} kWh`;
