/**
 * Runs a script on another host by the person's own `ssh`, with the person's own keys: the server
 * has none. It asks for no password and is never given one.
 */
import { spawn } from 'node:child_process';
import { pipeline } from 'node:stream/promises';
import type { Readable } from 'node:stream';

export type Ran = { code: number | null; output: string };

/** `input` becomes the script's standard input. Rejects when ssh itself cannot be started. */
export type RunRemote = (destination: string, script: string, input?: Readable) => Promise<Ran>;

const outputMax = 16_384;
const options = ['-o', 'BatchMode=yes', '-o', 'ConnectTimeout=15', '-o', 'ServerAliveInterval=15'];

export const sshRunner =
  (program = 'ssh'): RunRemote =>
  async (destination, script, input) => {
    const child = spawn(program, [...options, '--', destination, script], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let output = '';
    const keep = (chunk: Buffer): void => {
      output = (output + chunk.toString('utf8')).slice(-outputMax);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    // A script that ended early takes no more: its exit code says why.
    child.stdin.on('error', () => undefined);
    if (input) pipeline(input, child.stdin).catch(() => undefined);
    else child.stdin.end();
    try {
      return { code: await ended, output: output.trim() };
    } finally {
      input?.destroy();
    }
  };
