import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { csvOf } from '../../../backend/http/csv.ts';
import { readRecordings } from '../../../simulator/load/recordings.ts';
import { buildFleetWorld } from '../../../simulator/world/build.ts';
import { guestWant } from '../../../simulator/world/power.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-recordings-'));
});
afterEach(() => rm(folder, { recursive: true }));

const startMs = 1_800_000_000_000;
async function exported(values: Record<string, (number | null)[]>): Promise<string> {
  const query = {
    cluster: 'home',
    entity: 'guest',
    metrics: ['cpuRatio'],
    fromMs: startMs,
    toMs: startMs + 60_000 * Math.max(...Object.values(values).map(({ length }) => length)),
    stepMs: 60_000,
    aggregate: 'mean',
  } as const;
  const series = Object.entries(values).map(([guest, points]) => ({
    metric: 'cpuRatio',
    node: 'pve1',
    guest,
    points: points.map((value, step): [number, number | null] => [startMs + step * 60_000, value]),
  }));
  let text = '';
  for await (const piece of csvOf(query, 1_000, async () => series)) text += piece;
  const path = join(folder, 'recorded.csv');
  await writeFile(path, text);
  return path;
}

describe('recorded load', () => {
  it('is read as the API exports it, a series for each guest, gaps kept at the value before', async () => {
    const path = await exported({ '100': [0.25, null, 0.75], '101': [0.5, 0.5, 1] });
    expect(await readRecordings(path, undefined)).toEqual([
      { stepMs: 60_000, ratios: Float32Array.of(0.25, 0.25, 0.75) },
      { stepMs: 60_000, ratios: Float32Array.of(0.5, 0.5, 1) },
    ]);
  });

  it('makes guests want what was recorded, linear between the steps and anew after the end', async () => {
    const recordings = await readRecordings(await exported({ '1': [0, 0.5, 1, 1] }), undefined);
    const world = buildFleetWorld({
      seed: 1,
      startMs,
      timeScale: 1,
      nodes: 1,
      nodesPerCluster: 1,
      guestsPerNode: 2,
      clusterPrefix: 'sim',
      load: { recordings },
    });
    const guest = [...world.guests.values()].find(({ state }) => state === 'running');
    if (!guest) throw new Error('nothing runs');
    const wants = [0, 30_000, 60_000, 90_000, 240_000, 300_000];
    expect(wants.map((ms) => guestWant(world, guest, startMs + ms))).toEqual([
      0, 0.25, 0.5, 0.75, 0, 0.5,
    ]);
  });

  it('comes from a PlanetLab folder too, whole percents as shares', async () => {
    const day = join(folder, '20110303');
    await import('node:fs/promises').then(({ mkdir }) => mkdir(day));
    await writeFile(
      join(day, 'vm'),
      `${Array.from({ length: 288 }, (_, k) => k % 101).join('\n')}\n`,
    );
    const [recording] = await readRecordings(folder, undefined);
    expect(recording?.stepMs).toBe(300_000);
    expect(
      [...(recording?.ratios.subarray(0, 3) ?? [])].map((ratio) => Math.round(ratio * 100)),
    ).toEqual([0, 1, 2]);
    await expect(readRecordings(folder, '20110304')).rejects.toThrow('holds 20110303');
  });

  it.each([
    ['time,cluster,node,cpuRatio\n2026-01-01T00:00:00Z,c,n,42\n', /:2: cpuRatio is '42'/],
    [
      'time,node,memoryUsedBytes\n2026-01-01T00:00:00Z,n,1\n',
      /needs the columns time and cpuRatio/,
    ],
    ['time,node,cpuRatio\n2026-01-01T00:00:00Z,n,0.5\n', /holds 0 steps/],
    ['time,node,cpuRatio\n"2026', /Quote Not Closed/i],
  ])('that cannot be used is named with the way out: %j', async (text, message) => {
    const path = join(folder, 'bad.csv');
    await writeFile(path, text);
    await expect(readRecordings(path, undefined)).rejects.toThrow(message);
  });

  it('that is not there is named', async () => {
    await expect(readRecordings(join(folder, 'none'), undefined)).rejects.toThrow('no such file');
  });
});
