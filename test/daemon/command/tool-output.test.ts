import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, writeSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runTool, type ToolRun } from '../../../daemon/command/sandbox.ts';
import { openOutputs, outputBytesMax, sweepOutputs } from '../../../daemon/command/tool-output.ts';
import { until } from '../../support/servers.ts';

let folder = '';
let outputs = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-output-'));
  outputs = join(folder, 'output');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const sh = (script: string, more: Partial<ToolRun> = {}): ToolRun => ({
  path: '/bin/sh',
  argv: ['-c', script],
  env: {},
  timeoutMs: 20_000,
  signal: new AbortController().signal,
  outputFolder: outputs,
  ...more,
});

const sandbox = import.meta.resolve('../../../daemon/command/sandbox.ts');

/** Stands for an executor: runs one tool, and is killed while the tool works. */
function startExecutor(run: ToolRun, units: object | undefined): ChildProcess {
  const { signal: _, ...plain } = run;
  const program = `
    import { runTool } from ${JSON.stringify(sandbox)};
    const signal = new AbortController().signal;
    await runTool({ ...${JSON.stringify(plain)}, signal }, ${JSON.stringify(units)});
  `;
  const argv = ['--input-type=module-typescript', '--eval', program];
  return spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** As systemd: the client passes its streams on to a process that it is not the parent of. */
async function fakeUnits(): Promise<{ systemdRun: string; systemctl: string }> {
  const systemdRun = join(folder, 'systemd-run');
  const text = `#!/bin/sh
echo $$ > '${folder}/client'
while [ "$1" != -- ]; do shift; done
shift
setsid "$@" &
wait
`;
  await writeFile(systemdRun, text);
  await chmod(systemdRun, 0o755);
  return { systemdRun, systemctl: '/bin/true' };
}

const exists = (name: string): Promise<boolean> =>
  stat(join(folder, name)).then(
    () => true,
    () => false,
  );

describe('a tool that acts', () => {
  it.each([
    ['as a process group', false],
    ['as a transient unit', true],
  ])('goes on printing and ends its work when its executor is killed, %s', async (_, isUnit) => {
    const script = `
      touch begun; until [ -e killed ]; do echo waiting; sleep 0.05; done
      echo one; echo two >&2; echo three; touch ended
    `;
    const units = isUnit ? await fakeUnits() : undefined;
    const limits = { memoryBytesMax: 2 ** 28, tasksMax: 64 };
    const run = sh(`cd '${folder}'; ${script}`, isUnit ? { limits } : {});
    const executor = startExecutor(run, units);
    await until(() => exists('begun'), { what: 'the tool at work' });
    executor.kill('SIGKILL');
    if (executor.exitCode === null && executor.signalCode === null) await once(executor, 'exit');
    // systemd ends the client with the executor, and not the unit.
    if (isUnit) process.kill(Number(await readFile(join(folder, 'client'), 'utf8')), 'SIGKILL');
    await writeFile(join(folder, 'killed'), '');
    await until(() => exists('ended'), { withinMs: 10_000, what: 'the end of its work' });
    const [own = ''] = await readdir(outputs);
    expect(await readFile(join(outputs, own, 'stdout'), 'utf8')).toMatch(/waiting\none\nthree\n$/);
    expect(await readFile(join(outputs, own, 'stderr'), 'utf8')).toBe('two\n');
  });

  it('answers as one with pipes does, and leaves nothing behind', async () => {
    const asked = sh('cat; echo out; echo err >&2; exit 3', { stdin: 'in\n' });
    expect(await runTool(asked, undefined)).toEqual({
      exitCode: 3,
      killedBy: null,
      stdout: 'in\nout\n',
      stderr: 'err\n',
    });
    expect(await readdir(outputs)).toEqual([]);
  });

  it('is not begun where its output cannot be kept', async () => {
    await writeFile(outputs, 'in the way');
    const run = runTool(sh(`touch '${folder}/begun'`), undefined);
    await expect(run).rejects.toMatchObject({ code: 'KR_TOOL_SPAWN' });
    expect(await exists('begun')).toBe(false);
  });

  it('has its time to put things right when nobody waits any longer', async () => {
    const script = `trap 'sleep 1; echo unlocked; exit 4' TERM; echo ready; sleep 30 & wait`;
    const limits = { timeoutMs: 700, cleanUpMs: 60_000 };
    const result = await runTool(sh(script, limits), undefined);
    expect(result).toEqual({
      exitCode: 4,
      killedBy: 'timeout',
      stdout: 'ready\nunlocked\n',
      stderr: '',
    });
  });

  it('is left at work, never killed, when it does not heed the request to end', async () => {
    const script = `trap '' TERM; echo $$ > '${folder}/pid'
      until [ -e '${folder}/go' ]; do sleep 0.05; done; touch '${folder}/whole'`;
    const result = await runTool(sh(script, { timeoutMs: 500, cleanUpMs: 300 }), undefined);
    expect(result).toMatchObject({ exitCode: null, killedBy: 'timeout' });
    await writeFile(join(folder, 'go'), '');
    await until(() => exists('whole'), { withinMs: 10_000, what: 'the end of its work' });
  });
});

describe('files of output', () => {
  const sizeOf = async (name: string): Promise<number> => {
    const [own = ''] = await readdir(outputs);
    return (await stat(join(outputs, own, name))).size;
  };

  it('are cut to their newest part while they grow, and tell the newest 64 KiB', async () => {
    const files = await openOutputs(outputs);
    const line = `${'ä'.repeat(60)}\n`;
    writeSync(files.descriptors[0], line.repeat(10_000));
    writeSync(files.descriptors[1], 'short\n');
    await files.cut();
    expect(await sizeOf('stdout')).toBe(outputBytesMax);
    writeSync(files.descriptors[0], 'last\n');
    const { stdout, stderr } = await files.read();
    expect(stdout.endsWith(`${line}last\n`)).toBe(true);
    expect(Buffer.byteLength(stdout)).toBeGreaterThan(outputBytesMax - 4);
    expect(Buffer.byteLength(stdout)).toBeLessThanOrEqual(outputBytesMax);
    expect(stdout).not.toContain('\uFFFD');
    expect(stderr).toBe('short\n');
    await files.close(true);
    expect(await readdir(outputs)).toEqual([]);
  });

  it('of an earlier process are bounded while they are written, and go when long untouched', async () => {
    const files = await openOutputs(outputs);
    const [own = ''] = await readdir(outputs);
    await files.close(false);
    appendFileSync(join(outputs, own, 'stdout'), Buffer.alloc(3 * 2 ** 20, 'x'));
    await sweepOutputs(outputs, Date.now());
    expect(await sizeOf('stdout')).toBe(outputBytesMax);
    const nowMs = Date.now();
    const hour = 3_600_000;
    await sweepOutputs(outputs, nowMs + 24 * hour);
    expect(await readdir(outputs)).toEqual([own]);
    for (const name of ['stdout', 'stderr', '.']) {
      await utimes(join(outputs, own, name), nowMs / 1000, nowMs / 1000);
    }
    await sweepOutputs(outputs, nowMs + 26 * hour);
    expect(await readdir(outputs)).toEqual([]);
  });

  it('that do not exist yet are nothing to sweep', async () => {
    await sweepOutputs(join(folder, 'nowhere'), Date.now());
    expect(await exists('nowhere')).toBe(false);
  });
});
