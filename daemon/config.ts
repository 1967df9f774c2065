/**
 * Settings of a daemon: the environment, and daemon.yaml for the administrator's programs. Read
 * once; every problem is listed at once with its field and the way out. Each KR_X may come as
 * KR_X_FILE. Secrets are never printed.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import {
  type Environment,
  gatherSettings,
  type Problem,
  unknownSettings,
} from '../broker/contract/environment.ts';
import { ClusterId, NodeId, nodeIdOfHost } from '../broker/contract/ids.ts';
import {
  sampleIntervalDefaultMs,
  sampleIntervalMaxMs,
  sampleIntervalMinMs,
} from '../broker/contract/limits.ts';
import {
  chooseDriver,
  type DriverChoice,
  driverEnvironment,
  driverFile,
  type DriverSources,
} from './hypervisor/choice.ts';
import { readSecret } from './waker/secret.ts';
import { secretFilesOf, WakersByNode } from './waker/settings.ts';

const intervalHint = `use whole milliseconds from ${sampleIntervalMinMs} to ${sampleIntervalMaxMs}`;

/** `<secret>` or `<secret>.<SHA-256 of the CA to believe>`. */
const Token = z
  .string()
  .regex(
    /^[0-9a-f]{64}(\.[0-9a-f]{64})?$/,
    'copy the whole token of `POST enrolments`: 64 hex digits, with TLS a dot and 64 more',
  );

const Settings = z.object({
  ...driverEnvironment,
  KR_MQTT_URL: z.url({
    protocol: /^(mqtts?|wss?)$/,
    error: 'name the broker, for example mqtts://server.example:8883',
  }),
  KR_CLUSTER: z.string({ error: 'name the cluster this host belongs to' }).pipe(ClusterId),
  KR_NODE: NodeId,
  KR_ENROL_TOKEN: Token.optional(),
  KR_DATA_DIR: z.string().default('./data'),
  KR_SAMPLE_INTERVAL_MS: z.coerce
    .number({ error: intervalHint })
    .int(intervalHint)
    .min(sampleIntervalMinMs, intervalHint)
    .max(sampleIntervalMaxMs, intervalHint)
    .default(sampleIntervalDefaultMs),
  KR_EXECUTOR_SOCKET: z
    .string()
    .refine(isAbsolute, 'write an absolute path')
    .default('/run/kernreaktor/executor.sock'),
  KR_ETC_DIR: z.string().refine(isAbsolute, 'write an absolute path').default('/etc/kernreaktor'),
  KR_LOG_LEVEL: z
    .enum(['debug', 'info', 'warn', 'error', 'silent'], {
      error: 'use debug, info, warn, error or silent',
    })
    .default('info'),
});

/** Stands where an executor has no server to name; nothing ever connects to it. */
const noServer = 'mqtt://localhost';

const DaemonFile = z.strictObject({ ...driverFile, wakers: WakersByNode.default({}) });
type DaemonFile = z.infer<typeof DaemonFile>;

export type Enrolment = { secret: string; caSha256: string | null };

/** Without `hypervisor`: `script` where programs are named, else `host`, only observed. */
export type DaemonConfig = Partial<DriverChoice> & {
  script: DriverChoice['script'];
  mqttUrl: string;
  cluster: string;
  node: string;
  /** Used once, when the data folder holds no credential yet. */
  enrolment: Enrolment | null;
  dataDir: string;
  intervalMs: number;
  logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** Nodes that are not listed are woken by Wake on LAN. */
  wakers?: WakersByNode;
  /** Where the administrator's word on this machine stands: policy.yaml and HOLD. */
  etcDir?: string;
  /** Where agent and executor meet when they are two processes. */
  executorSocket?: string;
};

/** A daemon is one process, or an agent with the network and an executor with the rights. */
export const roles = ['whole', 'agent', 'executor'] as const;
export type Role = (typeof roles)[number];

/** What the executor is told; it has no network, so it knows no server. */
export type ExecutorConfig = Omit<DaemonConfig, 'mqttUrl' | 'enrolment' | 'intervalMs'> & {
  executorSocket: string;
};

export class DaemonConfigError extends Error {
  override readonly name = 'DaemonConfigError';
  readonly code = 'KR_CONFIG';
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    super(problems.map(({ field, hint }) => `${field}: ${hint}`).join('\n'));
    this.problems = problems;
  }
}

export type DaemonSources = DriverSources & {
  environment?: Environment;
  role?: Role;
  hostName?: string;
  /** Where daemon.yaml is looked for after the data folder. */
  systemFolder?: string;
};

const whyOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const readText = (path: string): string => readFileSync(path, 'utf8');

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** The first daemon.yaml that exists; none is fine, one that cannot be read is not. */
function readFirst(paths: readonly string[], problems: Problem[]) {
  for (const path of paths) {
    try {
      return { path, text: readText(path) };
    } catch (error) {
      if (isMissing(error)) continue;
      problems.push({ field: path, hint: `cannot be read: ${whyOf(error)}` });
    }
  }
  return undefined;
}

/** Checks daemon.yaml; a problem names file, line and column. */
function checkDaemonFile(path: string, text: string, problems: Problem[]): DaemonFile | null {
  const counter = new LineCounter();
  const document = parseDocument(text, { lineCounter: counter, prettyErrors: false });
  const at = (offset: number): string => {
    const { line, col } = counter.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  for (const error of document.errors) {
    problems.push({ field: at(error.pos[0]), hint: error.message });
  }
  if (document.errors.length > 0) return null;
  const parsed = DaemonFile.safeParse(document.toJS() ?? {});
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) {
    const node = document.getIn(issue.path, true) as { range?: [number, number, number] } | null;
    const where = at(node?.range?.[0] ?? 0);
    // Of a bad key zod says only that it is one; why stands a level deeper.
    const { message: hint } = (issue.code === 'invalid_key' && issue.issues[0]) || issue;
    problems.push({ field: `${where} ${issue.path.join('.')}`.trim(), hint });
  }
  return null;
}

