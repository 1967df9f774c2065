import { appendFile, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DiskOutbox, openDiskOutbox, type Spilled } from '../../../daemon/link/disk-outbox.ts';

let folder: string;
const opened: DiskOutbox[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-disk-'));
});
afterEach(async () => {
  for (const outbox of opened.splice(0)) await outbox.close();
  await rm(folder, { recursive: true, force: true });
});

async function open(bytesMax = 2 ** 20, segmentBytes = 2_048): Promise<DiskOutbox> {
  const outbox = await openDiskOutbox({ folder, bytesMax, segmentBytes });
  opened.push(outbox);
  return outbox;
}
const sample = (seq: number, node = 'pve1', incarnation = 1): Spilled => ({
  node,
  incarnation,
  seq,
  payload: JSON.stringify({ seq, text: 'ä'.repeat(100) }),
});
const samples = (from: number, to: number, node?: string, incarnation?: number): Spilled[] =>
  Array.from({ length: to - from + 1 }, (_, index) => sample(from + index, node, incarnation));

async function drain(outbox: DiskOutbox): Promise<Spilled[]> {
  const all: Spilled[] = [];
  for (let next = await outbox.next(); next; next = await outbox.next()) all.push(next);
  return all;
}

describe('disk outbox', () => {
  it('gives back what was written, in order, again after a restart', async () => {
    const outbox = await open();
    await outbox.append(samples(1, 30));
    expect(await drain(outbox)).toEqual(samples(1, 30));
    outbox.rewind();
    expect((await outbox.next())?.seq).toBe(1);
    await outbox.close();
    const again = await open();
    expect(again.count()).toBe(30);
    expect(await drain(again)).toEqual(samples(1, 30));
    await again.append(samples(1, 2, 'pve1', 2));
    expect(await drain(again)).toEqual(samples(1, 2, 'pve1', 2));
  });

  it('goes on reading in the segment that is still being written', async () => {
    const outbox = await open();
    await outbox.append(samples(1, 2));
    expect(await drain(outbox)).toEqual(samples(1, 2));
    await outbox.append(samples(3, 4));
    expect(await drain(outbox)).toEqual(samples(3, 4));
  });

  it('skips what is covered and deletes segments that are covered whole', async () => {
    const outbox = await open();
    await outbox.append([...samples(1, 20), ...samples(1, 20, 'pve2')]);
    await outbox.cover('pve1', 1, 20);
    await outbox.cover('pve2', 2, 99);
    expect(await drain(outbox)).toEqual(samples(1, 20, 'pve2'));
    await outbox.cover('pve2', 1, 20);
    expect(outbox.count()).toBe(0);
    expect(await readdir(folder)).toEqual([]);
    await outbox.append(samples(21, 21));
    expect(await drain(outbox)).toEqual(samples(21, 21));
  });

  it('tells from where on it holds anything of a start', async () => {
    const outbox = await open(10_000);
    expect(outbox.heldFrom('pve1', 1)).toBe(1);
    await outbox.append([...samples(21, 40), ...samples(1, 2, 'pve1', 2)]);
    expect(outbox.heldFrom('pve1', 1)).toBe(21);
    await outbox.cover('pve1', 1, 30);
    expect([outbox.heldFrom('pve1', 1), outbox.heldFrom('pve1', 2)]).toEqual([31, 1]);
    await outbox.append(samples(41, 140));
    expect(outbox.dropped()).toBeGreaterThan(0);
    const [first] = await drain(outbox);
    expect(outbox.heldFrom('pve1', 1)).toBe(first?.seq);
    await outbox.close();
    const again = await open(10_000);
    expect(again.heldFrom('pve1', 1)).toBe(first?.seq);
  });

  it('keeps its bound by dropping the oldest segment, and counts what was in it', async () => {
    const outbox = await open(10_000);
    await outbox.append(samples(1, 200));
    const left = await drain(outbox);
    expect(left.at(-1)?.seq).toBe(200);
    expect(left.length).toBeGreaterThan(20);
    expect(outbox.dropped()).toBe(200 - left.length);
    const sizes = await Promise.all(
      (await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size),
    );
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(10_000);
  });

  it('reads up to the tear at every byte a crash may have left, and never half a record', async () => {
    const outbox = await open();
    await outbox.append(samples(1, 3));
    await outbox.close();
    const [name = ''] = await readdir(folder);
    const whole = await readFile(join(folder, name));
    const length = whole.length / 3;
    for (let bytes = 0; bytes <= whole.length; bytes += 7) {
      await writeFile(join(folder, name), whole.subarray(0, bytes));
      const torn = await open();
      expect(await drain(torn)).toEqual(samples(1, Math.floor(bytes / length)));
      await torn.close();
    }
  });

  it('believes nothing behind a flipped bit and takes new samples all the same', async () => {
    const outbox = await open();
    await outbox.append(samples(1, 3));
    await outbox.close();
    const [name = ''] = await readdir(folder);
    const bytes = await readFile(join(folder, name));
    bytes[bytes.length / 3 + 40] = (bytes[bytes.length / 3 + 40] ?? 0) ^ 1;
    await writeFile(join(folder, name), bytes);
    const damaged = await open();
    expect(damaged.dropped()).toBeGreaterThan(0);
    await damaged.append(samples(9, 9));
    expect(await drain(damaged)).toEqual([sample(1), sample(9)]);
  });

  it('leaves foreign files alone and keeps its own to the owner', async () => {
    await writeFile(join(folder, 'notes.txt'), 'mine');
    const outbox = await open();
    await outbox.append(samples(1, 1));
    await outbox.sync();
    const names = await readdir(folder);
    expect(names).toContain('notes.txt');
    const segment = names.find((name) => name.endsWith('.samples')) ?? '';
    expect((await stat(join(folder, segment))).mode & 0o777).toBe(0o600);
    await appendFile(join(folder, 'notes.txt'), '!');
    await outbox.close();
  });
});
