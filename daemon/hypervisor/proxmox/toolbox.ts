/**
 * The only way to a program of Proxmox VE: a name from this list, its absolute path, arguments
 * that no shell reads, a time limit. A question whose answer cannot be used is null and logged;
 * it must never be taken for an empty answer.
 */
import type { z } from 'zod';
import type { Log } from '../../../broker/contract/ports.ts';
import { allowTools, SandboxError, type ToolResult } from '../../command/sandbox.ts';
import { actionLimits, questionLimits } from '../../command/transient-unit.ts';
import { type Answer, readJson } from './scalars.ts';

const toolNames = [
  'pvesh',
  'qm',
  'pct',
  'pvecm',
  'ha-manager',
  'ethtool',
  'corosync-quorumtool',
  'zpool',
  'upsc',
] as const;
export type ToolName = (typeof toolNames)[number];
type Optional = 'corosync-quorumtool' | 'zpool' | 'upsc';
/** Those of `Optional` are not on every host. */
export type ToolPaths = Readonly<
  Record<Exclude<ToolName, Optional>, string> & { [tool in Optional]?: string }
>;

/** Where the packages of Proxmox VE put them. */
export const hostTools: ToolPaths = {
  pvesh: '/usr/bin/pvesh',
  qm: '/usr/sbin/qm',
  pct: '/usr/sbin/pct',
  pvecm: '/usr/bin/pvecm',
  'ha-manager': '/usr/sbin/ha-manager',
  ethtool: '/usr/sbin/ethtool',
  'corosync-quorumtool': '/usr/sbin/corosync-quorumtool',
  zpool: '/usr/sbin/zpool',
  upsc: '/usr/bin/upsc',
};

/** `/cluster/resources` has some 350 bytes a guest or storage. */
const answerBytesMax = 2 ** 20;
/** A tool of Perl starts in about a second; one that waits for a dead node takes for ever. */
const questionMaxMs = 20_000;
/** The executor aborts by signal when a command times out; this only bounds a forgotten one. */
const actionMaxMs = 24 * 3_600_000;
/** What a worker of Proxmox needs at most to give a migration up: a container may take so long. */
const cleanUpMs = 180_000;

export type Toolbox = {
  /** `pvesh get path`; null when nothing usable came back. */
  get<T>(
    schema: z.ZodType<T>,
    path: string,
    options?: readonly string[],
    bytesMax?: number,
  ): Promise<T | null>;
  /** The text that a question prints, whatever its exit code; null when it did not run. */
  ask(tool: ToolName, argv: readonly string[]): Promise<ToolResult | null>;
  /** Starts an effect. @throws SandboxError when the tool cannot be started at all. */
  act(tool: ToolName, argv: readonly string[], signal: AbortSignal): Promise<ToolResult>;
  close(): void;
};

function answerOf<T>(schema: z.ZodType<T>, result: ToolResult, bytesMax: number): Answer<T> {
  if (result.killedBy !== null) return { ok: false, problem: 'gave no answer in time' };
  if (result.exitCode !== 0) {
    const said = result.stderr.trim().slice(-200);
    return { ok: false, problem: `ended with ${result.exitCode ?? 'a signal'}: ${said}` };
  }
  if (Buffer.byteLength(result.stdout) > bytesMax - 4) {
    return { ok: false, problem: `printed more than ${bytesMax} bytes` };
  }
  return readJson(schema, result.stdout);
}

/** Into the namespaces of the host's first process, for a daemon in a container with its pids. */
export const enterHost = ['--target', '1', '--mount', '--uts', '--ipc', '--net', '--cgroup', '--'];

type Start = { path: string; argv: readonly string[] };

function starter(paths: ToolPaths, nsenter: string | null) {
  const allowed = nsenter === null ? Object.values(paths) : [nsenter];
  const run = allowTools(allowed);
  const startOf = (tool: ToolName, argv: readonly string[]): Start => {
    const path = paths[tool];
    if (path === undefined) {
      const wayOut = 'name its path';
      throw new SandboxError('KR_TOOL_MISSING', `no path of ${tool} is known`, { wayOut });
    }
    return nsenter === null
      ? { path, argv }
      : { path: nsenter, argv: [...enterHost, path, ...argv] };
  };
  return { run, startOf };
}

export type ToolboxOptions = {
  paths: ToolPaths;
  log: Log;
  nsenter?: string | null;
  /** Where what an acting tool prints goes, so that it outlives this process. */
  outputFolder: string;
};

export function createToolbox(options: ToolboxOptions): Toolbox {
  const { paths, log, nsenter = null, outputFolder } = options;
  const { run, startOf } = starter(paths, nsenter);
  const closing = new AbortController();
  async function ask(
    tool: ToolName,
    argv: readonly string[],
    stdoutBytesMax = answerBytesMax,
  ): Promise<ToolResult | null> {
    const { signal } = closing;
    try {
      const start = startOf(tool, argv);
      const bounds = { timeoutMs: questionMaxMs, stdoutBytesMax };
      return await run({ ...start, env: {}, ...bounds, limits: questionLimits, signal });
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      log.warn({ tool, problem: error.message }, 'a tool of Proxmox VE could not be asked');
      return null;
    }
  }
  return {
    ask: (tool, argv) => ask(tool, argv),
    async get(schema, path, options = [], bytesMax = answerBytesMax) {
      const argv = ['get', path, ...options, '--output-format', 'json'];
      const result = await ask('pvesh', argv, bytesMax);
      if (result === null || closing.signal.aborted) return null;
      const answer = answerOf(schema, result, bytesMax);
      if (answer.ok) return answer.value;
      const { problem } = answer;
      log.warn({ path, problem }, 'pvesh gave no usable answer');
      return null;
    },
    act: async (tool, argv, signal) =>
      run({
        ...startOf(tool, argv),
        env: {},
        timeoutMs: actionMaxMs,
        limits: actionLimits,
        outputFolder,
        cleanUpMs,
        signal,
      }),
    close: () => closing.abort(),
  };
}
