/**
 * How the cost of a node grows with their number: `bench:ingest` once for each size, a process each,
 * so that no run inherits the heap of another. Prints a table, and draws CPU and memory per node.
 *
 *   npm run bench:growth -- --sizes 128,512,2048,8192 --interval 5 --samples 4 --plot docs/growth.svg
 *
 * Exits with 99 when a run lost or refused a sample. The last line is one JSON object.
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values: asked } = parseArgs({
  options: {
    sizes: { type: 'string', default: '128,256,512,1024,2048,4096,8192' },
    guests: { type: 'string', default: '20' },
    interval: { type: 'string', default: '5' },
    samples: { type: 'string', default: '4' },
    plot: { type: 'string' },
  },
});

type Run = {
  nodes: number;
  values: number;
  tookSeconds: number;
  cpuSecondsPerMillionValues: Record<string, number>;
  residentMb: number;
  lost: number;
  rejected: number;
  loadAverage: number;
};

/** A run that lost something ends with 99 and still says what it found. */
const ingest = (nodes: number): Promise<Run> =>
  new Promise((resolve, reject) => {
    const { guests, interval, samples } = asked;
    const rest = ['--guests', guests, '--interval', interval, '--samples', samples];
    const file = join(import.meta.dirname, 'ingest.ts');
    execFile(
      process.execPath,
      [file, '--nodes', String(nodes), ...rest],
      (error, stdout, stderr) => {
        const line = stdout.trim().split('\n').at(-1) ?? '';
        if (line.startsWith('{')) resolve(JSON.parse(line) as Run);
        else reject(new Error(`${nodes} nodes: ${error?.message ?? line}\n${stderr}`));
      },
    );
  });

const rounded = (value: number, digits = 2): number => Number(value.toFixed(digits));

function rowOf(run: Run) {
  const { nodes, values, cpuSecondsPerMillionValues: costs, residentMb } = run;
  const millions = values / 1e6;
  // Roll-ups are of minutes, not of this run's samples.
  const cpuSeconds = ((costs['total'] ?? NaN) - (costs['rollUp'] ?? 0)) * millions;
  const [stage, share] = Object.entries(costs)
    .filter(([name]) => name !== 'total' && name !== 'rollUp')
    .toSorted(([, a], [, b]) => b - a)[0] as [string, number];
  return {
    nodes,
    coreRatio: rounded(cpuSeconds / run.tookSeconds),
    microsecondsPerSample: rounded((cpuSeconds * 1e6) / (nodes * Number(asked.samples)), 0),
    residentMb,
    kibPerNode: rounded((residentMb * 1024) / nodes, 0),
    mostIn: `${stage} ${rounded((share * millions * 100) / cpuSeconds, 0)} %`,
    lost: run.lost,
    loadAverage: run.loadAverage,
  };
}
type Row = ReturnType<typeof rowOf>;

const [width, height, margin] = [640, 360, 60];

/** One curve over the sizes, which double; `of` is scaled to its own highest value. */
function curve(rows: readonly Row[], of: (row: Row) => number, colour: string): string {
  const top = Math.max(...rows.map(of));
  const low = Math.log2(rows[0]?.nodes ?? 1);
  const span = Math.max(1, Math.log2(rows.at(-1)?.nodes ?? 2) - low);
  const points = rows.map((row) => {
    const x = margin + ((Math.log2(row.nodes) - low) / span) * (width - 2 * margin);
    const y = height - margin - (of(row) / top) * (height - 2 * margin);
    return [x, y, of(row)] as const;
  });
  const line = points.map(([x, y]) => `${rounded(x, 1)},${rounded(y, 1)}`).join(' ');
  const labels = points.map(
    ([x, y, value]) =>
      `<text x="${rounded(x, 1)}" y="${rounded(y - 8, 1)}" fill="${colour}">${value}</text>`,
  );
  return `<polyline points="${line}" fill="none" stroke="${colour}" stroke-width="2"/>${labels.join('')}`;
}

function plot(rows: readonly Row[]): string {
  const step = (width - 2 * margin) / Math.max(1, rows.length - 1);
  const sizes = rows.map(
    ({ nodes }, index) =>
      `<text x="${rounded(margin + index * step, 1)}" y="${height - margin + 20}">${nodes}</text>`,
  );
  const legend = [
    `<text x="${2.5 * margin}" y="20" fill="#1f6feb">microseconds of CPU per sample</text>`,
    `<text x="${width - 2 * margin}" y="20" fill="#bc4c00">KiB of memory per node</text>`,
    `<text x="${width / 2}" y="${height - 12}">nodes, ${asked.guests} guests each</text>`,
  ];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" text-anchor="middle">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    curve(rows, ({ microsecondsPerSample }) => microsecondsPerSample, '#1f6feb'),
    curve(rows, ({ kibPerNode }) => kibPerNode, '#bc4c00'),
    ...sizes,
    ...legend,
    '</svg>\n',
  ].join('\n');
}

const sizes = asked.sizes.split(',').map(Number);
if (sizes.some((size) => !Number.isInteger(size) || size < 1)) {
  throw new Error('--sizes: write whole numbers with commas between');
}
const rows: Row[] = [];
for (const size of sizes) {
  rows.push(rowOf(await ingest(size)));
  process.stdout.write(`${JSON.stringify(rows.at(-1))}\n`);
}
// What fell out of a buffer was not stored, so its cost is not the whole.
const whole = rows.filter(({ lost }) => lost === 0);
if (asked.plot !== undefined) await writeFile(asked.plot, plot(whole));
process.stdout.write(`${JSON.stringify({ intervalSeconds: Number(asked.interval), rows })}\n`);
if (rows.some(({ lost }) => lost > 0)) process.exitCode = 99;
