#!/usr/bin/env node
/**
 * The daemon as a process: whole, or as agent or executor. Packages start this file, which loads
 * nothing of the server; `kernreaktor daemon` and the other commands share its parts. The system's
 * clock, chance and signals are made here.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { uuidv7 } from '../../broker/contract/ids.ts';
import { lineForUsers } from '../../broker/contract/lines-for-users.ts';
import type { Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import { readDaemonConfig, readExecutorConfig, type Role, roles } from '../config.ts';

const packageFile = join(import.meta.dirname, '..', '..', 'package.json');
export const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string };

const stopMaxMs = 6_000;

const random: Random = {
  bytes: (count) => randomBytes(count),
  ratio: () => randomBytes(4).readUInt32BE() / 2 ** 32,
};

function logOf(level: string): Log {
  return pino(
    { level, redact: ['token', 'password', 'secret', '*.token', '*.password', '*.secret'] },
    pino.destination({ dest: 2, sync: false }),
  );
}

export type Parts = { clock: Clock; random: Random; newId: NewId; log: Log };

export function partsOf(level: string): Parts {
  const log = logOf(level);
  const clock: Clock = {
    wallMs: () => Date.now(),
    monotonicMs: () => Math.floor(performance.now()),
    after(delayMs, run) {
      const timer = setTimeout(() => {
        // A rejection here is a bug: it must reach the process, not vanish.
        Promise.resolve()
          .then(run)
          .catch((error: unknown) => process.emit('uncaughtException', error as Error));
      }, delayMs);
      return () => clearTimeout(timer);
    },
  };
  process.on('uncaughtException', (error) => {
    log.error({ err: error }, 'a bug: the process ends');
    process.exitCode = 70;
    setTimeout(() => process.exit(), 50);
  });
  return { clock, random, newId: () => uuidv7(Date.now(), randomBytes(16)), log };
}

/** Ends what runs at the first SIGINT or SIGTERM, the process at the second. */
export const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => (stopping.signal.aborted ? process.exit(1) : stopping.abort()));
}

export async function untilStopped(stop: () => Promise<void>): Promise<void> {
  if (!stopping.signal.aborted) await once(stopping.signal, 'abort');
  setTimeout(() => process.exit(1), stopMaxMs).unref();
  await stop();
  process.exit(0);
}

export const usage = () => {
  const { user, system } = process.cpuUsage();
  return { cpuMs: (user + system) / 1_000, memoryBytes: process.memoryUsage.rss() };
};

/** Each role loads only its own half, so that an executor holds no network code in memory. */
async function started(role: Role) {
  if (role === 'executor') {
    const config = readExecutorConfig();
    const parts = partsOf(config.logLevel);
    await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
    const { startExecutor } = await import('../executor.ts');
    return startExecutor(config, { ...parts, version });
  }
  const config = readDaemonConfig({ role });
  const parts = partsOf(config.logLevel);
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  const deps = { ...parts, version, usage, signal: stopping.signal };
  if (role === 'agent') {
    const { startAgent } = await import('../agent.ts');
    return startAgent(config, deps);
  }
  const { startDaemon } = await import('../main.ts');
  return startDaemon(config, deps);
}

export async function runDaemon(role: Role): Promise<void> {
  const running = await started(role);
  await untilStopped(() => running.stop());
}

/** Prints what the API of Proxmox VE lacks for this daemon; ends with 1 when it lacks something. */
export type PveOptions = { json?: boolean; record?: string };

export async function examinePve({ json, record: file }: PveOptions): Promise<void> {
  if (file !== undefined) {
    const { recordTo } = await import('../hypervisor/proxmox-api/record-file.ts');
    const told = await recordTo(file, version);
    process.stdout.write(`${json ? JSON.stringify(told) : told.text}\n`);
    return;
  }
  const { examination, examinationText } = await import('../hypervisor/proxmox-api/doctor.ts');
  const found = await examination();
  process.stdout.write(`${json ? JSON.stringify(found) : examinationText(found)}\n`);
  if (!found.isFine) process.exitCode = 1;
}

/** Ends the process; what a user can mend is one line without a stack. */
export function refuse(error: unknown): never {
  const line = lineForUsers(error);
  if (line === undefined) throw error;
  process.stderr.write(`${line}\n`);
  // What had begun when the start failed may hold timers and sockets that nobody will end.
  process.exit(2);
}

function roleOf(argv: string[]): Role {
  const { values } = parseArgs({ args: argv, options: { role: { type: 'string' } } });
  const role = roles.find((name) => name === (values.role ?? 'whole'));
  if (role === undefined) {
    process.stderr.write(`--role: use ${roles.join(', ')}\n`);
    process.exit(2);
  }
  return role;
}

function pveOptionsOf(args: string[]): PveOptions {
  const options = { json: { type: 'boolean' }, record: { type: 'string' } } as const;
  return { ...parseArgs({ args, options }).values };
}

/** `[--role <role>]`, or `doctor pve [--json] [--record <file>]`. */
const run = ([command, what, ...more]: string[]): Promise<void> =>
  command === 'doctor' && what === 'pve'
    ? examinePve(pveOptionsOf(more))
    : runDaemon(roleOf(process.argv.slice(2)));

if (import.meta.main) {
  await run(process.argv.slice(2)).catch((error: unknown) => {
    if (!stopping.signal.aborted) refuse(error);
    process.exit(0);
  });
}
