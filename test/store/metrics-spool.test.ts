import { appendFile, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSpool, type Spool, type SpoolBatch } from '../../backend/store/metrics/spool.ts';

let folder: string;
let dropped: number[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-spool-'));
  dropped = [];
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const open = (change: { bytesMax?: number; segmentBytes?: number } = {}): Promise<Spool> =>
  openSpool({ folder, bytesMax: 1e9, onDropped: (samples) => dropped.push(samples), ...change });

const batch = (seq: number, lines = [`node,cluster=home,node=n1 seq=${seq}i ${seq}`]) =>
  ({
    bucket: 'raw',
    names: [{ cluster: 'home', node: 'n1', incarnation: 1, first: seq, last: seq }],
    samples: 1,
    lines,
  }) satisfies SpoolBatch;

async function drained(spool: Spool): Promise<string[]> {
  const lines: string[] = [];
  for (let next = await spool.oldest(); next; next = await spool.oldest()) {
    lines.push(...next.lines);
    await next.done();
  }
  return lines;
}

const lineOf = (seq: number) => batch(seq).lines[0];

/** Lines that do not compress, so that a test can fill a bound. */
const noise = (seq: number, count: number): string[] =>
  Array.from({ length: count }, (_, index) => {
    const value = (Math.sin(seq * 1_000 + index) * 43758.5453) % 1;
    return `node,cluster=home,node=n1 cpuRatio=${Math.abs(value)} ${seq}`;
  });

describe('the spool', () => {
  it('gives batches back in the order they came, once each', async () => {
    const spool = await open();
    for (const seq of [1, 2, 3]) await spool.append(batch(seq));
    expect(spool.figures()).toMatchObject({ samples: 3, dropped: 0 });
    expect(await drained(spool)).toEqual([1, 2, 3].map(lineOf));
    expect(spool.isEmpty()).toBe(true);
    expect(spool.figures()).toEqual({ bytes: 0, samples: 0, dropped: 0 });
    expect(await readdir(folder)).toEqual([]);
  });

  it('gives the same batch again until it is done', async () => {
    const spool = await open();
    await spool.append(batch(1));
    expect(await spool.oldest()).toMatchObject({ bucket: 'raw', lines: [lineOf(1)], samples: 1 });
    expect((await spool.oldest())?.lines).toEqual([lineOf(1)]);
  });

  it('keeps everything and every name across a restart', async () => {
    const first = await open({ segmentBytes: 1 });
    for (const seq of [1, 2, 3]) await first.append(batch(seq));
    const second = await open();
    expect(second.names).toEqual([1, 2, 3].flatMap((seq) => batch(seq).names));
    await second.append(batch(4));
    expect(await drained(second)).toEqual([1, 2, 3, 4].map(lineOf));
  });

  it('cuts a record off that a crash has torn, and goes on after the last whole one', async () => {
    const first = await open();
    for (const seq of [1, 2]) await first.append(batch(seq));
    const [name = ''] = await readdir(folder);
    const file = join(folder, name);
    const bytes = await readFile(file);
    await writeFile(file, bytes.subarray(0, bytes.length - 3));
    const second = await open();
    expect(second.figures().samples).toBe(1);
    await second.append(batch(3));
    const third = await open();
    expect(await drained(third)).toEqual([1, 3].map(lineOf));
  });

  it('does not read what follows a record whose bytes have changed', async () => {
    const first = await open();
    await first.append(batch(1));
    const [name = ''] = await readdir(folder);
    const file = join(folder, name);
    const whole = (await stat(file)).size;
    await first.append(batch(2));
    const bytes = await readFile(file);
    bytes[whole + 25] = (bytes[whole + 25] ?? 0) ^ 0xff;
    await writeFile(file, bytes);
    expect(await drained(await open())).toEqual([lineOf(1)]);
  });

  it('ignores what is not its own', async () => {
    await appendFile(join(folder, 'notes.txt'), 'mine');
    const spool = await open();
    await spool.append(batch(1));
    expect(await drained(spool)).toEqual([lineOf(1)]);
    expect(await readdir(folder)).toEqual(['notes.txt']);
  });

  it('drops the oldest when it is full, counts them, and stays within its bound', async () => {
    const bytesMax = 60_000;
    const spool = await open({ bytesMax, segmentBytes: 10_000 });
    for (let seq = 1; seq <= 20; seq += 1) await spool.append(batch(seq, noise(seq, 500)));
    const { bytes, samples, dropped: lost } = spool.figures();
    expect(bytes).toBeLessThanOrEqual(bytesMax);
    expect(samples).toBeGreaterThan(2);
    expect(samples + lost).toBe(20);
    expect(dropped.reduce((sum, count) => sum + count, 0)).toBe(lost);
    const kept = (await drained(spool)).map((line) => Number(line.split(' ').at(-1)));
    expect(new Set(kept)).toEqual(
      new Set(Array.from({ length: samples }, (_, index) => 21 - samples + index)),
    );
  });

  it('loses nothing else when the batch being sent falls out meanwhile', async () => {
    const spool = await open({ bytesMax: 12_000, segmentBytes: 1 });
    await spool.append(batch(1, noise(1, 500)));
    const sending = await spool.oldest();
    for (const seq of [2, 3, 4, 5]) await spool.append(batch(seq, noise(seq, 500)));
    expect(spool.figures().dropped).toBeGreaterThan(0);
    const before = spool.figures().samples;
    await sending?.done();
    expect(spool.figures().samples).toBe(before);
  });
});
