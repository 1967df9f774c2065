/**
 * Runs a program of the administrator only after it was found trustworthy: it and every folder
 * above it belong to root (or to this daemon's own user) and nobody else may write there, no
 * symlink is on the way, and its SHA-256 is the one pinned in the local policy. Invariant: the
 * bytes that were hashed are the bytes that run. They are read once, through one descriptor, into
 * a private copy without a name, and that copy is executed by descriptor; so whoever swaps or
 * edits the file in between changes nothing. It must never execute a path.
 */
import { createHash } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, mkdir, mkdtemp, open, readlink, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { PolicyReading } from './local-policy.ts';
import { runTool, SandboxError, spawnError, type ToolResult, type ToolRun } from './sandbox.ts';

export type ScriptRunner = {
  /** As `runTool`, for a file of the administrator; the program finds its own path in KR_SCRIPT. */
  run(run: ToolRun): Promise<ToolResult>;
};

export type ScriptTrust = {
  /** Where the copies are made; on a file system that is not mounted noexec. */
  folder: string;
  readPolicy: () => Promise<PolicyReading>;
};

/** Scripts are small; a larger program is started by a script. */
const sizeMax = 16 * 1024 * 1024;
const writableByOthers = 0o022;
const executable = 0o111;

const distrust = (message: string, wayOut: string): SandboxError =>
  new SandboxError('KR_SCRIPT_TRUST', message, { wayOut });

/** An ACL that lets others write shows in the group's bits, so the mode tells it all. */
function checkOwner(path: string, { uid, mode }: Stats): void {
  const own = process.getuid?.() ?? 0;
  if (uid !== 0 && uid !== own) {
    throw distrust(`${path} belongs to user ${uid}`, `chown root:root ${path}`);
  }
  if ((mode & writableByOthers) !== 0) {
    throw distrust(`${path} can be changed by others than its owner`, `chmod go-w ${path}`);
  }
}

/**
 * From / downwards: once a folder is found to be ours alone, nobody else can exchange what is in
 * it, so each step stands on the one before.
 */
async function checkFolders(path: string): Promise<void> {
  const folder = dirname(path);
  if (folder !== path) await checkFolders(folder);
  const stats = await lstat(path).catch((cause: unknown) => {
    throw spawnError(path, cause);
  });
  if (stats.isSymbolicLink()) {
    throw distrust(`${path} is a symlink`, 'configure the path that it points to');
  }
  if (!stats.isDirectory()) throw distrust(`${path} is no folder`, 'correct the path');
  checkOwner(path, stats);
}

async function openScript(path: string): Promise<FileHandle> {
  // Without NONBLOCK the opening of a FIFO would wait for its writer.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  return open(path, flags).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === 'ELOOP') {
      throw distrust(`${path} is a symlink`, 'configure the path that it points to');
    }
    throw spawnError(path, cause);
  });
}

async function checkFile(path: string, file: FileHandle): Promise<void> {
  const stats = await file.stat();
  if (!stats.isFile()) throw distrust(`${path} is no regular file`, 'configure a program');
  checkOwner(path, stats);
  if ((stats.mode & executable) === 0) throw spawnError(path, { code: 'EACCES' });
  if (stats.size > sizeMax) {
    const wayOut = 'start it from a small script and configure that one';
    throw distrust(`${path} is larger than ${sizeMax} bytes`, wayOut);
  }
  // The kernel's own word on what was opened: a symlink swapped in after the look shows here.
  const opened = await readlink(`/proc/self/fd/${file.fd}`);
  if (opened !== path) throw distrust(`${path} led to ${opened}`, 'configure that path');
}

function checkPin(path: string, bytes: Buffer, reading: PolicyReading): void {
  if (!reading.ok) {
    const wayOut = 'correct the local policy';
    throw new SandboxError('KR_SCRIPT_PIN', `${path} not run, ${reading.problem}`, { wayOut });
  }
  const { scripts = {} } = reading.policy;
  const actual = createHash('sha256').update(bytes).digest('hex');
  const pinned = Object.hasOwn(scripts, path) ? scripts[path] : undefined;
  if (pinned === actual) return;
  const found = pinned === undefined ? 'is not listed in the local policy' : 'has changed';
  const wayOut = `look at it, then set scripts: {${path}: ${actual}} in the policy file`;
  throw new SandboxError('KR_SCRIPT_PIN', `${path} ${found}`, { wayOut });
}

/** Read-only, without a name, and nobody holds it open for writing: it can only be executed. */
async function unnamedCopy(bytes: Buffer, parent: string): Promise<FileHandle> {
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const folder = await mkdtemp(join(parent, 'script-'));
  try {
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    const copy = await open(join(folder, 'program'), flags, 0o500);
    try {
      await copy.writeFile(bytes);
      return await open(`/proc/self/fd/${copy.fd}`, constants.O_RDONLY);
    } finally {
      await copy.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const copyOf = (bytes: Buffer, parent: string): Promise<FileHandle> =>
  unnamedCopy(bytes, parent).catch((cause: unknown) => {
    const wayOut = `${(cause as Error).message}; the folder must be writable and have space left`;
    throw new SandboxError('KR_TOOL_SPAWN', `no copy in ${parent}`, { wayOut, cause });
  });

/** The bytes of a file that nobody but root and we can have written, and that is pinned. */
async function trustedBytes(path: string, { readPolicy }: ScriptTrust): Promise<Buffer> {
  if (resolve(path) !== path) {
    const wayOut = `write the plain absolute path instead of ${JSON.stringify(path)}`;
    throw new SandboxError('KR_TOOL_PATH', 'script path is not plain', { wayOut });
  }
  await checkFolders(dirname(path));
  const file = await openScript(path);
  try {
    await checkFile(path, file);
    const bytes = await file.readFile();
    checkPin(path, bytes, await readPolicy());
    return bytes;
  } finally {
    await file.close();
  }
}

/** `run` rejects with SandboxError, and has then started nothing. */
export const createScriptRunner = (trust: ScriptTrust): ScriptRunner => ({
  async run(run) {
    const bytes = await trustedBytes(run.path, trust);
    const copy = await copyOf(bytes, trust.folder);
    try {
      const env = { ...run.env, KR_SCRIPT: run.path };
      return await runTool({ ...run, env, descriptor: copy.fd });
    } finally {
      await copy.close();
    }
  },
});
