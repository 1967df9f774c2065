import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { memoryFiles, nodeFiles } from '../../../daemon/command/files.ts';
import {
  type CommandRecord,
  encodeFrame,
  type Entry,
  magic,
} from '../../../daemon/command/journal-format.ts';
import { type Journal, JournalError, openJournal } from '../../../daemon/command/journal.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { tornDisk } from './torn-files.ts';

const clock = virtualClock();
const newId = idsOf(clock, seededRandom(7));
const open = (files: Parameters<typeof openJournal>[0]['files'], wallMs = () => clock.wallMs()) =>
  openJournal({ files, newId, wallMs, log: memoryLog() });

const record = (commandId: string, more: Partial<CommandRecord> = {}): CommandRecord => ({
  commandId,
  node: 'n1',
  phase: 'received',
  seenIncarnation: 1,
  n: 0,
  atMs: clock.wallMs(),
  offer: null,
  grant: null,
  handle: null,
  bootId: null,
  outcome: null,
  unconfirmed: [],
  ...more,
});
const command = (more: Partial<CommandRecord> = {}): Entry => ({
  type: 'command',
  command: record(newId(), more),
});
/** Of a journal that was new at the start of the clock. */
const firstIncarnation = (clock.wallMs() - Date.UTC(2020, 0, 1)) / 1_000;
const ids = (journal: Journal) => [...journal.state.commands.keys()];

