/**
 * Two reports side by side: what a change made better or worse. A figure counts as worse when it
 * moved to its bad side by more than the tolerance; figures that mean no better or worse are shown
 * and not judged. Pure.
 */
import type { Report } from '../report.ts';

type Direction = 'less' | 'more' | 'neither';
type Reads = (report: Report) => number | null;

const figures: readonly [name: string, better: Direction, read: Reads][] = [
  ['nodes', 'neither', ({ nodes }) => nodes],
  ['interval ms', 'neither', ({ intervalMs }) => intervalMs],
  ['seconds', 'neither', ({ durationMs }) => durationMs / 1_000],
  ['samples', 'neither', ({ samples }) => samples.taken],
  ['lost', 'less', ({ samples }) => samples.lost],
  ['unaccounted', 'less', ({ accounts }) => accounts && Math.abs(accounts.unaccounted)],
  ['replayed', 'less', ({ samples }) => samples.replayed],
  ['p50 ms', 'less', ({ publishToStateMs }) => publishToStateMs.p50],
  ['p99 ms', 'less', ({ publishToStateMs }) => publishToStateMs.p99],
  ['connect ms', 'less', ({ connectMs, firstNodes }) => (firstNodes === 0 ? null : connectMs)],
  ['server cpu', 'less', ({ backend }) => backend.cpuRatio],
  ['server cpu ms/sample', 'less', (report) => cpuPerSample(report)],
  [
    'server peak MiB',
    'less',
    ({ backend }) => backend.rssPeakBytes && backend.rssPeakBytes / 2 ** 20,
  ],
  ['simulator cpu', 'neither', ({ generator }) => generator.cpuRatio],
  ['command p99 ms', 'less', ({ commands }) => commands && commands.offerToStartedP99Ms],
  ['knee /s', 'more', ({ knee }) => knee && (knee.found?.perSecond ?? 0)],
];

function cpuPerSample({ backend, samples }: Report): number | null {
  const { cpuSeconds } = backend;
  return cpuSeconds === null || samples.taken === 0 ? null : (cpuSeconds * 1_000) / samples.taken;
}

export type Compared = {
  name: string;
  before: number | null;
  after: number | null;
  /** (after - before) / before; null where that says nothing. */
  change: number | null;
  verdict: 'better' | 'worse' | 'same' | 'unknown' | 'unjudged';
};

function verdictOf(
  [before, after]: readonly [number | null, number | null],
  better: Direction,
  tolerance: number,
): Compared['verdict'] {
  if (before === null || after === null) return before === after ? 'unjudged' : 'unknown';
  if (better === 'neither') return 'unjudged';
  const grew = after - before;
  // Nothing that was 0 may begin, however little; anything else may move within the tolerance.
  if (Math.abs(grew) <= Math.abs(before) * tolerance) return 'same';
  return grew > 0 === (better === 'more') ? 'better' : 'worse';
}

/** `tolerance`: 0.1 lets a figure be a tenth worse. What neither report knows is left out. */
export function compareReports(before: Report, after: Report, tolerance: number): Compared[] {
  return figures.flatMap(([name, better, read]) => {
    const pair = [read(before), read(after)] as const;
    if (pair[0] === null && pair[1] === null) return [];
    const [from, to] = pair;
    const change = from === null || to === null || from === 0 ? null : (to - from) / from;
    const verdict = verdictOf(pair, better, tolerance);
    return [{ name, before: from, after: to, change, verdict }];
  });
}

const number = (value: number | null): string =>
  value === null ? 'unknown' : String(Number(value.toPrecision(5)));

export function renderComparison(rows: readonly Compared[]): string {
  const table = [
    ['', 'before', 'after', 'change', ''],
    ...rows.map(({ name, before, after, change, verdict }) => [
      name,
      number(before),
      number(after),
      change === null ? '' : `${change > 0 ? '+' : ''}${(change * 100).toFixed(1)} %`,
      verdict === 'unjudged' || verdict === 'same' ? '' : verdict.toUpperCase(),
    ]),
  ];
  const widths = [0, 1, 2, 3].map((index) =>
    Math.max(...table.map((row) => (row[index] ?? '').length)),
  );
  return table
    .map((row) =>
      row
        .map((text, index) =>
          index === 0 ? text.padEnd(widths[0] ?? 0) : text.padStart(widths[index] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
