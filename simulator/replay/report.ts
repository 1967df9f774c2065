/**
 * The figures of a replay as a table for people, a plot, and one line of JSON for programs. Ratios
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

/** Whether the engine is better than each other policy over all days, by Wilcoxon's test. */
export function comparison(results: readonly Result[]): string[] {
  const ours = results.filter(({ policy }) => policy === 'kernreaktor');
  const others = [...new Set(results.map(({ policy }) => policy))];
  return others.flatMap((name) => {
    const theirs = ours.map(({ day, order }) =>
      results.find((one) => one.policy === name && one.day === day && one.order === order),
    );
    if (name === 'kernreaktor' || ours.length < pairsMin || theirs.includes(undefined)) return [];
    const parts = (['energyKwh', 'slav', 'migrations'] as const).map((figure) => {
      const [mine, its] = [ours.map((one) => one[figure]), theirs.map((one) => one![figure])];
      const wins = mine.filter((value, at) => value < its[at]!).length;
      const p = wilcoxonP(mine, its);
      return `${figure} lower in ${wins} of ${mine.length}, p = ${p === null ? 'none' : p.toPrecision(2)}`;
    });
    return [`kernreaktor against ${name}: ${parts.join('; ')}`];
  });
}

export const boundsLine = (day: string, { fluidKwh, clairvoyantKwh }: Bounds): string =>
  `${day}: no policy below ${fluidKwh.toFixed(2)} kWh, clairvoyant ${clairvoyantKwh.toFixed(2)} kWh`;

const colours: Record<string, string> = {
  kernreaktor: '#d1495b',
  p0: '#2a7f9e',
  'lr-mmt': '#777777',
  'thr-mmt': '#9a9a55',
  'iqr-mmt': '#8a6d9b',
  'mad-mmt': '#6b8e6b',
};

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** Energy against service violation, one dot per result; the violation's axis is logarithmic. */
export function plot(results: readonly Result[]): string {
  const [width, height, margin] = [760, 480, 60];
  const drawn = results.filter(({ slav }) => slav > 0);
  const energies = drawn.map(({ energyKwh }) => energyKwh);
  const powers = drawn.map(({ slav }) => Math.log10(slav));
  const [low, high] = [Math.min(...energies, 0), Math.max(...energies, 1) * 1.05];
  const [bottom, top] = [Math.floor(Math.min(...powers, 0)), Math.ceil(Math.max(...powers, -9))];
  const x = (kwh: number) => margin + ((kwh - low) / (high - low)) * (width - 2 * margin);
  const y = (power: number) =>
    height - margin - ((power - bottom) / Math.max(1, top - bottom)) * (height - 2 * margin);
  const grid = Array.from({ length: top - bottom + 1 }, (_, step) => bottom + step).map(
    (power) =>
      `<line x1="${margin}" x2="${width - margin}" y1="${y(power)}" y2="${y(power)}" ` +
      `stroke="#ddd"/><text x="${margin - 8}" y="${y(power) + 4}" text-anchor="end">1e${power}</text>`,
  );
  const dots = drawn.map((result) => {
    const colour = colours[result.policy] ?? '#000';
    const label = `${result.policy} ${result.day} ${result.order}: ${result.energyKwh.toFixed(1)} kWh`;
    return (
      `<circle cx="${x(result.energyKwh).toFixed(1)}" cy="${y(Math.log10(result.slav)).toFixed(1)}" ` +
      `r="5" fill="${colour}"><title>${escaped(label)}</title></circle>`
    );
  });
  const names = [...new Set(drawn.map(({ policy }) => policy))].map(
    (name, place) =>
      `<text x="${width - margin - 90}" y="${margin + 18 * place}" ` +
      `fill="${colours[name] ?? '#000'}">${escaped(name)}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
      `font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    ...grid,
    `<text x="${width / 2}" y="${height - 15}" text-anchor="middle">kWh per day</text>`,
    `<text x="15" y="${margin - 25}">SLAV</text>`,
    ...dots,
    ...names,
    '</svg>',
    '',
  ].join('\n');
}
