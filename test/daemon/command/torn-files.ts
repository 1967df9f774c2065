/**
 * A disk that can lose power: only what was fsynced survives for sure, and of the rest exactly
 * as many bytes as the test says. Errors can be ordered per operation.
 */
import type { FilePort } from '../../../daemon/command/files.ts';

type Kept = { durable: Buffer; pending: Buffer };
const noCounts = () => ({
  append: 0,
  sync: 0,
  preallocate: 0,
  rename: 0,
  remove: 0,
  exists: 0,
  syncFolder: 0,
  truncate: 0,
});
type Operation = keyof ReturnType<typeof noCounts>;

export type TornDisk = {
  files(): FilePort;
  /** Bytes handed to append so far, durable or not. */
  appendedBytes(): number;
  /** From now on at most this many more bytes reach the disk, then the power is gone. */
  loseAfter(bytes: number): void;
  isDead(): boolean;
  /** Power back: what was not fsynced is gone, but for what already reached the disk. */
  restart(): void;
  fail(operation: Operation, code: string, times?: number): void;
  content(name: string): Buffer | undefined;
  write(name: string, content: Buffer): void;
  names(): string[];
  counts: Record<Operation, number>;
};

const never = new Promise<never>(() => undefined);

export function tornDisk(): TornDisk {
  let disk = new Map<string, Kept>();
  let generation = 0;
  let isDead = false;
  let left = Number.POSITIVE_INFINITY;
  let appended = 0;
  const faults = new Map<Operation, { code: string; times: number }>();
  const counts = noCounts();
  const kept = (name: string): Kept => {
    const found = disk.get(name) ?? { durable: Buffer.alloc(0), pending: Buffer.alloc(0) };
    disk.set(name, found);
    return found;
  };
  const whole = (file: Kept) => Buffer.concat([file.durable, file.pending]);

  const files = (): FilePort => {
    const mine = generation;
    const step = async (operation: Operation | null): Promise<void> => {
      await Promise.resolve();
      if (isDead || mine !== generation) return never;
      if (!operation) return undefined;
      counts[operation] += 1;
      const fault = faults.get(operation);
      if (!fault || fault.times <= 0) return undefined;
      fault.times -= 1;
      throw Object.assign(new Error(`${fault.code}: ${operation}`), { code: fault.code });
    };
    return {
      async read(name) {
        await step(null);
        const file = disk.get(name);
        return file ? whole(file) : null;
      },
      async exists(name) {
        await step('exists');
        return disk.has(name);
      },
      async append(name, bytes) {
        await step('append');
        const file = kept(name);
        const taken = Math.min(left, bytes.length);
        left -= taken;
        appended += taken;
        file.pending = Buffer.concat([file.pending, bytes.subarray(0, taken)]);
        if (taken === bytes.length) return;
        isDead = true;
        await never;
      },
      async sync(name) {
        await step('sync');
        const file = kept(name);
        file.durable = whole(file);
        file.pending = Buffer.alloc(0);
      },
      async preallocate(name) {
        await step('preallocate');
        kept(name);
      },
      async truncate(name, length) {
        await step('truncate');
        const file = kept(name);
        file.durable = whole(file).subarray(0, length);
        file.pending = Buffer.alloc(0);
      },
      async rename(from, to) {
        await step('rename');
        const file = kept(from);
        disk.delete(from);
        disk.set(to, file);
      },
      async remove(name) {
        await step('remove');
        disk.delete(name);
      },
      syncFolder: () => step('syncFolder'),
      close: async () => undefined,
    };
  };
  return {
    files,
    appendedBytes: () => appended,
    loseAfter(bytes) {
      left = bytes;
    },
    isDead: () => isDead,
    restart() {
      generation += 1;
      isDead = false;
      left = Number.POSITIVE_INFINITY;
      disk = new Map(
        [...disk].map(([name, file]) => [name, { durable: whole(file), pending: Buffer.alloc(0) }]),
      );
    },
    fail: (operation, code, times = 1) => void faults.set(operation, { code, times }),
    content: (name) => {
      const file = disk.get(name);
      return file && whole(file);
    },
    write: (name, content) => void disk.set(name, { durable: content, pending: Buffer.alloc(0) }),
    names: () => [...disk.keys()].sort(),
    counts,
  };
}
