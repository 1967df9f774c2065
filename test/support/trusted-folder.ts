/**
 * A temporary folder that programs of the administrator may stand in: beside the checkout, or
 * below the home folder where the checkout itself lies in a place that others may write, such as
 * /tmp, which is refused by design.
 */
import { lstatSync } from 'node:fs';
import { mkdir, mkdtemp } from 'node:fs/promises';
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