/** Each password has one reader: the executor where a program needs it, else the agent. */
const secretsOf = (role: Role, wakers: WakersByNode) =>
  secretFilesOf(wakers).filter(
    ({ kind }) => role === 'whole' || (kind === 'ipmi') === (role === 'executor'),
  );

/** Looked at now, so that a wake at night does not fail for a file mode. */
function checkSecrets(role: Role, wakers: WakersByNode, problems: Problem[]): void {
  for (const { path, node } of secretsOf(role, wakers)) {
    try {
      readSecret(path);
    } catch (error) {
      problems.push({ field: `wakers.${node}`, hint: whyOf(error) });
    }
  }
}

export function parseToken(token: string): Enrolment {
  const [secret = '', caSha256 = null] = token.split('.');
  return { secret, caSha256 };
}

/** @throws DaemonConfigError that lists every problem. */
export function readDaemonConfig(
  sources: DaemonSources = {},
): DaemonConfig & { executorSocket: string } {
  const { environment = process.env, hostName = hostname(), role = 'whole' } = sources;
  const given = gatherSettings(Object.keys(Settings.shape), environment, readText);
  const problems = [...unknownSettings(environment), ...given.problems];
  const values: Record<string, string> = {
    KR_NODE: nodeIdOfHost(hostName),
    ...given.values,
  };
  const parsed = Settings.safeParse(values);
  for (const issue of parsed.error?.issues ?? []) {
    problems.push({ field: String(issue.path[0] ?? ''), hint: issue.message });
  }
  const dataDir = resolve(values['KR_DATA_DIR'] ?? './data');
  const etcDir = sources.systemFolder ?? values['KR_ETC_DIR'] ?? '/etc/kernreaktor';
  const folders = [dataDir, etcDir];
  const found = readFirst(
    folders.map((folder) => join(folder, 'daemon.yaml')),
    problems,
  );
  const file = found ? checkDaemonFile(found.path, found.text, problems) : null;
  if (file) checkSecrets(role, file.wakers, problems);
  const choice = chooseDriver({ file, given: parsed.data ?? {} }, sources, problems);
  if (choice.pveApi && role !== 'whole') {
    const hint = 'proxmox-api needs the network: run it as one process, `kernreaktor daemon`';
    problems.push({ field: 'hypervisor', hint });
  }
  if (problems.length > 0 || !parsed.success) throw new DaemonConfigError(problems);
  const settings = parsed.data;
  return {
    mqttUrl: settings.KR_MQTT_URL,
    cluster: settings.KR_CLUSTER,
    node: settings.KR_NODE,
    enrolment: settings.KR_ENROL_TOKEN === undefined ? null : parseToken(settings.KR_ENROL_TOKEN),
    dataDir,
    intervalMs: settings.KR_SAMPLE_INTERVAL_MS,
    logLevel: settings.KR_LOG_LEVEL,
    ...choice,
    ...(file && { wakers: file.wakers }),
    etcDir,
    executorSocket: settings.KR_EXECUTOR_SOCKET,
  };
}

/**
 * The same settings, so that both processes may read one file; what only the network needs is
 * neither asked for nor looked at.
 * @throws DaemonConfigError that lists every problem.
 */
export function readExecutorConfig(sources: DaemonSources = {}): ExecutorConfig {
  const { environment = process.env } = sources;
  const network = ['KR_MQTT_URL', 'KR_ENROL_TOKEN', 'KR_SAMPLE_INTERVAL_MS'];
  const own = Object.entries(environment).filter(
    ([name]) => !network.includes(name.replace(/_FILE$/, '')),
  );
  const config = readDaemonConfig({
    ...sources,
    role: 'executor',
    environment: { ...Object.fromEntries(own), KR_MQTT_URL: noServer },
  });
  const { mqttUrl: _server, enrolment: _enrolment, intervalMs: _intervalMs, ...rest } = config;
  return rest;
}

export type LocalDaemon = Pick<DaemonConfig, 'mqttUrl' | 'cluster' | 'dataDir' | 'intervalMs'>;

/**
 * The daemon inside `npm start`: where it belongs is decided, its driver and wakers are the
 * administrator's as everywhere. `isNamed`: a daemon.yaml says so; without one it only observes.
 * @throws DaemonConfigError that lists every problem.
 */
export function readLocalDaemonConfig(
  { mqttUrl, cluster, dataDir, intervalMs }: LocalDaemon,
  sources: DaemonSources = {},
): { config: DaemonConfig; isNamed: boolean } {
  const { environment = process.env } = sources;
  const ofDriver = Object.entries(environment).filter(([name]) => name.startsWith('KR_PVE_'));
  const own = {
    KR_MQTT_URL: mqttUrl,
    KR_CLUSTER: cluster,
    KR_DATA_DIR: dataDir,
    KR_SAMPLE_INTERVAL_MS: String(intervalMs),
  };
  const config = readDaemonConfig({
    ...sources,
    environment: { ...Object.fromEntries(ofDriver), ...own },
  });
  return { config, isNamed: config.wakers !== undefined };
}
