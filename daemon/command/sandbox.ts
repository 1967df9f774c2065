/**
 * Runs one tool of the administrator or the hypervisor, contained: no shell, clean environment,
 * own process group or unit, bounded output, bounded time. Invariant: when the promise settles, no
 * process of the tool's group holds our pipes any more, and one that acts outlives us unharmed. It
 * must never pass a value through a shell and never keep more of a stream than was asked for. A
 * process that left the group on purpose (setsid) and closed our pipes is not followed: that is
 * how hypervisors start guests.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { keepNewest, openOutputs, outputBytesMax, type OutputFiles } from './tool-output.ts';
import {
  findUnitTools,
  stopArgv,
  unitArgv,
  type UnitLimits,
  type UnitTools,
} from './transient-unit.ts';

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
  /** 64 KiB, unless the tool is known to answer more. */
  stdoutBytesMax?: number;
  /**
   * Where systemd runs, the tool gets a unit with these limits, outside our own namespaces. A unit
   * ends with everything it started, so a guest must get a unit of its own from whoever starts
   * it, as all hypervisors do. Every user of the machine can read the `env` of a unit.
   */
  limits?: UnitLimits;
  /** Of one that acts: its streams go to files below this folder, so that no end of ours ends it. */
  outputFolder?: string;
  /**
   * Of one that must never be torn off its work: when its time is over it is asked to end (SIGTERM)
   * and has so long to put things right; after that it is left alone, still at work.
   */
  cleanUpMs?: number;
  /** Between SIGTERM and SIGKILL, for one that may be torn off; 5 s unless said. */
  killAfterMs?: number | undefined;
};

export type RunTool = (run: ToolRun) => Promise<ToolResult>;

export type ToolResult = {
  /** null when a signal ended it or it never started, because `signal` was already aborted. */
  exitCode: number | null;
  /** Why we ended it; null when it ended by itself. `signal`: the caller aborted. */
  killedBy: 'timeout' | 'signal' | null;
  /** The newest part. */
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

const usualKillAfterMs = 5_000;
/** What the kernel still holds in a pipe after the leader's end is read in far less. */
const drainMs = 1_000;
const pollMs = 25;
const cutEveryMs = 1_000;
/** systemd ends a unit within its TimeoutStopSec, and needs some time to say so. */
const unitStopSlackMs = 5_000;

const cleanEnv = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

/** What a driver may start at all: these absolute paths, and nothing else. */
export function allowTools(paths: readonly string[]): RunTool {
  const allowed = new Set(paths);
  return async (run) => {
    if (allowed.has(run.path)) return runTool(run);
    const wayOut = `only ${paths.join(', ')} may be started here`;
    throw new SandboxError('KR_TOOL_PATH', `${JSON.stringify(run.path)} is not allowed`, {
      wayOut,
    });
  };
}

/** Anything else would reach the tool altered, or cut, and is refused before it starts. */
function checkTexts({ path, argv, env }: ToolRun): void {
  if (!isAbsolute(path)) {
    const wayOut = `write the absolute path of the program instead of ${JSON.stringify(path)}`;
    throw new SandboxError('KR_TOOL_PATH', 'tool path is not absolute', { wayOut });
  }
  const isSound = (text: string) => text.isWellFormed() && !text.includes('\0');
  const hasBadName = Object.keys(env).some((name) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name));
  if (hasBadName || ![path, ...argv, ...Object.values(env)].every(isSound)) {
    const wayOut = 'they must be whole Unicode text without a NUL byte';
    throw new SandboxError('KR_TOOL_SPAWN', `arguments for ${path} were refused`, { wayOut });
  }
}

const withoutDescriptor = ({ descriptor: _descriptor, ...run }: ToolRun): ToolRun => run;

/** systemd-run would report a missing program as a failure of the tool. */
async function checkProgram({ path, descriptor }: ToolRun): Promise<void> {
  if (descriptor !== undefined) return;
  await access(path, constants.X_OK).catch((cause: unknown) => {
    throw spawnError(path, cause);
  });
}

let units = 0;

