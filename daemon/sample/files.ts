/**
 * Reads small files and folders below one root, so that a test can offer a /proc and /sys of its
 * own. What cannot be read is null: a missing file and a forbidden one look the same from here.
 */
import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';

export type Files = {
  /** Whole text, or null. */
  text(path: string): Promise<string | null>;
  /** Text without the surrounding blanks, null when empty. */
  line(path: string): Promise<string | null>;
  /** Sorted names in a folder; null when there is no such folder. */
  names(folder: string): Promise<string[] | null>;
  /** Last part of where a symbolic link leads to. */
  linkName(path: string): Promise<string | null>;
  exists(path: string): Promise<boolean>;
};

/** An edge, not a bug: every failure to read means "not known here". */
const orNull = <T>(read: Promise<T>): Promise<T | null> => read.catch(() => null);

/**
 * The kernel answers these from memory, and a thread for each would cost more than they do: 30
 * guests every 5 s take 0.25 % of a core instead of 0.7 %. Everything else (a FUSE file system, a
 * slow sensor) may block.
 */
const isInstant = (path: string): boolean => /^(proc|sys\/fs\/cgroup)\//.test(path);

function instantly<T>(read: () => T): T | null {
  try {
    return read();
  } catch {
    return null;
  }
}

export function filesBelow(root: string): Files {
  const at = (path: string): string => join(root, path);
  const text = async (path: string): Promise<string | null> =>
    isInstant(path)
      ? instantly(() => readFileSync(at(path), 'utf8'))
      : orNull(readFile(at(path), 'utf8'));
  return {
    text,
    async line(path) {
      const trimmed = (await text(path))?.trim() ?? '';
      return trimmed === '' ? null : trimmed;
    },
    async names(folder) {
      const found = isInstant(folder)
        ? instantly(() => readdirSync(at(folder)))
        : await orNull(readdir(at(folder)));
      return found?.sort() ?? null;
    },
    async linkName(path) {
      const target = await orNull(readlink(at(path)));
      return target === null ? null : basename(target);
    },
    exists: async (path) =>
      (isInstant(path)
        ? instantly(() => realpathSync(at(path)))
        : await orNull(realpath(at(path)))) !== null,
  };
}
