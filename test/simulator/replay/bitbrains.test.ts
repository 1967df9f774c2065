import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bitbrainsMonth, readBitbrains } from '../../../simulator/replay/bitbrains.ts';
import { demandAt, ramAt } from '../../../simulator/replay/trace.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-bitbrains-'));
});
afterEach(() => rm(folder, { recursive: true }));

const stepsPerDay = 288;
const meta = [
  '# row order = matrix row',
  'vm,cores,cpu_mhz_provisioned,mem_mb_provisioned,first,last,n_samples',
  '1,2,5852,8192,0,575,576',
  '7,1,2926,3976,0,575,576',
];

async function write(values: (guest: number, step: number) => number, lines = meta): Promise<void> {
  const bytes = new Uint8Array(2 * 2 * 2 * stepsPerDay);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < 4 * stepsPerDay; at += 1) {
    const [guest, step] = [Math.floor(at / (2 * stepsPerDay)), at % (2 * stepsPerDay)];
    view.setUint16(2 * at, values(guest, step), true);
  }
  await writeFile(join(folder, '2013-7_meta.csv.gz'), gzipSync(`${lines.join('\n')}\n`));
  await writeFile(join(folder, '2013-7_cpu_mhz_used.u16le.gz'), gzipSync(bytes));
  await writeFile(join(folder, '2013-7_mem_mb_used.u16le.gz'), gzipSync(bytes));
}

describe('a Bitbrains month', () => {
  it('gives MHz and memory of the days asked for, of each guest', async () => {
    await write((guest, step) => 1000 * guest + step);
    expect(await bitbrainsMonth(folder)).toBe('2013-7');
    const trace = await readBitbrains(folder, 2, 2);
    expect(trace).toMatchObject({ name: '2013-7-2', guestCount: 2, steps: 288 });
    const demand = new Float64Array(2);
    demandAt(trace, 300, demand);
    expect(demand[0]).toBeCloseTo(289, 6);
    expect(demand[1]).toBeCloseTo(1289, 6);
    expect(ramAt(trace, 1, 0)).toBe(1288);
    expect([...trace.ramMb]).toEqual([8192, 3976]);
  });

  it('leaves out a guest that was given nothing, and keeps the row of the next', async () => {
    await write(
      (guest, step) => 1000 * guest + step,
      [...meta.slice(0, 2), '1,0,0.0,0.0,0,1,1', meta[3]!],
    );
    const trace = await readBitbrains(folder, 1, 2);
    expect(trace.guestNames).toEqual(['7']);
    expect([trace.cpu[0], trace.cpu[575]]).toEqual([1000, 1575]);
  });

  it('names what it does not hold', async () => {
    await expect(readBitbrains(folder, 1, 1)).rejects.toThrow(/no \*_meta\.csv\.gz/);
    await write(() => 0);
    await expect(readBitbrains(folder, 3, 3)).rejects.toThrow(/holds days 1 to 2/);
    await write(() => 0, [...meta, ...Array.from({ length: 3 }, () => '9,1,2926,4000,0,1,1')]);
    await expect(readBitbrains(folder, 1, 1)).rejects.toThrow(/no whole number of samples of 5/);
    await write(() => 0, [...meta.slice(0, 3), '7,1,many,3976,0,1,1']);
    await expect(readBitbrains(folder, 1, 1)).rejects.toThrow(/guest 7 has no cpu or memory/);
  });
});
