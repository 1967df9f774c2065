/**
 * The only way to a program of Proxmox VE: a name from this list, its absolute path, arguments
 * that no shell reads, a time limit. A question whose answer cannot be used is null and logged;
 * it must never be taken for an empty answer.
 */
import type { z } from 'zod';
import type { Log } from '../../../broker/contract/ports.ts';
import { outputBytesMax, runTool, SandboxError, type ToolResult } from '../../command/sandbox.ts';
import { type Answer, readJson } from './scalars.ts';

export type ToolPaths = Readonly<Record<'pvesh' | 'qm' | 'pct' | 'pvecm', string>>;
export type ToolName = keyof ToolPaths;

/** Where the packages of Proxmox VE put them. */
export const hostTools: ToolPaths = {
  pvesh: '/usr/bin/pvesh',
  qm: '/usr/sbin/qm',
  pct: '/usr/sbin/pct',
  pvecm: '/usr/bin/pvecm',
};

/** A tool of Perl starts in about a second; one that waits for a dead node takes for ever. */
const questionMaxMs = 20_000;
/** The executor aborts by signal when a command times out; this only bounds a forgotten one. */
const actionMaxMs = 24 * 3_600_000;

export type Toolbox = {
  /** `pvesh get path`; null when nothing usable came back. */
  get<T>(schema: z.ZodType<T>, path: string, options?: readonly string[]): Promise<T | null>;
  /** The text that a question prints, whatever its exit code; null when it did not run. */
  ask(tool: ToolName, argv: readonly string[]): Promise<ToolResult | null>;
  /** Starts an effect. @throws SandboxError when the tool cannot be started at all. */
  act(tool: ToolName, argv: readonly string[], signal: AbortSignal): Promise<ToolResult>;
  close(): void;
};

function answerOf<T>(schema: z.ZodType<T>, result: ToolResult): Answer<T> {
  if (result.killedBy !== null) return { ok: false, problem: 'gave no answer in time' };
  if (result.exitCode !== 0) {
    const said = result.stderr.trim().slice(-200);
    return { ok: false, problem: `ended with ${result.exitCode ?? 'a signal'}: ${said}` };
  }
  if (Buffer.byteLength(result.stdout) > outputBytesMax - 4) {
    return { ok: false, problem: `printed more than ${outputBytesMax} bytes` };
  }
  return readJson(schema, result.stdout);
}

export function createToolbox(paths: ToolPaths, log: Log): Toolbox {
  const closing = new AbortController();
  async function ask(tool: ToolName, argv: readonly string[]): Promise<ToolResult | null> {
    const { signal } = closing;
    try {
      const path = paths[tool];
      return await runTool({ path, argv, env: {}, timeoutMs: questionMaxMs, signal });
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      log.warn({ tool, problem: error.message }, 'a tool of Proxmox VE could not be asked');
      return null;
    }
  }
  return {
    ask,
    async get(schema, path, options = []) {
      const argv = ['get', path, ...options, '--output-format', 'json'];
      const result = await ask('pvesh', argv);
      if (result === null || closing.signal.aborted) return null;
      const answer = answerOf(schema, result);
      if (answer.ok) return answer.value;
      const { problem } = answer;
      log.warn({ path, problem }, 'pvesh gave no usable answer');
      return null;
    },
    act: (tool, argv, signal) =>
      runTool({ path: paths[tool], argv, env: {}, timeoutMs: actionMaxMs, signal }),
    close: () => closing.abort(),
  };
}
