/**
 * One production executor in a process of its own over a real folder, spoken to by IPC in the
 * agent's place. Its effects are lines that its hypervisor appends to a file. It may be told to
 * kill itself (SIGKILL) at the k-th passing of a named point: before or after any file operation
 * of the journal, in the middle of an append, before an effect begins, or right after.
 * `<effect log>.hold` is its HOLD file.
 * Arguments: folder of the journal, effect log, server key as JSON, fuse as JSON or `null`.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { createExecutor } from '../../daemon/command/executor.ts';
import type { FromExecutor, ToExecutor } from '../../daemon/command/executor-port.ts';
import { type FilePort, nodeFiles } from '../../daemon/command/files.ts';
import { LocalPolicy } from '../../daemon/command/local-policy.ts';
import type { Hypervisor } from '../../daemon/hypervisor/port.ts';
import type { Log } from '../../broker/contract/ports.ts';
import type { ServerKey } from '../../broker/contract/server.ts';
import { createWorld } from '../daemon/command/rig.ts';
import { fastClock, systemRandom } from './backend-process.ts';

export const fuseNames = [
  'append:before',
  'append:after',
  'append:middle',
  // Right after the one above: only a torn tail is cut.
  'truncate:before',
  'sync:before',
  'sync:after',
  'rename:before',
  'rename:after',
  'syncFolder:before',
  'syncFolder:after',
  'remove:before',
  'preallocate:before',
  'preallocate:after',
  'perform:before',
  'perform:after',
  'observe:before',
  'report:before',
] as const;
export type FuseName = (typeof fuseNames)[number];
export type Fuse = { name: FuseName; passing: number };

export type ToProcess = { type: 'deliver'; message: ToExecutor };
export type FromProcess =
  | { type: 'ready'; journalId: string; incarnation: number }
  | { type: 'said'; message: FromExecutor }
  | { type: 'log'; level: string; message: string; effects: number };

const die = (): never => {
  process.kill(process.pid, 'SIGKILL');
  // The signal needs no turn of ours, but the type does.
  for (;;);
};

function createFuse(fuse: Fuse | null) {
  let left = fuse?.passing ?? 0;
  return (name: FuseName): boolean => fuse?.name === name && (left -= 1) === 0;
}

/** The real files, with a death at one of their operations. */
function mortalFiles(files: FilePort, burns: (name: FuseName) => boolean): FilePort {
  const around = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    if (burns(`${name}:before` as FuseName)) die();
    const answer = await work();
    if (burns(`${name}:after` as FuseName)) die();
    return answer;
  };
  return {
    ...files,
    append: (name, bytes) =>
      around('append', async () => {
        if (burns('append:middle')) {
          await files.append(name, bytes.subarray(0, Math.ceil(bytes.length / 2)));
          die();
        }
        await files.append(name, bytes);
      }),
    truncate: (name, length) => around('truncate', () => files.truncate(name, length)),
    sync: (name) => around('sync', () => files.sync(name)),
    rename: (from, to) => around('rename', () => files.rename(from, to)),
    remove: (name) => around('remove', () => files.remove(name)),
    preallocate: (name, bytes) => around('preallocate', () => files.preallocate(name, bytes)),
    syncFolder: () => around('syncFolder', () => files.syncFolder()),
  };
}

const countLines = (path: string): number => {
  try {
    return readFileSync(path, 'utf8').split('\n').length - 1;
  } catch {
    return 0;
  }
};

function hypervisorOf(effectLog: string, burns: (name: FuseName) => boolean): Hypervisor {
  const { description } = createWorld();
  const hasBegun = (id: string): boolean => readFileSync(effectLog, 'utf8').includes(id);
  return {
    nodes: () => ['n1'],
    describe: async () => description,
    sample: () => Promise.reject(new Error('no sample')),
    async perform({ commandId, action }, context) {
      if (burns('perform:before')) die();
      appendFileSync(effectLog, `${JSON.stringify({ commandId, kind: action.kind })}\n`);
      if (burns('perform:after')) die();
      await context.onHandle(`UPID:${commandId}`);
      return { exitCode: 0, detail: 'done', output: '' };
    },
    async observe({ commandId }) {
      if (burns('observe:before')) die();
      return { postcondition: hasBegun(commandId), detail: 'looked' };
    },
    close: async () => undefined,
  };
}

async function main([folder = '', effectLog = '', key = '{}', fuseText = 'null']: string[]) {
  const say = (message: FromProcess): void => void process.send?.(message);
  const burns = createFuse(JSON.parse(fuseText) as Fuse | null);
  appendFileSync(effectLog, '');
  const log = Object.fromEntries(
    ['debug', 'info', 'warn', 'error'].map((level) => [
      level,
      (_fields: object, message: string) => {
        if (level === 'debug' || level === 'info') return;
        say({ type: 'log', level, message, effects: countLines(effectLog) });
      },
    ]),
  ) as Log;
  const executor = createExecutor({
    cluster: 'home',
    files: mortalFiles(nodeFiles(folder), burns),
    serverKeys: () => [JSON.parse(key) as ServerKey],
    readPolicy: async () => ({ ok: true, policy: LocalPolicy.parse({}) }),
    isHeld: async () => existsSync(`${effectLog}.hold`),
    observeOnly: false,
    hypervisor: hypervisorOf(effectLog, burns),
    wakers: [],
    clock: fastClock(1),
    random: systemRandom,
    newId: randomUUID,
    log,
  });
  executor.onOutgoing((message) => {
    if (message.name === 'report' && burns('report:before')) die();
    say({ type: 'said', message });
  });
  process.on('message', ({ message }: ToProcess) => {
    executor.deliver(message).catch((error: unknown) => {
      say({ type: 'log', level: 'error', message: String(error), effects: countLines(effectLog) });
    });
  });
  process.on('disconnect', () => process.exit(0));
  const { journalId, incarnation } = await executor.introduce('n1');
  executor.connected('n1', true);
  say({ type: 'ready', journalId, incarnation });
}

if (import.meta.main) await main(process.argv.slice(2));
