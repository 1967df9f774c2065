import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  planetlabDays,
  readPlacement,
  readPlanetlab,
} from '../../../simulator/replay/planetlab.ts';
import { demandAt, reordered, sampleAt } from '../../../simulator/replay/trace.ts';
import { tinyTrace, wander, writeCompact, writeSource } from './tiny.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-trace-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('a PlanetLab folder', () => {
  it('reads the same day from the layout of the source and from the compact one', async () => {
    const cpu = wander(12, 1);
    await writeSource(folder, '20110101', cpu);
    await writeCompact(folder, '20110102', cpu);
    expect(await planetlabDays(folder)).toEqual(['20110101', '20110102']);
    const source = await readPlanetlab(folder, '20110101');
    const compact = await readPlanetlab(folder, '20110102');
    expect({ ...source, name: '' }).toEqual({ ...compact, name: '' });
    expect(source.guestCount).toBe(12);
    expect([source.mips[0], source.mips[3], source.mips[11]]).toEqual([2500, 2000, 500]);
  });

  it.each([
    ['a percent above 100', '101', /host-000:1: "101" is no whole percent/],
    ['a fraction', '1.5', /no whole percent/],
    ['a word', 'x', /no whole percent/],
  ])('refuses %s and names file and line', async (_, value, message) => {
    await writeSource(folder, '20110101', wander(1, 1));
    await writeFile(join(folder, '20110101', 'host-000'), `${value}\n`.repeat(288));
    await expect(readPlanetlab(folder, '20110101')).rejects.toThrow(message);
  });

  it('refuses a short file and a matrix that does not belong to its names', async () => {
    await writeSource(folder, '20110101', wander(1, 1));
    await writeFile(join(folder, '20110101', 'host-000'), '1\n2\n');
    await expect(readPlanetlab(folder, '20110101')).rejects.toThrow(/2 lines, 288 are needed/);
    await writeCompact(folder, '20110102', wander(2, 1));
    await writeFile(join(folder, '20110102.u8.gz'), gzipSync(wander(3, 1)));
    await expect(readPlanetlab(folder, '20110102')).rejects.toThrow(/for 2 names/);
  });

  it('reads a placement that lies beside the day, and refuses one that forgets a guest', async () => {
    const trace = tinyTrace(3, 1);
    expect(await readPlacement(folder, trace)).toBeNull();
    const path = join(folder, '20110101_initial_placement.csv.gz');
    await writeFile(path, gzipSync('0,1\n1,3\n2,5\n'));
    expect([...((await readPlacement(folder, trace)) ?? [])]).toEqual([1, 3, 5]);
    await writeFile(path, gzipSync('0,1\n2,5\n'));
    await expect(readPlacement(folder, trace)).rejects.toThrow(/not every guest/);
  });
});

describe('a trace', () => {
  it('gives the demand between two samples in proportion, and holds the last', () => {
    const trace = tinyTrace(2, 3);
    trace.cpu.fill(0);
    trace.cpu[0] = 10;
    trace.cpu[1] = 20;
    trace.cpu[287] = 40;
    const demand = new Float64Array(2);
    demandAt(trace, 150, demand);
    expect(demand[0]).toBeCloseTo(0.15 * trace.mips[0]!, 9);
    demandAt(trace, 287 * 300 + 100, demand);
    expect(demand[0]).toBeCloseTo(0.4 * trace.mips[0]!, 9);
  });

  it('gives guests other sizes in another order, and keeps what each did', () => {
    const trace = tinyTrace(4, 5);
    const turned = reordered(trace, [3, 2, 1, 0], 'turned');
    expect(turned.guestNames).toEqual(trace.guestNames.toReversed());
    expect(sampleAt(turned, 0, 100)).toBe(sampleAt(trace, 3, 100));
    expect(turned.mips).toEqual(trace.mips);
  });
});
