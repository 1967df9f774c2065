/**
 * The product as a newcomer runs it: `bin/kernreaktor` in processes of their own, on a temporary
 * folder and free ports. A test asks it through its public faces alone: runtime.json, the local
 * socket, exit codes, what it prints. Every wait is for a condition and has a deadline.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, type Dispatcher, interceptors, request } from 'undici';
import type { Report } from '../../simulator/report.ts';
import type { EffectRecord } from '../../simulator/world/model.ts';
import { freePort, until } from './servers.ts';

const ownProgram = join(import.meta.dirname, '..', '..', 'bin', 'kernreaktor');
/** Longer than the product's own bound for an orderly end, which exits by itself with code 1. */
const stopMaxMs = 20_000;
/** A start reads a few hundred files; seen to take over a minute beside 30 other processes. */
const readyMaxMs = 180_000;

export type Settings = Readonly<Record<string, string>>;
export type Json = Record<string, unknown>;
type Answer<T> = { status: number; headers: Dispatcher.ResponseData['headers']; body: T };
type Call = { body?: object; headers?: Record<string, string> };

/** The surroundings without any setting of ours, so that a developer's own never leak in. */
const environment = (settings: Settings): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(KR_|NODE_)/.test(name))),
  ...settings,
});

export type Run = {
  pid: number;
  stdout(): string;
  stderr(): string;
  isOver(): boolean;
  /** null when a signal ended it. */
  exited: Promise<number | null>;
  signal(name: NodeJS.Signals): void;
  /** Asks it to end, and ends it when it does not. */
  stop(): Promise<number | null>;
};

