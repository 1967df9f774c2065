import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allowTools, runTool, SandboxError } from '../../../daemon/command/sandbox.ts';
import { outputBytesMax } from '../../../daemon/command/tool-output.ts';

/** 10000 for the long form; each set starts one process. */
const hostileSets = Number(process.env['KR_HOSTILE_SETS'] ?? 1_000);

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-sandbox-'));
});
afterAll(() => rm(folder, { recursive: true }));

type More = { timeoutMs?: number; killAfterMs?: number; signal?: AbortSignal };
const sh = (script: string, more: More = {}) =>
  runTool({
    path: '/bin/sh',
    argv: ['-c', script],
    env: {},
    timeoutMs: more.timeoutMs ?? 20_000,
    killAfterMs: more.killAfterMs,
    signal: more.signal ?? new AbortController().signal,
  });

/** A zombie nobody reaps is as good as gone: it holds nothing and runs nothing. */
async function isRunning(pid: string): Promise<boolean> {
  const status = await readFile(`/proc/${pid.trim()}/stat`, 'utf8').catch(() => ' Z ');
  return !/\) [ZX] /.test(status) && status !== ' Z ';
}

const failure = async (path: string, argv: string[] = []) => {
  const signal = new AbortController().signal;
  return runTool({ path, argv, env: {}, timeoutMs: 1_000, signal }).catch(
    (error: unknown) => error,
  );
};

