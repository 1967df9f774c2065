/**
 * Errors that end the command, in plain lines with the way out. What the operating system refused,
 * a taken port or an unwritable folder, is the user's to mend and no bug. Pure.
 */

const wayOuts: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there; choose another port, or 0 for any free one',
  EADDRNOTAVAIL: 'this machine has no such address; 0.0.0.0 stands for all of its own',
  EACCES: 'give this user the right, or choose another place',
  EPERM: 'give this user the right, or choose another place',
  EROFS: 'the file system is read-only; choose another place, for folders with KR_DATA_DIR',
  ENOSPC: 'the disk is full; make room, or choose another place',
  ENOENT: 'name one that exists',
  ENOTDIR: 'a file stands where a folder is needed; choose another place',
  EISDIR: 'a folder stands where a file is needed',
  EEXIST: 'a file stands where a folder is needed; choose another place',
  ENOTFOUND: 'no such host is known; check the name',
};

function systemErrorLine(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return undefined;
  const wayOut = wayOuts[String(error.code)];
  return wayOut === undefined ? undefined : `${error.message}: ${wayOut}`;
}

/** What a user can mend, in plain lines; undefined for a bug, which keeps its stack. */
export const lineForUsers = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && String(error.code).startsWith('KR_')
    ? error.message
    : systemErrorLine(error);