/** The same run by way of systemd-run, and how to end it: the unit outlives its client. */
function asUnit(run: ToolRun, limits: UnitLimits, tools: UnitTools) {
  units += 1;
  const name = `kernreaktor-tool-${process.pid}-${units}`;
  const { argv, timeoutMs, descriptor, cleanUpMs, killAfterMs = usualKillAfterMs } = run;
  // PID 1 does not have our descriptor, but finds what it leads to through us.
  const path = descriptor === undefined ? run.path : `/proc/${process.pid}/fd/${descriptor}`;
  const envNames = Object.keys({ ...cleanEnv, ...run.env });
  const unit = { name, path, argv, envNames, timeoutMs, limits, cleanUpMs, killAfterMs };
  const signal = new AbortController().signal;
  return {
    run: { ...withoutDescriptor(run), path: tools.systemdRun, argv: unitArgv(unit) },
    async stop(): Promise<void> {
      const own = { path: tools.systemctl, argv: stopArgv(name), env: {}, signal };
      await runTool({ ...own, timeoutMs: (cleanUpMs ?? killAfterMs) + unitStopSlackMs });
    },
  };
}

/** `tools`: where systemd is; undefined where it does not run. */
export async function runTool(asked: ToolRun, tools = findUnitTools()): Promise<ToolResult> {
  checkTexts(asked);
  if (asked.signal.aborted) return { exitCode: null, killedBy: 'signal', stdout: '', stderr: '' };
  const { limits } = asked;
  if (limits && tools) await checkProgram(asked);
  const unit = limits && tools ? asUnit(asked, limits, tools) : undefined;
  const run = unit?.run ?? asked;
  const files = asked.outputFolder === undefined ? null : await filesBelow(asked.outputFolder);
  let isOver = true;
  try {
    const result = await supervise(run, files, unit);
    // A client of systemd that died without a word says nothing of its unit.
    isOver = result.killedBy === null && result.exitCode !== null;
    return result;
  } finally {
    await files?.close(isOver);
  }
}

const filesBelow = (folder: string): Promise<OutputFiles> =>
  openOutputs(folder).catch((cause: unknown) => {
    const wayOut = `${(cause as Error).message}; the folder must be writable and have space left`;
    throw new SandboxError('KR_TOOL_SPAWN', `no output file in ${folder}`, { wayOut, cause });
  });

type Unit = ReturnType<typeof asUnit>;

async function supervise(
  run: ToolRun,
  files: OutputFiles | null,
  unit: Unit | undefined,
): Promise<ToolResult> {
  const child = start(run, files);
  const stdout = keepNewest(child.stdout, run.stdoutBytesMax ?? outputBytesMax);
  const stderr = keepNewest(child.stderr, outputBytesMax);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await once(child, 'spawn').catch((cause: unknown) => {
    throw spawnError(run.path, cause);
  });
  // A tool that does not read its input breaks the pipe; its exit code tells the story.
  child.stdin?.on('error', () => undefined).end(run.stdin);
  const ending = Promise.withResolvers<void>();
  const cutting = files && cutUntil(Promise.race([exited, ending.promise]), files);
  const killedBy = await endOrLimit(exited, run);
  if (killedBy !== null) await unit?.stop().catch(() => undefined);
  const isDrained = killedBy === null && (await within(closed, drainMs));
  // A unit has been asked above, and its client here may go.
  const { cleanUpMs, killAfterMs = usualKillAfterMs } = unit ? {} : run;
  if (!isDrained) await endGroup(child.pid ?? 0, { closed, cleanUpMs, killAfterMs });
  await within(closed, drainMs);
  child.stdout?.destroy();
  child.stderr?.destroy();
  child.unref();
  const { exitCode } = child;
  if (files === null) return { exitCode, killedBy, stdout: stdout(), stderr: stderr() };
  ending.resolve();
  await cutting;
  return { exitCode, killedBy, ...(await files.read()) };
}

async function cutUntil(exited: Promise<void>, files: OutputFiles): Promise<void> {
  while (!(await within(exited, cutEveryMs))) await files.cut().catch(() => undefined);
}

/** Where the child finds the descriptor it executes: the first after its three streams. */
const childDescriptor = 3;

function start(
  { path, descriptor, argv, env, stdin }: ToolRun,
  files: OutputFiles | null,
): ChildProcess {
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
        ...(files?.descriptors ?? (['pipe', 'pipe'] as const)),
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

type Ending = { closed: Promise<void>; cleanUpMs: number | undefined; killAfterMs: number };

/** SIGTERM to the whole group, and SIGKILL to what is left of it; of one that cleans up, nothing. */
async function endGroup(group: number, ending: Ending): Promise<void> {
  const { closed, cleanUpMs, killAfterMs } = ending;
  if (!signalGroup(group, 'SIGTERM')) return;
  const waitMs = cleanUpMs ?? killAfterMs;
  for (let waitedMs = 0; waitedMs < waitMs; waitedMs += pollMs) {
    await within(new Promise(() => undefined), pollMs);
    if (!signalGroup(group, 0)) return;
  }
  if (cleanUpMs !== undefined) return;
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
