/**
 * What `simulate` does: reads options and surroundings, runs the simulation, prints progress, a
 * table, and as its last line one JSON object with the figures. Exit code 0 when every promise
 * held, 99 when one did not, 2 for a wrong option or profile, 1 when the run itself failed.
 */
import { createWriteStream, openSync, readFileSync, type WriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { openDaemonClient } from '../broker/client.ts';
import type { Clock, Log, NewId, Random } from '../broker/contract/ports.ts';
import { ApiError } from './api.ts';
import {
  elsewhere,
  isLoopback,
  readBrokerPassword,
  readConfig,
  type Server,
  SimulatorConfigError,
} from './config.ts';
import type { OpenBreakable } from './line.ts';
import { BrokerError, brokerTarget } from './load/broker-target.ts';
import { type LoadPlan, planOf, ProfileError } from './load/plan.ts';
import { RecordingError } from './load/recordings.ts';
import { conclude, exitCodes } from './outcome.ts';
import { parseOptions, type SimulationOptions } from './options.ts';
import { executorMaker } from './parts.ts';
import type { Report } from './report.ts';
import { runSimulation } from './simulate.ts';
import { serverTarget, type Target } from './target.ts';

export type SimulatorParts = {
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
  /** Of this software. */
  version: string;
  pid: number;
  out: Writable & { isTTY?: boolean };
  errors: Writable;
  setExitCode: (code: number) => void;
  /** Ends a run early, with its report. */
  signal: AbortSignal;
  /** Found by the environment unless given. */
  server?: () => Server;
};

/** On a terminal one line that is rewritten; elsewhere a line every 10 s. */
function progressPrinter({ clock, errors, out }: SimulatorParts): (line: string) => void {
  const everyMs = out.isTTY ? 1_000 : 10_000;
  let lastMs = -Infinity;
  return (line) => {
    const nowMs = clock.monotonicMs();
    if (nowMs - lastMs < everyMs - 50) return;
    lastMs = nowMs;
    errors.write(out.isTTY ? `\r\u001b[2K${line}` : `${line}\n`);
  };
}

function openEffectLog(options: SimulationOptions): WriteStream | undefined {
  return options.effectLog === undefined
    ? undefined
    : // Opened at once: a folder that does not exist must end the run, not its stream.
      createWriteStream('', { fd: openSync(options.effectLog, 'a', 0o600) });
}

const close = (stream: WriteStream): Promise<void> =>
  new Promise((resolve) => void stream.end(resolve));

/** A load test of somebody else's machine is an attack, unless its owner says otherwise. */
function insistOnLoopback(options: SimulationOptions, targets: readonly string[]): void {
  if (targets.length === 0 || options.iMayLoadThis) return;
  const names = targets.map((url) => new URL(url).host).join(' and ');
  throw new SimulatorConfigError(
    `${names} is not this machine: add --i-may-load-this when you may load it`,
  );
}

function readPem(path: string, flag: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new SimulatorConfigError(`${flag}: ${path} cannot be read`, { cause });
  }
}

/** How every connection to the broker is made, besides by name and password. */
function clientOpener({ brokerCa, brokerCert, brokerKey }: SimulationOptions): OpenBreakable {
  const caPem = brokerCa === undefined ? undefined : readPem(brokerCa, '--broker-ca');
  const clientCertificate =
    brokerCert === undefined || brokerKey === undefined
      ? undefined
      : {
          certPem: readPem(brokerCert, '--broker-cert'),
          keyPem: readPem(brokerKey, '--broker-key'),
        };
  return (options) =>
    openDaemonClient({
      ...options,
      ...(caPem !== undefined && { caPem }),
      ...(clientCertificate && { clientCertificate }),
    });
}

type Wanted = { options: SimulationOptions; plan: LoadPlan; openClient: OpenBreakable };

function targetOf({ options, plan, openClient }: Wanted, parts: SimulatorParts): Target {
  if (options.brokerOnly && options.broker !== undefined) {
    const url = options.broker;
    insistOnLoopback(options, isLoopback(url) ? [] : [url]);
    return brokerTarget({
      ...parts,
      url,
      user: options.brokerUser ?? null,
      password: readBrokerPassword(),
      caSha256: options.brokerFingerprint ?? null,
      openClient,
      isChecked: (plan.faults.malformed ?? 0) > 0,
      pid: options.brokerPid ?? null,
    });
  }
  const found = (parts.server ?? readConfig)();
  const server = { ...found, mqttUrl: options.broker ?? found.mqttUrl };
  insistOnLoopback(options, elsewhere(server));
  return serverTarget({ server, plan, clock: parts.clock, log: parts.log });
}

async function run(options: SimulationOptions, parts: SimulatorParts): Promise<Report> {
  const { clock, newId, log, version, pid, signal } = parts;
  const plan = await planOf(options);
  const openClient = clientOpener(options);
  const target = targetOf({ options, plan, openClient }, parts);
  const effects = openEffectLog(options);
  try {
    return await runSimulation(plan, {
      target,
      clock,
      newId,
      log,
      version,
      pid,
      signal,
      makeExecutor: executorMaker(parts),
      openClient,
      caSha256: options.brokerFingerprint ?? null,
      journalDir: options.journalDir,
      onProgress: progressPrinter(parts),
      onEffect: (record) => void effects?.write(`${JSON.stringify(record)}\n`),
    });
  } finally {
    if (effects) await close(effects);
  }
}

/** What goes wrong outside of us is told in one line; our own bugs keep their stack. */
const isExpected = (error: unknown): error is Error =>
  error instanceof ApiError ||
  error instanceof SimulatorConfigError ||
  error instanceof RecordingError ||
  error instanceof BrokerError;

export async function simulateCommand(
  raw: Record<string, unknown>,
  parts: SimulatorParts,
): Promise<void> {
  const { errors, setExitCode } = parts;
  const parsed = parseOptions(raw);
  if (!parsed.ok) {
    errors.write(`${parsed.problems.join('\n')}\n`);
    return setExitCode(exitCodes.badOption);
  }
  const { options } = parsed;
  try {
    const report = await run(options, parts);
    conclude(report, options, parts);
  } catch (error) {
    const isBadProfile = error instanceof ProfileError;
    if (!isBadProfile && !isExpected(error)) throw error;
    errors.write(`${error.message}\n`);
    setExitCode(isBadProfile ? exitCodes.badOption : exitCodes.failed);
  }
}
