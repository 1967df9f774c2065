/**
 * A hypervisor made of the administrator's own programs: `guests` prints what runs here, one
 * program per command kind does it, `probe` may look at the outcome. Documented for people in
 * docs/script-hypervisor.md. It starts nothing but the configured paths, each only as long as it
 * is trusted, and an answer it does not understand means "unknown", never "no guests".
 */
import { CommandKind } from '../../broker/contract/command.ts';
import type { Clock, Log } from '../../broker/contract/ports.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import { SandboxError, type ToolResult } from '../command/sandbox.ts';
import { outputBytesMax } from '../command/tool-output.ts';
import type { ScriptRunner } from '../command/script-trust.ts';
import { actionLimits, questionLimits } from '../command/transient-unit.ts';
import type { Sampler } from '../sample/sampler.ts';
import { createOwnFacts, type OwnFacts, type OwnFactsOptions } from './own-facts.ts';
import type { Description, Hypervisor, Observation, Performed, Work } from './port.ts';
import {
  type Answer,
  type Listed,
  observeGuests,
  readGuests,
  readProbe,
} from './script-answers.ts';
import { keep, type Run } from './runs.ts';

export const scriptActions = [
  'node.shutdown',
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.scale',
] as const satisfies readonly CommandKind[];
export type ScriptAction = (typeof scriptActions)[number];

export type ScriptConfig = {
  guests: string;
  probe?: string | undefined;
  actions: Partial<Record<ScriptAction, string>>;
  /** Of `guests` and `probe`; a program that acts may take until the command times out. */
  queryTimeoutMs: number;
  /** Of a program that acts, once its time is over: between SIGTERM and SIGKILL. */
  stopWithinMs: number;
};

export type ScriptOptions = OwnFactsOptions & {
  config: ScriptConfig;
  sampler: Sampler;
  scripts: ScriptRunner;
  /** Where what its acting programs print goes, so that it outlives this process. */
  outputFolder: string;
  daemonVersion: string;
  clock: Clock;
  log: Log;
};

/** What `guests` and `probe` may print: some thousand guests with all their metrics. */
const answerBytesMax = 2 ** 20;
/** The executor aborts by signal when a command times out; this only bounds a forgotten one. */
const actionTimeoutMs = 24 * 3_600_000;

const upperSnake = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();

/** Everything a program learns; the same again as JSON on standard input. */
function environmentOf(work: Work): Record<string, string> {
  const { action, target } = work;
  const args = Object.entries(action.args).filter(([, value]) => value !== undefined);
  return {
    KR_COMMAND_ID: work.commandId,
    KR_KIND: action.kind,
    KR_NODE: work.node,
    ...(target.kind === 'guest' ? { KR_GUEST: target.id } : {}),
    ...Object.fromEntries(args.map(([name, value]) => [`KR_ARG_${upperSnake(name)}`, `${value}`])),
  };
}

const inputOf = ({ commandId, node, target, action }: Work): string =>
  JSON.stringify({
    commandId,
    kind: action.kind,
    node,
    guest: target.kind === 'guest' ? target.id : null,
    args: action.args,
  });

/** Why the output of a query cannot be used, or undefined when it can. */
function failureOf(result: ToolResult, timeoutMs: number): string | undefined {
  const said = result.stderr.trim().slice(-200);
  if (result.killedBy === 'timeout') return `gave no answer within ${timeoutMs} ms`;
  if (result.exitCode !== 0) return `ended with ${result.exitCode ?? 'a signal'}: ${said}`;
  if (Buffer.byteLength(result.stdout) > answerBytesMax - 4) {
    return `printed more than ${answerBytesMax} bytes: print compact JSON, or fewer metrics`;
  }
  return undefined;
}

export type ScriptHypervisor = Hypervisor & {
  /** Answers of the administrator's programs that could not be used, since the start. */
  badAnswers(): number;
};

type Memory = ScriptOptions & {
  readonly withOwn: OwnFacts;
  readonly closing: AbortController;
  readonly runs: Map<string, Run>;
  badAnswers: number;
  kernel: string | null;
};

type Query<T> = {
  path: string;
  env: Record<string, string>;
  stdin: string;
  read: (stdout: string) => Answer<T>;
};

async function ask<T>(memory: Memory, { path, env, stdin, read }: Query<T>): Promise<Answer<T>> {
  const { queryTimeoutMs: timeoutMs } = memory.config;
  try {
    const { signal } = memory.closing;
    const asked = { path, argv: [], env, stdin, timeoutMs, signal };
    const bounds = { stdoutBytesMax: answerBytesMax, limits: questionLimits };
    const result = await memory.scripts.run({ ...asked, ...bounds });
    const problem = failureOf(result, timeoutMs);
    return problem === undefined ? read(result.stdout) : { ok: false, problem };
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    return { ok: false, problem: error.message };
  }
}

