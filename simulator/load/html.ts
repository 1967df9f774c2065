/**
 * A report as one HTML file that needs nothing else: figures, promises, stages, and charts of every
 * second, drawn by uPlot, which is written into the file. Opens from a disk, an attachment or a CI
 * artefact. Foreign text is escaped; the page asks nobody for anything.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { renderReport } from '../render.ts';
import type { Report } from '../report.ts';
import type { Column, Second } from './rows.ts';

type Chart = { title: string; unit: string; columns: readonly [Column, string][]; isLog?: true };

const charts: readonly Chart[] = [
  {
    title: 'Messages',
    unit: '/s',
    columns: [
      ['sentPerSecond', 'sent'],
      ['receivedPerSecond', 'received'],
      ['storedPerSecond', 'stored'],
    ],
  },
  {
    title: 'Publish to state',
    unit: 'ms',
    columns: [
      ['p50Ms', 'p50'],
      ['p99Ms', 'p99'],
    ],
    isLog: true,
  },
  {
    title: 'Daemons',
    unit: '',
    columns: [
      ['wanted', 'wanted'],
      ['connected', 'connected'],
    ],
  },
  {
    title: 'CPU, of one core',
    unit: '',
    columns: [
      ['backendCpuRatio', 'server'],
      ['generatorCpuRatio', 'simulator'],
    ],
  },
  { title: 'Memory of the server', unit: 'MiB', columns: [['backendRssMiB', 'resident']] },
  {
    title: 'Refused, dropped, sent again',
    unit: '/s',
    columns: [
      ['rejectedPerSecond', 'rejected'],
      ['droppedPerSecond', 'dropped'],
      ['replayedPerSecond', 'replayed'],
    ],
  },
  { title: 'Not confirmed yet', unit: 'samples', columns: [['unconfirmed', 'samples']] },
  { title: 'Lateness of the simulator', unit: 'ms', columns: [['generatorLagMs', 'p99']] },
];

const escapes: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
export const escaped = (text: string): string =>
  text.replaceAll(/[&<>"]/g, (letter) => escapes[letter] ?? letter);

/** Inside a script only `<` can end it. */
const asScript = (value: unknown): string => JSON.stringify(value).replaceAll('<', '\\u003c');

const dist = (): string => dirname(fileURLToPath(import.meta.resolve('uplot')));

const style = `
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.5rem 0 .25rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .15rem .8rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
pre, .wide { overflow-x: auto; } .charts > div { min-width: 0; } .bad { color: #d33; } .good { color: #2a7; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem; }`;

/** Runs in the page: one chart for each entry, as wide as its place, redrawn when that changes. */
const script = `
const colours = ['#3b82f6', '#f59e0b', '#10b981'];
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
for (const { title, unit, series, isLog } of charts) {
  const place = document.getElementById('charts').appendChild(document.createElement('div'));
  const axis = { stroke: dark ? '#bbb' : '#444', grid: { stroke: '#8883' } };
  const plot = new uPlot({
    title: unit ? title + ' (' + unit + ')' : title,
    width: place.clientWidth, height: 220,
    scales: { x: { time: false }, y: isLog ? { distr: 3 } : {} },
    axes: [{ ...axis, label: 'seconds' }, { ...axis, size: 60 }],
    series: [{ label: 's' }, ...series.map(({ name }, index) => ({
      label: name, stroke: colours[index], width: 1.5, spanGaps: false,
    }))],
  }, [x, ...series.map(({ values }) => values)], place);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 220 })).observe(place);
}`;

const cell = (value: number | null): string => (value === null ? '-' : String(value));

function stageTable({ stages, knee }: Report): string {
  const heads = ['stage', 'nodes', 'interval ms', 'sent/s', 'p50 ms', 'p99 ms', 'server cpu'];
  const rows = stages.map((stage, index) => {
    const { p50, p99 } = stage.publishToStateMs;
    const cells = [
      String(stage.stage),
      String(stage.nodes),
      String(stage.intervalMs),
      ...[stage.sentPerSecond, p50, p99, stage.backendCpuRatio].map(cell),
      ...(knee ? [knee.steps[index]?.holds ? 'holds' : 'breaks'] : []),
    ];
    return `<tr>${cells.map((text) => `<td>${text}</td>`).join('')}</tr>`;
  });
  const head = [...heads, ...(knee ? ['verdict'] : [])].map((text) => `<th>${text}</th>`).join('');
  return `<table><tr>${head}</tr>${rows.join('')}</table>`;
}

/** A logarithm has no place for what took no time: it stands at the foot of the chart. */
const valuesOf = (seconds: readonly Second[], column: Column, isLog: boolean) =>
  seconds.map((second) => {
    const value = second[column];
    return value !== null && isLog ? Math.max(value, 0.01) : value;
  });

function chartsOf(seconds: readonly Second[]) {
  return charts.flatMap(({ title, unit, columns, isLog = false }) => {
    const series = columns.map(([column, name]) => ({
      name,
      values: valuesOf(seconds, column, isLog),
    }));
    const isEmpty = series.every(({ values }) => values.every((value) => value === null));
    return isEmpty ? [] : [{ title, unit, isLog, series }];
  });
}

export function htmlOf(report: Report): string {
  const { seconds = [], brokenPromises, invalidBecause, name } = report;
  const wrong = [...invalidBecause, ...brokenPromises];
  const verdict =
    wrong.length === 0
      ? '<p class="good">Every promise held.</p>'
      : `<ul class="bad">${wrong.map((why) => `<li>${escaped(why)}</li>`).join('')}</ul>`;
  const folder = dist();
  const x = seconds.map(({ second }) => second);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${escaped(name)}: load test</title>
<style>${readFileSync(join(folder, 'uPlot.min.css'), 'utf8')}${style}</style></head>
<body><h1>${escaped(name)}</h1>${verdict}
<h2>Figures</h2><pre>${escaped(renderReport(report))}</pre>
<h2>Stages</h2><div class="wide">${stageTable(report)}</div>
<h2>Every second</h2><div class="charts" id="charts"></div>
<script>${readFileSync(join(folder, 'uPlot.iife.min.js'), 'utf8')}</script>
<script>const x = ${asScript(x)}; const charts = ${asScript(chartsOf(seconds))};${script}</script>
</body></html>
`;
}
