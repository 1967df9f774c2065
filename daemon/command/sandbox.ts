/**
 * Runs one tool of the administrator or the hypervisor, contained: no shell, clean environment,
 * own process group, bounded output, bounded time. Invariant: when the promise settles, no
 * process of the tool's group holds our pipes any more. It must never pass a value through a
 * shell and never keep more than 64 KiB per stream. A process that left the group on purpose
 * (setsid) and closed our pipes is not followed: that is how hypervisors start guests.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { isAbsolute } from 'node:path';

export type ToolRun = {
  /** Absolute; nothing is searched in PATH. */
  path: string;
  /** Executed instead of what `path` names by now; open for reading until the run has ended. */
  descriptor?: number;
  argv: readonly string[];
  /** All the tool sees, beside PATH and LC_ALL. */
  env: Readonly<Record<string, string>>;
  stdin?: string;
  timeoutMs: number;
  signal: AbortSignal;
};

export type ToolResult = {
  /** null when a signal ended it or it never started, because `signal` was already aborted. */
  exitCode: number | null;
  /** Why we ended it; null when it ended by itself. `signal`: the caller aborted. */
  killedBy: 'timeout' | 'signal' | null;
  /** The newest 64 KiB. */
  stdout: string;
  stderr: string;
};

export class SandboxError extends Error {
  override readonly name = 'SandboxError';
  readonly code:
    | 'KR_TOOL_PATH'
    | 'KR_TOOL_MISSING'
    | 'KR_TOOL_DENIED'
    | 'KR_TOOL_SPAWN'
    | 'KR_SCRIPT_TRUST'
    | 'KR_SCRIPT_PIN';
  readonly wayOut: string;
  constructor(
    code: SandboxError['code'],
    message: string,
    details: { wayOut: string } & ErrorOptions,
  ) {
    super(`${message}: ${details.wayOut}`, details);
    this.code = code;
    this.wayOut = details.wayOut;
  }
}

export const outputBytesMax = 64 * 1024;
const killAfterMs = 5_000;
/** What the kernel still holds in a pipe after the leader's end is read in far less. */
const drainMs = 1_000;
const pollMs = 25;

const cleanEnv = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

export async function runTool(run: ToolRun): Promise<ToolResult> {
  if (!isAbsolute(run.path)) {
    const wayOut = `write the absolute path of the program instead of ${JSON.stringify(run.path)}`;
    throw new SandboxError('KR_TOOL_PATH', 'tool path is not absolute', { wayOut });
  }
  if (run.signal.aborted) return { exitCode: null, killedBy: 'signal', stdout: '', stderr: '' };
  const child = start(run);
  const stdout = keepNewest(child.stdout);
  const stderr = keepNewest(child.stderr);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await once(child, 'spawn').catch((cause: unknown) => {
    throw spawnError(run.path, cause);
  });
  // A tool that does not read its input breaks the pipe; its exit code tells the story.
  child.stdin?.on('error', () => undefined).end(run.stdin);
  const killedBy = await endOrLimit(exited, run);
  const isDrained = killedBy === null && (await within(closed, drainMs));
  if (!isDrained) await endGroup(child.pid ?? 0, closed);
  await within(closed, drainMs);
  child.stdout?.destroy();
  child.stderr?.destroy();
  return { exitCode: child.exitCode, killedBy, stdout: stdout(), stderr: stderr() };
}

/** Where the child finds the descriptor it executes: the first after its three streams. */
const childDescriptor = 3;

function start({ path, descriptor, argv, env, stdin }: ToolRun): ChildProcess {
  const file = descriptor === undefined ? path : `/proc/self/fd/${childDescriptor}`;
  try {
    return spawn(file, argv, {
      argv0: path,
      shell: false,
      detached: true,
      cwd: '/',
      env: { ...cleanEnv, ...env },
      stdio: [
        stdin === undefined ? 'ignore' : 'pipe',
        'pipe',
        'pipe',
        ...(descriptor === undefined ? [] : [descriptor]),
      ],
    });
  } catch (cause) {
    throw spawnError(path, cause);
  }
}

export function spawnError(path: string, cause: unknown): SandboxError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const wayOut = `install ${path} or correct the path (its #! interpreter must exist, too)`;
    return new SandboxError('KR_TOOL_MISSING', 'tool not found', { wayOut, cause });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    const wayOut = `make ${path} executable for the user the executor runs as (chmod +x); neither \
it nor the daemon's data folder may be on a noexec mount`;
    return new SandboxError('KR_TOOL_DENIED', 'tool may not be executed', { wayOut, cause });
  }
  const wayOut = `${code}: arguments must hold no NUL byte and fit the kernel's limits, and the \
machine must have memory, processes and descriptors left`;
  return new SandboxError('KR_TOOL_SPAWN', `tool ${path} did not start`, { wayOut, cause });
}

/** Reads for ever, so that the tool never blocks on a full pipe, and keeps the newest bytes. */
function keepNewest(stream: NodeJS.ReadableStream | null): () => string {
  let tail = Buffer.alloc(0);
  let isCut = false;
  stream?.on('data', (chunk: Buffer) => {
    isCut ||= tail.length + chunk.length > outputBytesMax;
    const kept = Math.max(0, outputBytesMax - chunk.length);
    const older = kept === 0 ? tail.subarray(0, 0) : tail.subarray(-kept);
    tail = Buffer.concat([older, chunk.subarray(-outputBytesMax)]);
  });
  return () => {
    // A cut may have split a character: leave out its continuation bytes (10xxxxxx).
    const isHalf = (byte: number) => (byte & 0xc0) === 0x80;
    const from = isCut ? tail.findIndex((byte) => !isHalf(byte)) : 0;
    return tail.toString('utf8', Math.max(0, from));
  };
}

async function endOrLimit(exited: Promise<void>, run: ToolRun): Promise<ToolResult['killedBy']> {
  const settled = new AbortController();
  const timeout = AbortSignal.timeout(run.timeoutMs);
  const limit = (signal: AbortSignal, name: 'timeout' | 'signal') =>
    new Promise<typeof name>((resolve) => {
      const options = { once: true, signal: settled.signal };
      signal.addEventListener('abort', () => resolve(name), options);
      if (signal.aborted) resolve(name);
    });
  const ended = exited.then(() => null);
  try {
    return await Promise.race([ended, limit(run.signal, 'signal'), limit(timeout, 'timeout')]);
  } finally {
    settled.abort();
  }
}

/** True when `done` settled within `ms`. */
async function within(done: Promise<void>, ms: number): Promise<boolean> {
  const settled = new AbortController();
  const late = new Promise<false>((resolve) => {
    const options = { once: true, signal: settled.signal };
    AbortSignal.timeout(ms).addEventListener('abort', () => resolve(false), options);
  });
  const isDone = await Promise.race([done.then(() => true), late]);
  settled.abort();
  return isDone;
}

/** SIGTERM to the whole group, SIGKILL to what is left of it after 5 s. */
async function endGroup(group: number, closed: Promise<void>): Promise<void> {
  if (!signalGroup(group, 'SIGTERM')) return;
  for (let waitedMs = 0; waitedMs < killAfterMs; waitedMs += pollMs) {
    await within(new Promise(() => undefined), pollMs);
    if (!signalGroup(group, 0)) return;
  }
  signalGroup(group, 'SIGKILL');
  await within(closed, drainMs);
}

/** False when the group has no process left. A pid of 1 or less would reach far too many. */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  if (!Number.isInteger(group) || group <= 1) return false;
  try {
    process.kill(-group, signal);
    return true;
  } catch {
    return false;
  }
}