/** null, counted and logged, when the answer cannot be used. */
async function query<T>(memory: Memory, question: Query<T>): Promise<T | null> {
  const answer = await ask(memory, question);
  if (answer.ok) return answer.value;
  if (memory.closing.signal.aborted) return null;
  const { path } = question;
  memory.badAnswers += 1;
  memory.log.warn(
    { node: memory.node, path, problem: answer.problem },
    'the program gave no usable answer',
  );
  return null;
}

async function listGuests(memory: Memory): Promise<Listed[] | null> {
  const { config, node } = memory;
  const env = { KR_NODE: node, KR_QUERY: 'guests' };
  return query(memory, { path: config.guests, env, stdin: '', read: readGuests });
}

const samplesOf = (listed: readonly Listed[] | null): GuestSample[] | null =>
  listed?.map(({ sample }) => sample) ?? null;

async function perform(memory: Memory, work: Work, signal: AbortSignal): Promise<Performed> {
  const kind = scriptActions.find((action) => action === work.action.kind);
  const path = kind && memory.config.actions[kind];
  if (path === undefined) {
    const detail = `no program is configured for ${work.action.kind}`;
    return { exitCode: null, detail, output: '', neverBegan: true };
  }
  const run = keep(memory.runs, work.commandId, {
    startedAtMs: memory.clock.monotonicMs(),
    ended: null,
  });
  let isOk = false;
  try {
    const result = await memory.scripts.run({
      path,
      argv: [],
      env: environmentOf(work),
      stdin: inputOf(work),
      timeoutMs: actionTimeoutMs,
      signal,
      limits: actionLimits,
      outputFolder: memory.outputFolder,
      killAfterMs: memory.config.stopWithinMs,
    });
    isOk = result.exitCode === 0;
    const ending = result.killedBy ? 'was ended by us' : `ended with ${result.exitCode}`;
    const output = result.stderr === '' ? result.stdout : `${result.stdout}\n${result.stderr}`;
    return {
      exitCode: result.exitCode,
      detail: `${path} ${ending}`,
      output: output.slice(-outputBytesMax),
    };
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    return { exitCode: null, detail: error.message, output: '', neverBegan: true };
  } finally {
    run.ended = { atMs: memory.clock.monotonicMs(), isOk };
  }
}

async function observe(memory: Memory, work: Work): Promise<Observation> {
  const { probe } = memory.config;
  if (probe !== undefined) {
    const env = { ...environmentOf(work), KR_QUERY: 'probe' };
    const stdin = inputOf(work);
    const answer = await query(memory, { path: probe, env, stdin, read: readProbe });
    return answer ?? { postcondition: null, detail: 'the probe program gave no usable answer' };
  }
  const guests = samplesOf(await listGuests(memory));
  if (guests === null) {
    return { postcondition: null, detail: 'the list of guests could not be read' };
  }
  return observeGuests(work, guests, memory.runs.get(work.commandId), memory.clock.monotonicMs());
}

async function describe(memory: Memory): Promise<Description> {
  const { sampler, config, daemonVersion } = memory;
  const { facts, bootId } = await sampler.facts();
  memory.kernel = facts.kernel;
  const guests = await listGuests(memory);
  // A guest in an unknown state may run: only those known to be off do not count.
  const running = guests?.filter(({ sample: { state } }) => state !== 'stopped').length ?? null;
  // Others are woken by the daemon's own wakers, whatever programs there are.
  const capabilities = CommandKind.options.filter(
    (kind) => kind in config.actions || kind === 'node.wake',
  );
  return {
    driver: { name: 'script', version: daemonVersion, simulated: false, capabilities },
    bootId,
    facts: { ...(await memory.withOwn(facts)), runningGuests: running },
    guests: guests?.map(({ facts: told }) => told) ?? null,
  };
}

export function createScriptHypervisor(options: ScriptOptions): ScriptHypervisor {
  const { node, sampler, daemonVersion } = options;
  const memory: Memory = {
    ...options,
    withOwn: createOwnFacts(options),
    closing: new AbortController(),
    runs: new Map(),
    badAnswers: 0,
    kernel: null,
  };
  return {
    nodes: () => [node],
    describe: () => describe(memory),
    sample: async () => ({
      node: await sampler.sample(),
      guests: samplesOf(await listGuests(memory)),
      membersOnline: null,
      versions: { daemon: daemonVersion, hypervisor: null, kernel: memory.kernel },
    }),
    perform: (work, { signal }) => perform(memory, work, signal),
    observe: (work) => observe(memory, work),
    endsWithinMs: options.config.stopWithinMs,
    close: async () => memory.closing.abort(),
    badAnswers: () => memory.badAnswers,
  };
}