describe('runTool', () => {
  it('answers exit code and both outputs of a tool that ends by itself', async () => {
    const result = await sh('echo out; echo err >&2; exit 3');
    expect(result).toEqual({ exitCode: 3, killedBy: null, stdout: 'out\n', stderr: 'err\n' });
  });

  it('hands stdin to the tool, and survives a tool that does not read it', async () => {
    const signal = new AbortController().signal;
    const run = { path: '/bin/cat', argv: [], env: {}, timeoutMs: 20_000, signal };
    expect((await runTool({ ...run, stdin: 'a\nb' })).stdout).toBe('a\nb');
    const big = 'x'.repeat(1_000_000);
    expect((await runTool({ ...run, path: '/bin/true', stdin: big })).exitCode).toBe(0);
  });

  it('gives the tool nothing of our environment but PATH, LC_ALL and what was passed', async () => {
    const signal = new AbortController().signal;
    const env = { KR_GUEST: '100' };
    const run = { path: '/usr/bin/env', argv: [], env, timeoutMs: 20_000, signal };
    expect((await runTool(run)).stdout.trim().split('\n').sort()).toEqual([
      'KR_GUEST=100',
      'LC_ALL=C',
      'PATH=/usr/sbin:/usr/bin:/sbin:/bin',
    ]);
  });

  it('keeps each argument one argument, whatever it holds', async () => {
    const argv = ['a b', '"q" \'s\'', 'line\nbreak', '$(id)', '; rm -rf /', '', '*', '`id`', '\\'];
    const script = 'for a in "$@"; do printf "%s\\0" "$a"; done';
    const signal = new AbortController().signal;
    const run = { path: '/bin/sh', argv: ['-c', script, 'sh', ...argv], env: {} };
    const result = await runTool({ ...run, timeoutMs: 20_000, signal });
    expect(result.stdout.split('\0').slice(0, -1)).toEqual(argv);
  });

  it('ends a tool at its time limit, even one that ignores SIGTERM', async () => {
    const result = await sh('trap "" TERM; echo $$; while :; do sleep 0.2; done', {
      timeoutMs: 300,
    });
    expect(result.killedBy).toBe('timeout');
    expect(result.exitCode).toBeNull();
    expect(await isRunning(result.stdout)).toBe(false);
  });

  it('lets a tool finish what it does at SIGTERM, for as long as was stated', async () => {
    const script = 'trap "sleep 1; echo tidy; exit 3" TERM; echo up; while :; do sleep 0.1; done';
    const given = { timeoutMs: 1_500 };
    const patient = await sh(script, { ...given, killAfterMs: 60_000 });
    expect(patient).toMatchObject({ killedBy: 'timeout', exitCode: 3 });
    expect(patient.stdout).toContain('tidy');
    const hasty = await sh(script, { ...given, killAfterMs: 100 });
    expect(hasty).toMatchObject({ killedBy: 'timeout', exitCode: null });
    expect(hasty.stdout).not.toContain('tidy');
  });

  it('ends the grandchildren, too, when the time is over', async () => {
    const result = await sh('sleep 600 & echo $!; wait', { timeoutMs: 300 });
    expect(result.killedBy).toBe('timeout');
    expect(await isRunning(result.stdout)).toBe(false);
  });

  it('ends grandchildren that hold our pipes after their parent ended well', async () => {
    const result = await sh('sleep 600 & echo $!');
    expect(result).toMatchObject({ exitCode: 0, killedBy: null });
    expect(await isRunning(result.stdout)).toBe(false);
  });

  it('answers although a process outside the group holds stdout', async () => {
    const result = await sh('setsid sleep 20 & sleep 0.3; echo $!; exit 0');
    expect(result).toMatchObject({ exitCode: 0, killedBy: null });
    const escaped = result.stdout.trim();
    expect(escaped).toMatch(/^\d+$/);
    if (await isRunning(escaped)) process.kill(Number(escaped), 'SIGKILL');
  });

  it('lets a detached process live that closed our pipes', async () => {
    const result = await sh('sleep 30 >/dev/null 2>&1 & echo $!');
    expect(result.exitCode).toBe(0);
    expect(await isRunning(result.stdout)).toBe(true);
    process.kill(Number(result.stdout), 'SIGKILL');
  });

  it('ends the tool when the caller aborts, and never starts it after an abort', async () => {
    const stop = new AbortController();
    const running = sh('echo here; exec sleep 600', { signal: stop.signal });
    stop.abort();
    expect(await running).toMatchObject({ exitCode: null, killedBy: 'signal' });
    const marker = join(folder, 'marker');
    const late = await sh(`touch ${marker}`, { signal: stop.signal });
    expect(late).toEqual({ exitCode: null, killedBy: 'signal', stdout: '', stderr: '' });
    await expect(readFile(marker)).rejects.toThrow(/ENOENT/);
  });

  it('keeps the newest 64 KiB of one gigabyte of output', async () => {
    const before = process.memoryUsage().rss;
    const result = await sh('head -c 1000000000 /dev/zero; printf "the end"');
    expect(result.exitCode).toBe(0);
    expect(result.stdout).toHaveLength(outputBytesMax);
    expect(result.stdout.endsWith('the end')).toBe(true);
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1024 * 1024);
  });

  it('does not begin with half a character when output was cut', async () => {
    const result = await sh(
      'i=0; while [ $i -lt 900 ]; do printf "%0100d" 0 | sed s/0/ä/g; i=$((i+1)); done; printf a',
    );
    expect(result.stdout).not.toContain('\ufffd');
    expect(result.stdout.length).toBeGreaterThan(30_000);
  });

  it('keeps more of standard output where more is asked for', async () => {
    const signal = new AbortController().signal;
    const script = 'head -c 3000000 /dev/zero; printf "the end"; head -c 100000 /dev/zero >&2';
    const argv = ['-c', script];
    const run = { path: '/bin/sh', argv, env: {}, timeoutMs: 20_000, signal };
    const result = await runTool({ ...run, stdoutBytesMax: 2 ** 20 });
    expect(result.stdout).toHaveLength(2 ** 20);
    expect(result.stdout.endsWith('the end')).toBe(true);
    expect(result.stderr).toHaveLength(outputBytesMax);
  });

  it('starts only what a driver may start', async () => {
    const signal = new AbortController().signal;
    const run = { argv: ['x'], env: {}, timeoutMs: 20_000, signal };
    const tools = allowTools(['/bin/echo', '/bin/true']);
    expect((await tools({ ...run, path: '/bin/echo' })).stdout).toBe('x\n');
    for (const path of ['/bin/sh', '/bin/../bin/echo', '/bin/echo ', 'echo', '/bin']) {
      const refused = tools({ ...run, path });
      await expect(refused).rejects.toMatchObject({
        code: 'KR_TOOL_PATH',
        wayOut: 'only /bin/echo, /bin/true may be started here',
      });
    }
  });

  it('passes hostile arguments and values unchanged, or refuses them before the start', async () => {
    const signal = new AbortController().signal;
    const script = 'for a in "$@" "$KR_VALUE"; do printf "%s\\0" "$a"; done';
    const run = { path: '/bin/sh', timeoutMs: 20_000, signal };
    const piece = fc.constantFrom('$(id)', '`id`', ';', '|', '&', '>x', '*', '~', '-rf', '\0');
    const more = fc.constantFrom(
      '\n',
      '\r',
      '"',
      "'",
      '\\',
      '${IFS}',
      '%s',
      '\ud800',
      '\u202e',
      ' ',
    );
    const text = fc
      .array(fc.oneof(piece, more, fc.string({ unit: 'binary' })), { maxLength: 5 })
      .map((parts) => parts.join(''));
    const seen = { passed: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 5 }), text, async (argv, KR_VALUE) => {
        const asked = { ...run, argv: ['-c', script, 'sh', ...argv], env: { KR_VALUE } };
        const outcome = await runTool({ ...asked, stdoutBytesMax: 2 ** 20 }).catch(
          (error: unknown) => (error instanceof SandboxError ? error.code : String(error)),
        );
        const all = [...argv, KR_VALUE];
        const isSound = all.every((one) => one.isWellFormed() && !one.includes('\0'));
        const expected = isSound
          ? { exitCode: 0, stdout: all.map((one) => `${one}\0`).join('') }
          : 'KR_TOOL_SPAWN';
        seen[isSound ? 'passed' : 'refused'] += 1;
        expect([outcome]).toMatchObject([expected]);
      }),
      { numRuns: hostileSets },
    );
    expect(Math.min(seen.passed, seen.refused)).toBeGreaterThan(hostileSets / 10);
  });

  it('refuses names of variables that another program could read otherwise', async () => {
    const signal = new AbortController().signal;
    for (const name of ['A=B', '', '1A', 'A B', 'A\0', 'BASH_FUNC_x%%']) {
      const env = { [name]: 'x' };
      const run = { path: '/bin/true', argv: [], env, timeoutMs: 1_000, signal };
      await expect(runTool(run)).rejects.toMatchObject({ code: 'KR_TOOL_SPAWN' });
    }
  });

  it('names the way out when the tool cannot be started', async () => {
    const plain = join(folder, 'plain');
    await writeFile(plain, '#!/bin/sh\n', { mode: 0o644 });
    const cases = [
      [await failure('ls'), 'KR_TOOL_PATH', /absolute path/],
      [await failure('/nowhere/tool'), 'KR_TOOL_MISSING', /install \/nowhere\/tool/],
      [await failure(plain), 'KR_TOOL_DENIED', /chmod \+x/],
      [await failure('/bin/echo', ['nul\0byte']), 'KR_TOOL_SPAWN', /NUL byte/],
      [await failure('/bin/echo', ['x'.repeat(4_000_000)]), 'KR_TOOL_SPAWN', /limits/],
    ] as const;
    for (const [error, code, wayOut] of cases) {
      expect(error).toBeInstanceOf(SandboxError);
      expect((error as SandboxError).code).toBe(code);
      expect((error as SandboxError).message).toMatch(wayOut);
    }
  });
});
