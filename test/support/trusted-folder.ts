/**
 * A temporary folder that programs of the administrator may stand in: beside the checkout, since
 * /tmp, where everybody may write, is refused by design.
 */
import { mkdir, mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';

export async function trustedFolder(): Promise<string> {
  const cache = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'kernreaktor');
  await mkdir(cache, { recursive: true, mode: 0o755 });
  return mkdtemp(join(cache, 'trusted-'));
}
