/**
 * One backend per data folder: the embedded stores belong to one process. The lock names its
 * holder by pid and start time, so that neither a crash nor a reused pid keeps the door shut.
 */
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export class DataFolderLocked extends Error {
  override readonly name = 'DataFolderLocked';
  readonly code = 'KR_DATA_LOCKED';
}

type Holder = { pid: number; startedAtTicks: string };

/** Field 22 of /proc/<pid>/stat; counted after the command name, which may hold spaces. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

function holderOf(path: string): Holder | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Holder;
  } catch {
    return null;
  }
}

const isAlive = (holder: Holder | null): holder is Holder =>
  holder !== null && startOf(holder.pid) === holder.startedAtTicks;

/** What root wrote there the owner's server could not read: root becomes the owner, for good. */
function becomeOwner(folder: string): void {
  const { uid, gid } = statSync(folder);
  if (process.geteuid?.() !== 0 || uid === 0) return;
  process.setgroups?.([gid]);
  process.setgid?.(gid);
  process.setuid?.(uid);
}

/**
 * Takes `<folder>/lock`; the answer releases it. Root goes on as the owner of the folder.
 * @throws DataFolderLocked naming the process that holds it.
 */
export function lockFolder(folder: string, pid: number = process.pid): () => void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  becomeOwner(folder);
  const path = join(folder, 'lock');
  const text = JSON.stringify({ pid, startedAtTicks: startOf(pid) ?? '' });
  for (let attempt = 1; ; attempt += 1) {
    try {
      writeFileSync(path, text, { flag: 'wx', mode: 0o600 });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = holderOf(path);
    if (isAlive(holder) || attempt > 1) {
      throw new DataFolderLocked(
        `${folder} is in use by process ${holder?.pid ?? 'unknown'}: ` +
          'stop it, or set KR_DATA_DIR to another folder',
      );
    }
    rmSync(path, { force: true });
  }
}
