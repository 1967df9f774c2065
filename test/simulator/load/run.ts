/** Runs the `simulate` command as it is, on the real clock, and answers what it said. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { Command } from 'commander';
import { readFileSync } from 'node:fs';
import type { Server } from '../../../simulator/config.ts';
import { addSimulateCommand } from '../../../simulator/command.ts';
import { seededRandom } from '../../../simulator/prng.ts';
import type { Report } from '../../../simulator/report.ts';
import { realClock } from '../../broker/wire.ts';
import { idsOf } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

function sink(): Writable & { text: () => string } {
  let text = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  return Object.assign(stream, { text: () => text });
}

export type Ran = { exitCode: number | undefined; out: string; errors: string };

export async function simulateCommand(args: readonly string[], server?: Server): Promise<Ran> {
  const random = seededRandom(Math.floor(performance.now() * 1_000));
  const [out, errors] = [sink(), sink()];
  const ran: Ran = { exitCode: undefined, out: '', errors: '' };
  const program = new Command();
  addSimulateCommand(program, () => ({
    clock: realClock,
    random,
    newId: idsOf(realClock, random),
    log: memoryLog(),
    version: 'test',
    pid: process.pid,
    out,
    errors,
    setExitCode: (code) => void (ran.exitCode = code),
    signal: new AbortController().signal,
    ...(server && { server: () => server }),
  }));
  await program.parseAsync(['simulate', ...args], { from: 'user' });
  return { ...ran, out: out.text(), errors: errors.text() };
}

/** With its profile written to a file; answers the report as `--out` keeps it. */
export async function simulateProfile(
  profile: string,
  args: readonly string[],
  server?: Server,
): Promise<{ report: Report; exitCode: number | undefined }> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-load-'));
  try {
    const [file, out] = [join(folder, 'profile.yaml'), join(folder, 'out.json')];
    await writeFile(file, profile);
    const ran = await simulateCommand(['--profile', file, '--out', out, ...args], server);
    if (ran.errors.includes('profile.yaml:')) throw new Error(ran.errors);
    const report = JSON.parse(readFileSync(out, 'utf8')) as Report;
    return { report, exitCode: ran.exitCode };
  } finally {
    await rm(folder, { recursive: true });
  }
}
