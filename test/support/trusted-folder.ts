/**
 * A temporary folder that programs of the administrator may stand in: beside the checkout, or
 * below the home folder where the checkout itself lies in a place that others may write, such as
 * /tmp, which is refused by design.
 */
import { lstatSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

const beside = resolve(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'kernreaktor');
const atHome = join(homedir(), '.cache', 'kernreaktor-test');

/** Whether this folder and all above it, as far as they exist, are only root's and ours to write. */
function isOursAlone(folder: string): boolean {
  const stats = lstatSync(folder, { throwIfNoEntry: false });
  const above = dirname(folder);
  if (stats) {
    const isOwn = stats.uid === 0 || stats.uid === process.getuid?.();
    if (!isOwn || (stats.mode & 0o022) !== 0 || stats.isSymbolicLink()) return false;
  }
  return above === folder || isOursAlone(above);
}

export async function trustedFolder(): Promise<string> {
  const place = [beside, atHome].find(isOursAlone);
  if (place === undefined) {
    throw new Error(`tests need a folder that only you can write: neither ${beside} nor ${atHome}`);
  }
  await mkdir(place, { recursive: true, mode: 0o755 });
  return mkdtemp(join(place, 'trusted-'));
}

/**
 * Exchanges a folder `way` below this one, without a pause, between `real`, whose name it takes, and
 * a symlink to `wrong`, until it is told to end; `real` has its own name again then.
 */
export function swapWithoutPause(folder: string): { end(): Promise<void> } {
  const [real, wrong, way] = ['real', 'wrong', 'way'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const state = { isOver: false };
  const swapping = (async () => {
    for (let turn = 0; !state.isOver; turn += 1) {
      const next = join(folder, `next-${turn}`);
      await symlink(turn % 2 === 0 ? wrong : real, next);
      await rename(next, way);
      await rm(way);
      await rename(real, way);
      // Stays for another while each time, so that the swap meets every step of a run.
      for (let pause = 0; pause < turn % 60; pause += 1) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      await rename(way, real);
    }
  })();
  return {
    end() {
      state.isOver = true;
      return swapping;
    },
  };
}