/** `kernreaktor <args>` in a process of its own; `program` is that of another version. */
export function runProgram(
  args: readonly string[],
  settings: Settings,
  program: string = ownProgram,
): Run {
  const child: ChildProcess = spawn(program, args, {
    env: environment(settings),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
  const exited = once(child, 'close').then(([code]) => code as number | null);
  return {
    pid: child.pid ?? 0,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    isOver: () => child.exitCode !== null || child.signalCode !== null,
    exited,
    signal: (name) => void child.kill(name),
    async stop() {
      child.kill('SIGTERM');
      const killer = setTimeout(() => child.kill('SIGKILL'), stopMaxMs);
      const code = await exited;
      clearTimeout(killer);
      return code;
    },
  };
}

function createApi(socketPath: string) {
  const dispatcher = new Agent({
    connect: { socketPath },
    // More wait here: what the socket's queue cannot take is refused, and a test is no flood.
    connections: 64,
    headersTimeout: 30_000,
    // A test that was busy for seconds finds out late that an idle socket was closed.
  }).compose(
    interceptors.retry({
      maxRetries: 3,
      minTimeout: 10,
      methods: ['GET'],
      errorCodes: ['EPIPE'],
      statusCodes: [],
    }),
  );
  const send = async <T = Json>(
    method: Dispatcher.HttpMethod,
    path: string,
    { body, headers }: Call = {},
  ): Promise<Answer<T>> => {
    const answer = await request(`http://localhost${path}`, {
      dispatcher,
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    const isJson = String(answer.headers['content-type']).includes('json');
    const parsed: unknown = isJson ? JSON.parse(text) : text;
    return { status: answer.statusCode, headers: answer.headers, body: parsed as T };
  };
  return {
    send,
    /** The answer of a GET under /api/v1, which must be 200. */
    async get<T = Json>(path: string): Promise<T> {
      const answer = await send<T>('GET', `/api/v1/${path}`);
      if (answer.status === 200) return answer.body;
      throw new Error(`GET ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    },
    async post<T = Json>(path: string, body: object): Promise<Answer<T>> {
      return send<T>('POST', `/api/v1/${path}`, { body });
    },
    /** kr_ingest_total by figure. */
    async ingestFigures(): Promise<Record<string, number>> {
      const { body } = await send<string>('GET', '/metrics');
      const lines = body.matchAll(/^kr_ingest_total\{figure="(\w+)"\} (\S+)$/gm);
      return Object.fromEntries([...lines].map(([, figure, value]) => [figure, Number(value)]));
    },
    close: () => dispatcher.destroy(),
  };
}

export type Runtime = {
  pid: number;
  httpUrl: string;
  mqttUrl: string;
  socketPath: string;
  setupToken?: string;
};

export type Stack = {
  folder: string;
  settings: Settings;
  api: ReturnType<typeof createApi>;
  runtimeFile: string;
  runtime(): Runtime;
  run(): Run;
  /** Ends with SIGTERM; its exit code. */
  stop(): Promise<number | null>;
  kill9(): Promise<void>;
  /** Starts it again on the same folder, after `stop` or `kill9`; `program` is another version's. */
  start(program?: string): Promise<void>;
  /** Ends what runs and removes the folder. */
  remove(): Promise<void>;
};

async function ready(run: Run, file: string): Promise<void> {
  await until(
    async () => {
      if (run.isOver()) {
        await run.exited;
        throw new Error(`kernreaktor ended: ${run.stderr().slice(-4_000)}`);
      }
      if (!existsSync(file)) return false;
      // One that was killed leaves its file behind.
      return (JSON.parse(readFileSync(file, 'utf8')) as Runtime).pid === run.pid;
    },
    { withinMs: readyMaxMs, what: 'runtime.json' },
  );
}

/**
 * `hasFixedPorts`: the same ports after a restart, so that daemons find their server again. `role`
 * is the command that is started, `program` that of another version.
 */
export async function startStack(
  given: Settings = {},
  { hasFixedPorts = false, role = 'start', program = ownProgram } = {},
): Promise<Stack> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-stack-'));
  const port = async (): Promise<string> => String(hasFixedPorts ? await freePort() : 0);
  const settings = {
    KR_DATA_DIR: join(folder, 'data'),
    KR_HTTP_PORT: await port(),
    KR_MQTT_PORT: await port(),
    KR_SAMPLE_INTERVAL_MS: '1000',
    ...given,
  };
  const runtimeFile = join(settings.KR_DATA_DIR, 'runtime.json');
  const api = createApi(join(settings.KR_DATA_DIR, 'http.sock'));
  let run = runProgram([role], settings, program);
  const stack: Stack = {
    folder,
    settings,
    api,
    runtimeFile,
    runtime: () => JSON.parse(readFileSync(runtimeFile, 'utf8')) as Runtime,
    run: () => run,
    stop: () => run.stop(),
    async kill9() {
      run.signal('SIGKILL');
      await run.exited;
    },
    async start(another = program) {
      run = runProgram([role], settings, another);
      await ready(run, runtimeFile);
    },
    async remove() {
      await run.stop();
      await api.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    await ready(run, runtimeFile);
  } catch (error) {
    await stack.remove();
    throw error;
  }
  return stack;
}

export type Simulation = {
  run: Run;
  /** What the world has written of itself so far. */
  effects(): EffectRecord[];
  /** The figures of the last line it printed. */
  report(): Promise<Report>;
};

/** `kernreaktor simulate` against the server of this stack. */
export function simulate(
  { folder, settings }: Stack,
  options: readonly string[],
  more: Settings = {},
  program: string = ownProgram,
): Simulation {
  const effectLog = join(folder, 'effects.jsonl');
  const run = runProgram(
    ['simulate', '--json', '--effect-log', effectLog, ...options],
    { KR_DATA_DIR: settings['KR_DATA_DIR'] ?? '', ...more },
    program,
  );
  return {
    run,
    effects() {
      if (!existsSync(effectLog)) return [];
      // The last line may still be on its way to the file.
      const lines = readFileSync(effectLog, 'utf8').split('\n').slice(0, -1);
      return lines.map((line) => JSON.parse(line) as EffectRecord);
    },
    async report() {
      const code = await run.exited;
      if (code !== 0) throw new Error(`simulate ended with ${code}: ${run.stderr().slice(-4_000)}`);
      return JSON.parse(run.stdout().trim().split('\n').at(-1) ?? '') as Report;
    },
  };
}

/** Command ids whose effect began more than once in the world: nothing may ever be in here. */
export function begunTwice(effects: readonly EffectRecord[]): string[] {
  const begun = effects.flatMap(({ commandId, effect }) =>
    effect === 'start' && commandId !== null ? [commandId] : [],
  );
  return begun.filter((id, index) => begun.indexOf(id) !== index);
}
