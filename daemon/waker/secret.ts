/**
 * A password of a waker, in a file of its own that nobody else may read. Read anew for every wake,
 * so that a changed password counts at once. Invariant: the text never enters an argument list, an
 * error or a log.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { WakeError } from './port.ts';

const readableByOthers = 0o077;

const problem = (path: string, why: string, options?: ErrorOptions): WakeError =>
  new WakeError('KR_WAKE_SECRET', `${path}: ${why}`, options);

/** @throws WakeError that names the way out. */
export function readSecret(path: string): string {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    throw problem(path, `cannot be read (${code}); write the password into this file`, { cause });
  }
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw problem(path, 'is no regular file');
    if (stats.uid !== 0 && stats.uid !== process.getuid?.()) {
      throw problem(path, `belongs to user ${stats.uid}; chown root:root ${path}`);
    }
    if ((stats.mode & readableByOthers) !== 0) {
      throw problem(path, `others may read it; chmod 600 ${path}`);
    }
    const secret = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
    if (secret === '' || /[\r\n\0]/.test(secret)) {
      throw problem(path, 'must hold the password as its only line');
    }
    return secret;
  } finally {
    closeSync(file);
  }
}