describe('journal', () => {
  it('counts its openings and remembers id, highest epoch and commands', async () => {
    const disk = tornDisk();
    const first = await open(disk.files());
    await first.append([{ type: 'epoch', epoch: 7 }, command({ handle: 'UPID:ä\n\0' })]);
    await first.append([{ type: 'epoch', epoch: 3 }]);
    disk.restart();
    const second = await open(disk.files());
    expect(second.journalId).toBe(first.journalId);
    expect(second.state).toMatchObject({
      incarnation: firstIncarnation + 1,
      maxEpoch: 7,
    });
    expect(second.state.commands).toEqual(first.state.commands);
    expect(await second.quarantined()).toBeNull();
  });

  it('numbers the starts of a lost folder above those of the folder before', async () => {
    let nowMs = Date.UTC(2026, 0, 1);
    const before = await open(memoryFiles(), () => nowMs);
    expect(before.state.incarnation).toBe(189_388_800);
    nowMs += 90_500;
    const after = await open(memoryFiles(), () => nowMs);
    expect(after.state.incarnation).toBe(189_388_890);
    expect(after.journalId).not.toBe(before.journalId);
  });

  it('counts on by one whatever the wall clock says later, and takes no nonsense from it', async () => {
    const disk = tornDisk();
    const first = await open(disk.files());
    disk.restart();
    const late = await open(disk.files(), () => clock.wallMs() + 86_400_000);
    expect(late.state.incarnation).toBe(first.state.incarnation + 1);
    disk.restart();
    const early = await open(disk.files(), () => 0);
    expect(early.state.incarnation).toBe(first.state.incarnation + 2);
    expect((await open(memoryFiles(), () => 0)).state.incarnation).toBe(1);
    const wrong = await open(memoryFiles(), () => Date.UTC(2900, 0, 1));
    expect(wrong.state.incarnation).toBe(2 ** 31);
  });

  it('tells nobody before the fsync, and lets those who wait share one', async () => {
    const disk = tornDisk();
    const journal = await open(disk.files());
    const before = disk.counts.sync;
    const first = journal.append([command()]);
    const others = Array.from({ length: 50 }, () => journal.append([command()]));
    expect(ids(journal)).toEqual([]);
    await first;
    expect(ids(journal)).toHaveLength(1);
    expect(disk.counts.sync - before).toBe(1);
    await Promise.all(others);
    expect(ids(journal)).toHaveLength(51);
    expect(disk.counts.sync - before).toBe(2);
  });

  it('flushes what is appended in the very turn in which the last flush ended', async () => {
    const journal = await open(memoryFiles());
    for (let round = 0; round < 20; round += 1) {
      const first = journal.append([command()]);
      const second = (async () => {
        await first;
        await journal.append([command()]);
      })();
      await second;
    }
    expect(ids(journal)).toHaveLength(40);
  });

  it('after a power loss at any byte holds a prefix with all that was acknowledged', async () => {
    const entries = [1, 2, 3].map((epoch): Entry[] => [{ type: 'epoch', epoch }, command()]);
    const whole = tornDisk();
    const journal = await open(whole.files());
    for (const batch of entries) await journal.append(batch);
    for (let bytes = 0; bytes <= whole.appendedBytes(); bytes += 1) {
      const disk = tornDisk();
      disk.loseAfter(bytes);
      let acknowledged = 0;
      let isOpen = false;
      const run = async () => {
        const torn = await open(disk.files());
        isOpen = true;
        for (const batch of entries) {
          await torn.append(batch);
          acknowledged += 1;
        }
      };
      void run();
      for (let turn = 0; turn < 80 && !disk.isDead(); turn += 1) await Promise.resolve();
      await new Promise((resolve) => setImmediate(resolve));
      disk.restart();
      const after = await open(disk.files());
      const kept = after.state.commands.size;
      expect(kept === acknowledged || kept === acknowledged + 1, `cut at ${bytes}`).toBe(true);
      expect(after.state.maxEpoch).toBe(kept);
      expect(after.state.incarnation).toBeGreaterThanOrEqual(firstIncarnation + (isOpen ? 1 : 0));
      expect(await after.quarantined()).toBeNull();
    }
  });

  it('goes on appending after a torn tail without losing what follows', async () => {
    const random = fc.record({
      keep: fc.double({ min: 0, max: 1, noNaN: true }),
      holes: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(random, async ({ keep, holes }) => {
        const disk = tornDisk();
        const journal = await open(disk.files());
        await journal.append([command()]);
        const acknowledged = disk.content('journal') ?? Buffer.alloc(0);
        const frame = Buffer.from(encodeFrame([command(), command()]));
        const tail = frame.subarray(0, Math.floor(frame.length * keep));
        // A page the disk never took reads as zeros although the file is already long.
        if (holes) tail.fill(0, Math.floor(tail.length / 2));
        disk.write('journal', Buffer.concat([acknowledged, tail]));
        disk.restart();
        const second = await open(disk.files());
        await second.append([command()]);
        disk.restart();
        const third = await open(disk.files());
        expect(ids(third)).toEqual(ids(second));
        expect(third.journalId).toBe(journal.journalId);
        expect([2, 4]).toContain(ids(third).length);
      }),
      { numRuns: 200 },
    );
  });

  it('sets a journal aside when any single byte of an acknowledged frame has changed', async () => {
    const disk = tornDisk();
    const journal = await open(disk.files());
    await journal.append([{ type: 'epoch', epoch: 41 }]);
    await journal.append([command()]);
    const good = Buffer.from(disk.content('journal') ?? []);
    for (let at = 0; at < good.length; at += 1) {
      // The digit of the version is no corruption but another format, tested below.
      if (at === magic.length - 2) continue;
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8));
      const other = tornDisk();
      other.write('journal', bad);
      const opened = await open(other.files());
      expect(await opened.quarantined(), `byte ${at}`).toMatch(/^journal\.quarantined-/);
      expect(opened.journalId).not.toBe(journal.journalId);
    }
  });

  it('saves the counters of a corrupt journal, and forgets the quarantine with its file', async () => {
    const disk = tornDisk();
    const journal = await open(disk.files());
    await journal.append([command()]);
    await journal.append([{ type: 'epoch', epoch: 41 }]);
    const bad = Buffer.from(disk.content('journal') ?? []);
    bad[magic.length + 30] = 0x21;
    disk.write('journal', bad);
    disk.restart();
    const after = await open(disk.files());
    expect(after.state.maxEpoch).toBe(41);
    expect(after.state.incarnation).toBe(firstIncarnation + 1);
    expect(ids(after)).toEqual([]);
    const name = await after.quarantined();
    expect(disk.content(name ?? '')).toEqual(bad);
    disk.restart();
    const again = await open(disk.files());
    expect(await again.quarantined()).toBe(name);
    await disk.files().remove(name ?? '');
    expect(await again.quarantined()).toBeNull();
  });

  it('refuses a journal of a newer version and leaves it as it is', async () => {
    const disk = tornDisk();
    const newer = Buffer.from('kernreaktor-journal 2\n');
    disk.write('journal', newer);
    await expect(open(disk.files())).rejects.toThrow(/version 2/);
    expect(disk.content('journal')).toEqual(newer);
  });

  it.each(['sync', 'append'] as const)('stops for ever after an error of %s', async (operation) => {
    const disk = tornDisk();
    const journal = await open(disk.files());
    disk.fail(operation, 'EIO');
    const both = [journal.append([command()]), journal.append([command()])];
    for (const one of both) await expect(one).rejects.toThrow(/EIO.*restart/);
    const before = { ...disk.counts };
    await expect(journal.append([command()])).rejects.toBeInstanceOf(JournalError);
    expect(journal.hasFailed()).toBe(true);
    expect(disk.counts).toEqual(before);
    expect(ids(journal)).toEqual([]);
  });

  it('frees its reserve on a full disk, writes on, and takes the reserve back later', async () => {
    const disk = tornDisk();
    const journal = await open(disk.files());
    expect(disk.names()).toContain('journal.reserve');
    disk.fail('append', 'ENOSPC');
    disk.fail('preallocate', 'ENOSPC');
    await journal.append([command()]);
    expect(ids(journal)).toHaveLength(1);
    expect(await journal.hasReserve()).toBe(false);
    expect(await journal.hasReserve()).toBe(true);
    disk.restart();
    expect(ids(await open(disk.files()))).toHaveLength(1);
  });

  it('stops when the disk is full and the reserve is used up', async () => {
    const disk = tornDisk();
    const journal = await open(disk.files());
    disk.fail('append', 'ENOSPC', 2);
    await expect(journal.append([command()])).rejects.toThrow(/ENOSPC/);
    expect(journal.hasFailed()).toBe(true);
  });

  it('compacts by a swap, keeps young and unsettled ids and forgets old settled ones', async () => {
    const disk = tornDisk();
    let nowMs = clock.wallMs();
    const wallMs = () => nowMs;
    const journal = await open(disk.files(), wallMs);
    const outcome = { step: 'refused', code: 'KR_X_Y', reason: 'r', wayOut: '' } as const;
    const settledId = newId();
    const common = { commandId: settledId, n: 1, journalId: newId(), incarnation: 1 };
    const settled = record(settledId, { phase: 'refused', outcome: { ...common, ...outcome } });
    const open1 = record(newId(), { phase: 'started' });
    await journal.append([settled, open1].map((c): Entry => ({ type: 'command', command: c })));
    const fill = async () => {
      const filler = record(open1.commandId, { phase: 'started', handle: 'x'.repeat(20_000) });
      for (let round = 0; round < 60; round += 1) {
        await journal.append([{ type: 'command', command: filler }]);
      }
    };
    const renamed = disk.counts.rename;
    await fill();
    expect(disk.counts.rename).toBe(renamed + 1);
    expect(disk.content('journal')?.length).toBeLessThan(1024 * 1024);
    expect(ids(journal)).toEqual([settled.commandId, open1.commandId]);
    nowMs += 8 * 24 * 3_600_000;
    await fill();
    expect(ids(journal)).toEqual([open1.commandId]);
    disk.restart();
    const after = await open(disk.files(), wallMs);
    expect(ids(after)).toEqual([open1.commandId]);
    expect(after.journalId).toBe(journal.journalId);
    expect(after.state.incarnation).toBe(firstIncarnation + 1);
  });

  it('survives a power loss at any moment of a compaction', async () => {
    const filler = record(newId(), { phase: 'started', handle: 'x'.repeat(200_000) });
    const entry: Entry = { type: 'command', command: filler };
    for (const more of [0, 1, 500, 100_000, 200_000, 200_900, 201_500, 400_000]) {
      const disk = tornDisk();
      const journal = await open(disk.files());
      for (let round = 0; round < 5; round += 1) await journal.append([entry]);
      const size = encodeFrame([entry]).length;
      disk.loseAfter(size + more);
      void journal.append([entry]).catch(() => undefined);
      for (let turn = 0; turn < 20; turn += 1) await new Promise((r) => setImmediate(r));
      disk.restart();
      const after = await open(disk.files());
      expect(after.journalId).toBe(journal.journalId);
      expect(after.state.commands.get(filler.commandId)).toEqual(filler);
      expect(after.state.incarnation).toBe(firstIncarnation + 1);
    }
  });

  it('keeps a real folder private and reads back what it wrote there', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kr-journal-'));
    const inside = join(folder, 'commands');
    const journal = await open(nodeFiles(inside));
    await journal.append([command(), { type: 'epoch', epoch: 5 }]);
    await journal.close();
    expect((await stat(inside)).mode & 0o777).toBe(0o700);
    expect((await stat(join(inside, 'journal'))).mode & 0o777).toBe(0o600);
    expect((await stat(join(inside, 'journal.reserve'))).size).toBe(1024 * 1024);
    const again = await open(nodeFiles(inside));
    expect(again.state.commands).toEqual(journal.state.commands);
    expect(again.state).toMatchObject({
      incarnation: firstIncarnation + 1,
      maxEpoch: 5,
    });
    await again.close();
    await rm(folder, { recursive: true });
  });

  it('says what to do when its folder cannot be written', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kr-journal-'));
    await writeFile(join(folder, 'file'), '');
    const files = nodeFiles(join(folder, 'file', 'journal'));
    await expect(open(files)).rejects.toThrow(/folder must be writable/);
    await rm(folder, { recursive: true });
  });
});
