/**
 * A tool as a transient unit of systemd: PID 1 starts it outside the executor's own namespaces,
 * with memory, tasks and run time bounded and its whole control group ended together. This file
 * says whether that is possible here and builds the arguments. Invariant: the tool gets exactly
 * the argv it was given, although systemd expands $NAME in it; values of the environment never
 * appear in an argument list, where every user of the machine could read them.
 */
import { accessSync, constants } from 'node:fs';

export type UnitLimits = { memoryBytesMax: number; tasksMax: number };

/** What answers a question: a tool of Perl takes 150 MiB, some threads, and a pipe or two. */
export const questionLimits: UnitLimits = { memoryBytesMax: 512 * 2 ** 20, tasksMax: 128 };
/** What acts: a migration with local disks runs several copies; the page cache counts, too. */
export const actionLimits: UnitLimits = { memoryBytesMax: 4 * 2 ** 30, tasksMax: 1_024 };

export type UnitTools = { systemdRun: string; systemctl: string };

/** Created by systemd when it is the one that booted the machine; see sd_booted(3). */
const bootedBySystemd = '/run/systemd/system';
const systemdRun = '/usr/bin/systemd-run';
const systemctl = '/usr/bin/systemctl';
/** Our own limit comes first; this one ends what outlives us. */
const graceSeconds = 60;

type Place = { has: (path: string) => boolean; uid: number };

const thisMachine: Place = {
  has(path) {
    try {
      accessSync(path, constants.R_OK);
      return true;
    } catch {
      return false;
    }
  },
  uid: process.getuid?.() ?? 0,
};

/** Why tools run in a process group of ours, without limits; each with the way out. */
export function missingForUnits({ has, uid }: Place = thisMachine): string[] {
  if (!has(bootedBySystemd)) {
    return ['systemd does not run here: tools run without limits of memory, tasks and time'];
  }
  const missing = [systemdRun, systemctl]
    .filter((path) => !has(path))
    .map((path) => `${path} is missing: install the package systemd`);
  if (uid !== 0) missing.push('only root may start units: run the executor as root');
  return missing;
}

/** undefined where tools must run in a process group of ours instead. */
export const findUnitTools = (place: Place = thisMachine): UnitTools | undefined =>
  missingForUnits(place).length === 0 ? { systemdRun, systemctl } : undefined;

export type UnitRun = {
  name: string;
  path: string;
  argv: readonly string[];
  /** Their values are taken from the environment of systemd-run itself. */
  envNames: readonly string[];
  timeoutMs: number;
  limits: UnitLimits;
  /** Time for its own clean-up after SIGTERM, and no SIGKILL after it. */
  cleanUpMs?: number | undefined;
  /** Between SIGTERM and SIGKILL of every other. */
  killAfterMs: number;
};

/** systemd.service(5): "$$" stands for a dollar sign; nothing else of an argument is expanded. */
const escapeDollars = (argument: string): string => argument.replaceAll('$', '$$$$');

/** SIGTERM reaches the tool alone, which passes it on: that is how Proxmox gives a task up. */
const gentle = ['KillMode=mixed', 'SendSIGKILL=no'];

export function unitArgv(run: UnitRun): string[] {
  const { name, path, argv, envNames, timeoutMs, limits, cleanUpMs, killAfterMs } = run;
  const stopAfterSeconds = Math.ceil((cleanUpMs ?? killAfterMs) / 1_000);
  const properties = [
    `MemoryMax=${limits.memoryBytesMax}`,
    'MemorySwapMax=0',
    `TasksMax=${limits.tasksMax}`,
    `RuntimeMaxSec=${Math.ceil(timeoutMs / 1_000) + graceSeconds}`,
    `TimeoutStopSec=${stopAfterSeconds}`,
    ...(cleanUpMs === undefined ? [] : gentle),
    'WorkingDirectory=/',
  ];
  return [
    '--wait',
    '--pipe',
    '--collect',
    '--quiet',
    '--service-type=exec',
    `--unit=${name}`,
    ...envNames.map((envName) => `--setenv=${envName}`),
    ...properties.flatMap((property) => ['-p', property]),
    '--',
    path,
    ...argv.map(escapeDollars),
  ];
}

/** Ends every process of the unit: SIGTERM, and after TimeoutStopSec SIGKILL, unless spared. */
export const stopArgv = (name: string): string[] => ['stop', '--quiet', `${name}.service`];
