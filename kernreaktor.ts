#!/usr/bin/env node
/**
 * The command: picks roles and composes them. It alone imports several of broker, daemon, backend
 * and simulator, and nothing imports it. Each role is loaded when it is asked for: who asks for a
 * list of nodes waits for no broker.
 */
import { existsSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import type { Backend } from './backend/main.ts';
import { addClientCommands } from './backend/cli/commands.ts';
import { addAcl, addCommandsHere } from './backend/cli/here.ts';
import type { Joining } from './backend/joining.ts';
import { defaultHttpPort, readSettings, type Settings } from './backend/config.ts';
import { type DaemonConfig, readLocalDaemonConfig, type Role, roles } from './daemon/config.ts';
import type { RunningDaemon } from './daemon/main.ts';
import {
  examinePve,
  type Parts,
  partsOf,
  refuse,
  runDaemon,
  stopping,
  untilStopped,
  usage,
  version,
} from './daemon/process/main.ts';
import { addSimulateCommand } from './simulator/command.ts';

/** Stands in the data folder once somebody began the demo in the panel: it begins again with it. */
const demoMark = 'demo-begun';

const summaryEveryMs = 10_000;
/** The cluster that `npm start` puts this host into. */
const localCluster = 'local';

const out = (line: string): void => void process.stdout.write(`${line}\n`);

/** A credential that the server no longer knows would keep this host out for ever. */
async function dropStaleCredential(folder: string, backend: Backend): Promise<boolean> {
  const { credentialPath, readCredential } = await import('./daemon/link/credential.ts');
  const path = credentialPath(folder);
  const kept = await readCredential(path);
  if (!kept) return false;
  if (backend.directory.ownership(`${kept.cluster}/${kept.daemon}`)) return true;
  rmSync(path);
  return false;
}

/** Lets this host in and protects its node. @returns what it enrols with, null when it is in */
async function admitLocal(
  { folder, node }: { folder: string; node: string },
  backend: Backend,
): Promise<DaemonConfig['enrolment']> {
  const reason = 'this machine runs the backend';
  await backend.protect({ cluster: localCluster, node, reason });
  if (await dropStaleCredential(folder, backend)) return null;
  const order = { cluster: localCluster, node, actor: 'start' };
  const created = await backend.enrolments.createToken(order);
  if (!created.ok) throw new Error(`${created.refusal.detail}. ${created.refusal.wayOut}`);
  return { secret: created.token.split('.')[0] ?? '', caSha256: null };
}

/**
 * This host's own daemon, enrolled like any other, its node protected. It only observes, unless a
 * daemon.yaml of this host names what it may do.
 */
async function startLocalDaemon(
  settings: Settings,
  backend: Backend,
  parts: Parts,
): Promise<RunningDaemon> {
  const folder = join(settings.KR_DATA_DIR, 'daemon');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { config, isNamed } = readLocalDaemonConfig({
    mqttUrl: backend.urls.mqttUrl,
    cluster: localCluster,
    dataDir: folder,
    intervalMs: settings.KR_SAMPLE_INTERVAL_MS,
  });
  // A store that falls silent right after the start is no reason to end.
  const patience = { ...parts, signal: stopping.signal };
  const { whenStoreAnswers } = await import('./backend/store/patience.ts');
  const enrolment = await whenStoreAnswers(
    () => admitLocal({ folder, node: config.node }, backend),
    patience,
  );
  const { startDaemon } = await import('./daemon/main.ts');
  return startDaemon(
    { ...config, enrolment, logLevel: settings.KR_LOG_LEVEL },
    { ...parts, version, usage, observeOnly: !isNamed, signal: stopping.signal },
  );
}

/** A wildcard is no address to call; the certificate carries this host's name. */
const reachable = (url: string): string =>
  url.replace(/(?<=:\/\/)(0\.0\.0\.0|\[::\]|localhost)(?=:)/, hostname());

function welcome({ urls, setupToken }: Backend, settings: Settings): void {
  const { KR_HTTP_PORT: asked } = settings;
  const isTaken = asked === undefined && new URL(urls.httpUrl).port !== String(defaultHttpPort);
  const note = isTaken ? ` (port ${defaultHttpPort} is taken)` : '';
  out(`\nKernreaktor ${version} listens on ${urls.httpUrl}${note}`);
  out(`  API: ${urls.httpUrl}/docs   MQTT: ${urls.mqttUrl}`);
  if (urls.tlsUrl !== null && urls.mqttTlsUrl !== null) {
    out(`  from other hosts: ${reachable(urls.tlsUrl)}   MQTT: ${reachable(urls.mqttTlsUrl)}`);
  }
  if (urls.tlsUrl === null) {
    const { hostname: host, port } = new URL(urls.httpUrl);
    out(
      `  from another machine: ssh -L ${port}:${host}:${port} ${userInfo().username}@${hostname()}`,
    );
    out('  or for all of them, by TLS: KR_TLS_HOST=0.0.0.0');
  }
  if (setupToken !== null) {
    out(`  set-up token for the first account: ${setupToken}`);
    out(
      `  or open ${urls.tlsUrl === null ? urls.httpUrl : reachable(urls.tlsUrl)}/#setup=${setupToken}`,
    );
  }
  out('');
}

const counted = (count: number, noun: string): string =>
  `${count} ${noun}${count === 1 ? '' : 's'}`;

/** One live line on a terminal; elsewhere a line every 10 s. The rate is that of the last 10 s. */
function showSummary(backend: Backend): () => void {
  const { isTTY } = process.stdout;
  const everyMs = isTTY ? 1_000 : summaryEveryMs;
  const seen = [backend.figures().received];
  const timer = setInterval(() => {
    const { nodes, guests, received } = backend.figures();
    seen.push(received);
    const spanMs = (seen.length - 1) * everyMs;
    const rate = (((received - (seen[0] ?? 0)) * 1_000) / spanMs).toFixed(1);
    if (spanMs >= summaryEveryMs) seen.shift();
    const line = `${counted(nodes, 'node')}, ${counted(guests, 'guest')}, ${rate} messages/s`;
    process.stdout.write(isTTY ? `\r\u001b[2K${line}` : `${line}\n`);
  }, everyMs);
  return () => {
    clearInterval(timer);
    if (isTTY) out('');
  };
}

/** On a terminal the summary is the news; logs there only say what is wrong. */
const levelOf = (settings: Settings): string =>
  process.stdout.isTTY && settings.KR_LOG_LEVEL === 'info' ? 'warn' : settings.KR_LOG_LEVEL;

async function startHomelab(settings: Settings, parts: Parts) {
  const { KR_DATA_DIR: dataDir, KR_SAMPLE_INTERVAL_MS: intervalMs } = settings;
  const { startDemo } = await import('./simulator/homelab.ts');
  return startDemo({ ...parts, version, dataDir, intervalMs });
}

/** What this process runs beside its backend: clusters by their API, and the demo. */
async function besides(settings: Settings, parts: Parts, { isDemo }: { isDemo: boolean }) {
  const { KR_DATA_DIR: dataDir, KR_SAMPLE_INTERVAL_MS: intervalMs } = settings;
  const { createApiClusters } = await import('./daemon/api-clusters.ts');
  const mark = join(dataDir, demoMark);
  let backend: Backend | null = null;
  let demo: ReturnType<typeof startHomelab> | null = null;
  const clusters = createApiClusters({
    folder: join(dataDir, 'proxmox'),
    mqttUrl: () => backend?.urls.mqttUrl ?? '',
    intervalMs,
    logLevel: settings.KR_LOG_LEVEL,
    deps: { ...parts, version, usage, signal: stopping.signal },
  });
  /** Two presses of a button begin one demo. */
  async function beginDemo(): Promise<void> {
    demo ??= startHomelab(settings, parts);
    try {
      await demo;
    } catch (error) {
      demo = null;
      throw error;
    }
  }
  const joining: Joining = {
    lookAtProxmox: (endpoint) => clusters.lookAtProxmox(endpoint),
    joinProxmox: (order) => clusters.joinProxmox(order),
    demo: {
      isRunning: () => demo !== null,
      async start() {
        await beginDemo();
        await writeFile(mark, '');
      },
    },
  };
  return {
    joining,
    async begin(started: Backend): Promise<void> {
      backend = started;
      await clusters.resume();
      if (isDemo || existsSync(mark)) await beginDemo();
    },
    async stop(): Promise<void> {
      await (await demo?.catch(() => null))?.stop();
      await clusters.stop();
    },
  };
}

async function start({ withDemo }: { withDemo: boolean }): Promise<void> {
  const settings = readSettings(undefined, withDemo ? { KR_DATA_DIR: './data/demo' } : {});
  const parts = partsOf(levelOf(settings));
  const { startBackend } = await import('./backend/main.ts');
  const beside = await besides(settings, parts, { isDemo: withDemo });
  const backend = await startBackend(settings, { ...parts, joining: beside.joining });
  welcome(backend, settings);
  // An external broker may be away for long; the first signal ends the wait for it.
  const daemon = await startLocalDaemon(settings, backend, parts).catch(async (error: unknown) => {
    if (stopping.signal.aborted) return null;
    await backend.stop();
    throw error;
  });
  await beside.begin(backend);
  const hideSummary = showSummary(backend);
  await untilStopped(async () => {
    hideSummary();
    await beside.stop();
    await daemon?.stop();
    await backend.stop();
  });
}

/** For a container, whose host has a daemon in a container of its own. */
async function runBackend(): Promise<void> {
  const settings = readSettings();
  const { startBackend } = await import('./backend/main.ts');
  const parts = partsOf(levelOf(settings));
  const beside = await besides(settings, parts, { isDemo: false });
  const backend = await startBackend(settings, { ...parts, joining: beside.joining });
  welcome(backend, settings);
  await beside.begin(backend);
  await untilStopped(async () => {
    await beside.stop();
    await backend.stop();
  });
}

/** A worker keeps nothing on disk unless a spool is asked for. */
async function runIngest({ shard }: { shard?: string }): Promise<void> {
  const { startIngestWorker } = await import('./backend/worker.ts');
  const { givenEnvironment } = await import('./backend/cli/config.ts');
  const asked = shard === undefined ? {} : { KR_INGEST_SHARD: shard };
  const environment = { ...givenEnvironment(), ...asked };
  const settings = readSettings(environment, { KR_METRICS_SPOOL_MB: '0' });
  const worker = await startIngestWorker(settings, partsOf(levelOf(settings)));
  const { index, count } = worker.shard;
  out(`ingest worker ${index} of ${count} stores ${counted(worker.clusters().length, 'cluster')}`);
  if (worker.httpUrl !== null) out(`  figures: ${worker.httpUrl}/metrics`);
  await untilStopped(() => worker.stop());
}

async function runBroker(): Promise<void> {
  const { readBrokerConfig } = await import('./broker/config.ts');
  const { startBrokerProcess } = await import('./broker/main.ts');
  const config = readBrokerConfig();
  const broker = await startBrokerProcess(config, partsOf('info'));
  out(`broker listens on ${broker.urls.mqttUrl}`);
  await untilStopped(() => broker.stop());
}

async function writeDocs(): Promise<void> {
  const docs = join(import.meta.dirname, 'docs');
  const { configSchema } = await import('./backend/config-file.ts');
  const { policySchema, schemaText } = await import('./backend/policy-file.ts');
  const { asyncapiYaml } = await import('./broker/asyncapi.ts');
  const { profileSchema } = await import('./simulator/load/profile.ts');
  await writeFile(join(docs, 'asyncapi.yaml'), asyncapiYaml());
  await writeFile(join(docs, 'kernreaktor.schema.json'), schemaText(configSchema()));
  await writeFile(join(docs, 'policy.schema.json'), schemaText(policySchema()));
  await writeFile(join(docs, 'load-profile.schema.json'), profileSchema());
}

/** Where the commands that talk with a person read and write. */
const terminal = {
  input: process.stdin,
  output: process.stdout,
  errors: process.stderr,
  signal: stopping.signal,
  setExitCode: (code: number): void => void (process.exitCode = code),
};

function programOf(): Command {
  const program = new Command('kernreaktor')
    .description('observes clusters of hosts, balances them, and explains every decision')
    // Otherwise `doctor` would take the option of `doctor pve --json` for its own.
    .enablePositionalOptions()
    // Used wrongly is 2, as everywhere; the text was written by commander.
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
    .showHelpAfterError('(--help tells what there is)')
    .version(version);
  program
    .command('start')
    .description('broker, backend and a daemon for this host, in one process')
    .action(() => start({ withDemo: false }));
  program
    .command('backend')
    .description('broker and backend, without a daemon for this host')
    .action(runBackend);
  program
    .command('ingest')
    .description('one of several workers that store telemetry, beside a backend; docs/scaling.md')
    .option('--shard <which>', 'which of how many, like 2/4; else KR_INGEST_SHARD')
    .action(runIngest);
  program
    .command('demo')
    .description('start, with a simulated homelab at 60x')
    .action(() => start({ withDemo: true }));
  program
    .command('daemon')
    .description('the daemon of this host alone, or one of its two halves')
    .addOption(new Option('--role <role>', 'as packages run it').choices(roles).default('whole'))
    .action(({ role }: { role: Role }) => runDaemon(role));
  const here = { ...terminal, partsOf };
  addAcl(program.command('broker').description('the broker alone').action(runBroker), here);
  const { doctor } = addCommandsHere(program, here);
  doctor
    .command('pve')
    .description('the API of Proxmox VE, by the KR_PVE_ settings of the daemon')
    .option('--record <file>', 'write down what it answers, without names, for who mends this')
    .option('--json', 'as one JSON object')
    .action(examinePve);
  program.command('docs').description('write the generated pages of docs/').action(writeDocs);
  addClientCommands(program, () => ({ ...partsOf('warn'), ...terminal }));
  addSimulateCommand(program, () => ({
    ...partsOf('warn'),
    version,
    pid: process.pid,
    out: process.stdout,
    errors: process.stderr,
    setExitCode: (code) => void (process.exitCode = code),
    signal: stopping.signal,
  }));
  return program;
}

// `kernreaktor nodes | head` has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});
try {
  await programOf().parseAsync();
} catch (error) {
  refuse(error);
}
