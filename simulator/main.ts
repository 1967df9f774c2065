/**
 * The `simulate` command: reads options and surroundings, runs the simulation, prints progress, a
 * table, and as its last line one JSON object with the figures. Exit code 0 when every promise of
 * `--slo` held, 99 when one did not, 2 for a wrong option, 1 when the run itself failed.
 */
import { createWriteStream, openSync, type WriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import type { Command } from 'commander';
import { openDaemonClient } from '../broker/client.ts';
import type { Clock, Log, NewId, Random } from '../broker/contract/ports.ts';
import { ApiError } from './api.ts';
import { readConfig, type Server, SimulatorConfigError } from './config.ts';
import { parseOptions, type SimulationOptions } from './options.ts';
import { executorMaker } from './parts.ts';
import { renderReport, type Report } from './report.ts';
import { scenarios } from './scenarios/index.ts';
import { runSimulation } from './simulate.ts';

export const exitCodes = { fine: 0, failed: 1, badOption: 2, brokenPromise: 99 } as const;

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

async function run(options: SimulationOptions, parts: SimulatorParts): Promise<Report> {
  const { clock, newId, log, version, pid, signal } = parts;
  const effects = openEffectLog(options);
  try {
    return await runSimulation(options, {
      server: (parts.server ?? readConfig)(),
      clock,
      newId,
      log,
      version,
      pid,
      signal,
      makeExecutor: executorMaker(parts),
      openClient: openDaemonClient,
      onProgress: progressPrinter(parts),
      onEffect: (record) => void effects?.write(`${JSON.stringify(record)}\n`),
    });
  } finally {
    if (effects) await close(effects);
  }
}

/** What goes wrong outside of us is told in one line; our own bugs keep their stack. */
const isExpected = (error: unknown): error is Error =>
  error instanceof ApiError || error instanceof SimulatorConfigError;

export async function simulateCommand(
  raw: Record<string, unknown>,
  parts: SimulatorParts,
): Promise<void> {
  const { out, errors, setExitCode } = parts;
  const parsed = parseOptions(raw);
  if (!parsed.ok) {
    errors.write(`${parsed.problems.join('\n')}\n`);
    return setExitCode(exitCodes.badOption);
  }
  try {
    const report = await run(parsed.options, parts);
    if (!parsed.options.json) out.write(`${out.isTTY ? '\n' : ''}${renderReport(report)}\n`);
    out.write(`${JSON.stringify(report)}\n`);
    const isBroken = report.brokenPromises.length > 0;
    setExitCode(isBroken ? exitCodes.brokenPromise : exitCodes.fine);
  } catch (error) {
    if (!isExpected(error)) throw error;
    errors.write(`${error.message}\n`);
    setExitCode(exitCodes.failed);
  }
}

/** Adds `simulate` to the command line. Values are checked by us, so that errors look alike. */
export function addSimulateCommand(program: Command, parts: () => SimulatorParts): void {
  program
    .command('simulate')
    .description('load a running server with simulated nodes and report what it did')
    .option('--nodes <count>', 'simulated nodes (16)')
    .option('--nodes-per-cluster <count>', 'nodes of one cluster (16)')
    .option('--guests <count>', 'guests on each node (20)')
    .option('--interval <seconds>', 'between two samples of a node (5)')
    .option('--seed <number>', 'same seed, same world (42)')
    .option('--scenario <name>', [...scenarios.keys()].join(', '))
    .option('--minutes <minutes>', 'how long it runs (5)')
    .option('--slo <promises>', "exit with 99 unless they hold, for example 'lost==0,p99<250ms'")
    .option('--commands <count>', 'commands of every kind to send through the API (0)')
    .option('--cluster-prefix <id>', 'clusters are called <id>-001 and so on (sim)')
    .option('--time-scale <factor>', 'how much faster the simulated world runs (1)')
    .option('--auto', 'let the engine migrate guests of these clusters by itself')
    .option('--json', 'print only the JSON object with the figures')
    .option('--journal-dir <folder>', 'keep the journals of the daemons as real files there')
    .option('--effect-log <file>', 'append what really happened in the world, one JSON a line')
    .action((raw: Record<string, unknown>) => simulateCommand(raw, parts()));
}
