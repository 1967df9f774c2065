/**
 * The few file operations the journal needs, over a real folder or in memory. Names are plain
 * file names inside that folder. Nothing here retries or forgives: what an error means is the
 * journal's decision. `append` may have written a part when it rejects.
 */
import { access, type FileHandle, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFolder } from '../durable.ts';

export type FilePort = {
  /** null when there is no such file. */
  read(name: string): Promise<Uint8Array | null>;
  exists(name: string): Promise<boolean>;
  /** Creates the file when it is missing. */
  append(name: string, bytes: Uint8Array): Promise<void>;
  truncate(name: string, length: number): Promise<void>;
  sync(name: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** A durable file of that many bytes, there to be removed when the disk is full. */
  preallocate(name: string, bytes: number): Promise<void>;
  /** Makes creations, renames and removals durable. */
  syncFolder(): Promise<void>;
  close(): Promise<void>;
};

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** Opens nothing until the first call; keeps one descriptor per file written to. */
export function nodeFiles(folder: string): FilePort {
  const handles = new Map<string, FileHandle>();
  const writable = async (name: string): Promise<FileHandle> => {
    const known = handles.get(name);
    if (known) return known;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const handle = await open(join(folder, name), 'a', 0o600);
    handles.set(name, handle);
    return handle;
  };
  const forget = async (name: string): Promise<void> => {
    const handle = handles.get(name);
    handles.delete(name);
    await handle?.close();
  };
  return {
    async read(name) {
      try {
        return await readFile(join(folder, name));
      } catch (error) {
        if (isMissing(error)) return null;
        throw error;
      }
    },
    exists: (name) =>
      access(join(folder, name)).then(
        () => true,
        (error: unknown) => !isMissing(error),
      ),
    append: async (name, bytes) => (await writable(name)).appendFile(bytes),
    truncate: async (name, length) => (await writable(name)).truncate(length),
    sync: async (name) => (await writable(name)).sync(),
    async rename(from, to) {
      await forget(from);
      await forget(to);
      await rename(join(folder, from), join(folder, to));
    },
    async remove(name) {
      await forget(name);
      await rm(join(folder, name), { force: true });
    },
    async preallocate(name, bytes) {
      const handle = await writable(name);
      await handle.appendFile(Buffer.alloc(bytes));
      await handle.sync();
      await forget(name);
    },
    syncFolder: () => syncFolder(folder),
    async close() {
      for (const name of handles.keys()) await forget(name);
    },
  };
}

/** A folder that lives as long as the object: for simulated fleets. */
export function memoryFiles(): FilePort {
  const files = new Map<string, Uint8Array[]>();
  return {
    read: async (name) => {
      const chunks = files.get(name);
      return chunks ? Buffer.concat(chunks) : null;
    },
    exists: async (name) => files.has(name),
    async append(name, bytes) {
      const chunks = files.get(name) ?? [];
      chunks.push(bytes);
      files.set(name, chunks);
    },
    async truncate(name, length) {
      files.set(name, [Buffer.concat(files.get(name) ?? []).subarray(0, length)]);
    },
    sync: async () => undefined,
    async rename(from, to) {
      const content = files.get(from);
      if (!content) throw Object.assign(new Error(`no file ${from}`), { code: 'ENOENT' });
      files.delete(from);
      files.set(to, content);
    },
    async remove(name) {
      files.delete(name);
    },
    /** Memory has no full disk to prepare for. */
    preallocate: async (name) => void files.set(name, []),
    syncFolder: async () => undefined,
    close: async () => undefined,
  };
}
