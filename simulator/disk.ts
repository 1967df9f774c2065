/**
 * The disk of a simulated node: what was written stays through a power failure, and a daemon that
 * lost power can write nothing more, however much of its code still runs in this process. Its
 * calls then never come back, as on a machine that is gone; an error would be something it sees.
 */
import type { FilePort } from '../daemon/command/files.ts';

export type Mounted = { files: FilePort; unmount(): void };

/** One start of a daemon sees the disk through this; the next start mounts it anew. */
export function mount(disk: FilePort): Mounted {
  let isMounted = true;
  const guarded =
    <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
    (...args: A): Promise<R> =>
      isMounted ? call(...args) : new Promise<R>(() => undefined);
  return {
    files: {
      read: guarded((name: string) => disk.read(name)),
      exists: guarded((name: string) => disk.exists(name)),
      append: guarded((name: string, bytes: Uint8Array) => disk.append(name, bytes)),
      truncate: guarded((name: string, length: number) => disk.truncate(name, length)),
      sync: guarded((name: string) => disk.sync(name)),
      rename: guarded((from: string, to: string) => disk.rename(from, to)),
      remove: guarded((name: string) => disk.remove(name)),
      preallocate: guarded((name: string, bytes: number) => disk.preallocate(name, bytes)),
      syncFolder: guarded(() => disk.syncFolder()),
      close: () => disk.close(),
    },
    unmount() {
      isMounted = false;
    },
  };
}
