/** Faults of system calls, put into a real process from outside by strace. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fetchInto, program } from './debian.ts';
import { executorProgram } from './executor-server.ts';

let strace: string | undefined;

/** Where strace is; undefined on a machine that has no way to it. */
export async function findStrace(): Promise<string | undefined> {
  strace ??= program('strace');
  if (strace === undefined) {
    const folder = await fetchInto('strace', ['strace']).catch(() => undefined);
    strace = folder && `${folder}/usr/bin/strace`;
  }
  return strace;
}

/** strace with these faults in front of a command line; IPC passes through it. */
export function underStrace(path: string, faults: readonly string[]) {
  const options = faults.flatMap((fault) => ['-e', `inject=${fault}`]);
  const calls = faults.map((fault) => fault.split(':')[0]).join(',');
  return (args: readonly string[]): ChildProcess =>
    spawn(
      path,
      `-f -qq -o /dev/null -e trace=${calls}`
        .split(' ')
        .concat(options, process.execPath, executorProgram, args),
      { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
    );
}
