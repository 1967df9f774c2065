/**
 * A disk under the journal that can lose power: what was not fsynced survives as any prefix of
 * its bytes, its last sectors sometimes as zeros, and file names as they were at some moment since
 * the folder was fsynced. It remembers what it promised, so that what comes back can be judged.
 */
import type { FilePort } from '../../daemon/command/files.ts';
import type { Chance } from './chance.ts';

type File = { durable: Buffer; pending: Buffer };
type Folder = Map<string, File>;
type Change = (folder: Folder) => void;

export type DiskStep = 'append' | 'sync' | 'rename' | 'sync-folder';

export type Disk = {
  /** A view for one life of the daemon: after its end nothing of it reaches the disk any more. */
  files(isAlive: () => boolean): FilePort;
  /** The process is gone, the kernel is not: everything written stays. */
  powerLoss(): void;
  content(name: string): Buffer | undefined;
  /** What survives whatever happens now. */
  durable(name: string): Buffer;
  /** Bytes of the journal that an fsync has promised, since the newest file of that name. */
  promised(): Buffer;
  /** Another disk, with nothing on it. */
  replace(): void;
  isReplaced(): boolean;
  /** The next fsync fails, as a broken disk does. */
  breakNextSync(): void;
  /** An fsync of the journal has failed in the life that writes now. */
  hasFailed(): boolean;
  tornWrites: number;
};

const sectorBytes = 512;
/** A new one each time: whoever waits for a shared one is kept in memory by it for ever. */
const never = (): Promise<never> => new Promise(() => undefined);
const empty: Buffer = Buffer.alloc(0);

export type DiskHooks = {
  chance: Chance;
  /** Before and after each step; true: the daemon or the host dies right here. */
  at: (step: DiskStep, side: 'before' | 'after') => boolean;
  /** An fsync takes its time. */
  pause: () => Promise<void>;
};

export function createDisk({ chance, at, pause }: DiskHooks): Disk {
  let now: Folder = new Map();
  /** Names as the folder's last fsync left them, and what changed since, in order. */
  let named: Folder = new Map();
  let changes: Change[] = [];
  let promised = empty;
  let isBroken = false;
  let hasFailed = false;
  let isReplaced = false;
  const whole = ({ durable, pending }: File): Buffer => Buffer.concat([durable, pending]);
  const change = (apply: Change): void => {
    apply(now);
    changes.push(apply);
  };
  const fileOf = (name: string): File => {
    const known = now.get(name);
    if (known) return known;
    const file = { durable: empty, pending: empty };
    change((folder) => void folder.set(name, file));
    return file;
  };
  const survives = ({ durable, pending }: File): Buffer => {
    if (pending.length === 0) return durable;
    disk.tornWrites += 1;
    const kept = chance.whole(0, pending.length);
    const bytes = Buffer.concat([durable, pending.subarray(0, kept)]);
    if (!chance.is(0.2)) return bytes;
    // The file has grown, its last sectors were never written.
    const unwritten = durable.length + Math.floor(chance.ratio() * kept);
    const from = Math.ceil(unwritten / sectorBytes) * sectorBytes;
    return from < bytes.length
      ? Buffer.concat([bytes.subarray(0, from), Buffer.alloc(bytes.length - from)])
      : bytes;
  };

  const files = (isAlive: () => boolean): FilePort => {
    hasFailed = false;
    const step = async (what: DiskStep, work: () => void): Promise<void> => {
      await Promise.resolve();
      if (!isAlive() || at(what, 'before')) return never();
      work();
      if (at(what, 'after')) return never();
      return undefined;
    };
    const look = async <T>(read: () => T): Promise<T> => {
      await Promise.resolve();
      return isAlive() ? read() : never();
    };
    return {
      read: (name) => look(() => (now.has(name) ? whole(fileOf(name)) : null)),
      exists: (name) => look(() => now.has(name)),
      append: (name, bytes) =>
        step('append', () => {
          const file = fileOf(name);
          file.pending = Buffer.concat([file.pending, bytes]);
        }),
      sync: async (name) => {
        await pause();
        return step('sync', () => {
          if (isBroken) {
            isBroken = false;
            hasFailed = name.startsWith('journal');
            throw Object.assign(new Error('EIO: fsync'), { code: 'EIO' });
          }
          const file = fileOf(name);
          file.durable = whole(file);
          file.pending = empty;
          if (name === 'journal') promised = file.durable;
        });
      },
      truncate: (name, length) =>
        look(() => {
          const file = fileOf(name);
          file.durable = file.durable.subarray(0, length);
          file.pending = file.pending.subarray(0, Math.max(0, length - file.durable.length));
        }),
      rename: (from, to) =>
        step('rename', () => {
          const file = fileOf(from);
          change((folder) => {
            folder.delete(from);
            folder.set(to, file);
          });
        }),
      remove: (name) => look(() => change((folder) => void folder.delete(name))),
      preallocate: (name) => look(() => void fileOf(name)),
      syncFolder: () =>
        step('sync-folder', () => {
          named = new Map(now);
          changes = [];
          promised = now.get('journal')?.durable ?? empty;
        }),
      close: async () => undefined,
    };
  };

  const disk: Disk = {
    files,
    powerLoss() {
      const kept = chance.whole(0, changes.length);
      for (const apply of changes.slice(0, kept)) apply(named);
      now = new Map(
        [...named].map(([name, file]) => [name, { durable: survives(file), pending: empty }]),
      );
      named = new Map(now);
      changes = [];
    },
    content: (name) => {
      const file = now.get(name);
      return file && whole(file);
    },
    durable: (name) => named.get(name)?.durable ?? empty,
    promised: () => promised,
    isReplaced: () => isReplaced,
    replace() {
      isReplaced = true;
      now = new Map();
      named = new Map();
      changes = [];
      promised = empty;
    },
    hasFailed: () => hasFailed,
    breakNextSync: () => void (isBroken = true),
    tornWrites: 0,
  };
  return disk;
}
