import { chmod, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runTool, type ToolRun } from '../../../daemon/command/sandbox.ts';
import {
  findUnitTools,
  missingForUnits,
  stopArgv,
  unitArgv,
  type UnitTools,
} from '../../../daemon/command/transient-unit.ts';

let folder: string;
let tools: UnitTools;

/**
 * Speaks as systemd-run(1): takes --setenv values from its own environment, expands $NAME and $$
 * in arguments as systemd.service(5) says, runs the rest as a process group of its own and leaves
 * its number where the systemctl beside it finds it.
 */
const systemdRun = `#!${process.execPath}
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
const own = process.argv.slice(2);
const split = own.indexOf('--');
const [path, ...args] = own.slice(split + 1);
const options = own.slice(0, split);
const env = {};
for (const option of options) {
  const name = /^--setenv=(.*)$/.exec(option)?.[1];
  if (name !== undefined) env[name] = process.env[name];
}
const expand = (text) => text.replaceAll(/\\$(\\$|\\{(\\w+)\\}|(\\w+))/g, (_, sign, a, b) =>
  sign === '$' ? '$' : (env[a ?? b] ?? ''));
const child = spawn(path, args.map(expand), { env, detached: true, stdio: 'inherit' });
const unit = options.find((option) => option.startsWith('--unit='));
writeFileSync(import.meta.dirname + '/' + unit.slice(7), String(child.pid));
writeFileSync(import.meta.dirname + '/options', JSON.stringify(options));
process.on('SIGTERM', () => process.exit(1));
child.on('exit', (code) => process.exit(code ?? 255));
`;
const systemctl = `#!/bin/sh
[ "$1 $2" = "stop --quiet" ] || exit 1
kill -TERM -"$(cat "$(dirname "$0")/$(basename "$3" .service)")"
`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-unit-'));
  tools = { systemdRun: join(folder, 'systemd-run.mjs'), systemctl: join(folder, 'systemctl') };
  await writeFile(tools.systemdRun, systemdRun);
  await writeFile(tools.systemctl, systemctl);
  for (const path of Object.values(tools)) await chmod(path, 0o755);
});
afterAll(() => rm(folder, { recursive: true }));

const limits = { memoryBytesMax: 2 ** 28, tasksMax: 64 };
const tool = (argv: string[], more: Partial<ToolRun> = {}): ToolRun => ({
  path: '/bin/sh',
  argv: ['-c', ...argv],
  env: {},
  timeoutMs: 20_000,
  signal: new AbortController().signal,
  limits,
  ...more,
});

describe('a tool in a transient unit', () => {
  it('gets its arguments, its input and its environment, and answers as without one', async () => {
    const asked = tool(
      ['cat; printf "[%s]" "$@" "$KR_GUEST"', 'sh', '$HOME', '${PATH}', '$$', ''],
      {
        env: { KR_GUEST: 'web $1' },
        stdin: 'in ',
      },
    );
    expect(await runTool(asked, tools)).toEqual({
      exitCode: 0,
      killedBy: null,
      stdout: 'in [$HOME][${PATH}][$$][][web $1]',
      stderr: '',
    });
    expect((await runTool(tool(['exit 7']), tools)).exitCode).toBe(7);
  });

  it('is bounded in memory, tasks and time, and shows no value in the argument list', async () => {
    const env = { KR_GUEST: 'hunter2' };
    await runTool(tool(['true'], { env, timeoutMs: 1_500 }), tools);
    const options = await readFile(join(folder, 'options'), 'utf8');
    expect(JSON.parse(options)).toEqual([
      '--wait',
      '--pipe',
      '--collect',
      '--quiet',
      '--service-type=exec',
      expect.stringMatching(/^--unit=kernreaktor-tool-\d+-\d+$/),
      '--setenv=PATH',
      '--setenv=LC_ALL',
      '--setenv=KR_GUEST',
      ...['MemoryMax=268435456', 'MemorySwapMax=0', 'TasksMax=64'].flatMap((one) => ['-p', one]),
      ...['RuntimeMaxSec=62', 'TimeoutStopSec=5', 'WorkingDirectory=/'].flatMap((one) => [
        '-p',
        one,
      ]),
    ]);
    expect(options).not.toContain('hunter2');
  });

  it('is only asked to end, and given its time, where its work must not be torn', async () => {
    await runTool(tool(['true'], { cleanUpMs: 180_000 }), tools);
    const options = JSON.parse(await readFile(join(folder, 'options'), 'utf8')) as string[];
    const gentle = ['TimeoutStopSec=180', 'KillMode=mixed', 'SendSIGKILL=no'];
    expect(options).toEqual(expect.arrayContaining(gentle));
  });

  it('is killed only after the time that its administrator gave it', async () => {
    await runTool(tool(['true'], { killAfterMs: 45_500 }), tools);
    const options = JSON.parse(await readFile(join(folder, 'options'), 'utf8')) as string[];
    expect(options).toContain('TimeoutStopSec=46');
    expect(options).not.toContain('SendSIGKILL=no');
  });

  it('executes what a descriptor leads to, though its name is gone', async () => {
    const path = join(folder, 'gone');
    await writeFile(path, '#!/bin/sh\nprintf "%s" "ran $1"\n', { mode: 0o500 });
    const file = await open(path, 'r');
    await rm(path);
    const asked = tool([], { path, argv: ['$x'], descriptor: file.fd });
    expect(await runTool(asked, tools)).toMatchObject({ exitCode: 0, stdout: 'ran $x' });
    await file.close();
  });

  it('is missing before a unit is asked for', async () => {
    const path = join(folder, 'no-such-tool');
    await expect(runTool(tool([], { path }), tools)).rejects.toMatchObject({
      code: 'KR_TOOL_MISSING',
    });
  });

  it('is stopped as a unit when its time is over, since it outlives its client', async () => {
    const result = await runTool(tool(['echo $$; exec sleep 600'], { timeoutMs: 1_500 }), tools);
    expect(result.killedBy).toBe('timeout');
    const pid = result.stdout.trim();
    expect(pid).toMatch(/^\d+$/);
    const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z ');
    expect(state).toMatch(/\) [ZX] /);
  });

  it('runs in a group of ours without limits, and where systemd does not run', async () => {
    const { limits: _, ...free } = tool(['echo free']);
    expect((await runTool(free, tools)).stdout).toBe('free\n');
    expect((await runTool(tool(['echo plain']), undefined)).stdout).toBe('plain\n');
  });

  it('keeps every argument whole, as systemd expands it', () => {
    /** systemd's own reading of one argument; undefined: it would be split or replaced. */
    const read = (argument: string): string | undefined => {
      const rest = argument.replaceAll('$$', '');
      return rest.includes('$') ? undefined : argument.replaceAll('$$', '$');
    };
    const piece = fc.constantFrom('$', '$$', '${', '}', '$HOME', '%n', '%%', ' ', ';', '\\', '"');
    const hostile = fc.array(fc.oneof(piece, fc.string({ unit: 'binary' })), { maxLength: 8 });
    const set = fc.array(
      hostile.map((parts) => parts.join('')),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(set, (argv) => {
        const own = {
          name: 'u',
          path: '/bin/x',
          envNames: [],
          timeoutMs: 1,
          killAfterMs: 1,
          limits,
        };
        const built = unitArgv({ ...own, argv });
        const passed = built.slice(built.indexOf('--') + 2);
        expect(passed.map(read)).toEqual(argv);
      }),
      { numRuns: 10_000 },
    );
  });
});

describe('what is missing for units', () => {
  const all = new Set(['/run/systemd/system', '/usr/bin/systemd-run', '/usr/bin/systemctl']);
  const place = (without: string | null, uid = 0) => ({
    has: (path: string) => all.has(path) && path !== without,
    uid,
  });

  it.each([
    [place(null), []],
    [place('/run/systemd/system'), ['systemd does not run here']],
    [place('/usr/bin/systemd-run'), ['/usr/bin/systemd-run is missing: install']],
    [place('/usr/bin/systemctl'), ['/usr/bin/systemctl is missing: install']],
    [place(null, 1_000), ['run the executor as root']],
  ])('is told with the way out (%#)', (where, expected) => {
    const missing = missingForUnits(where);
    expect(missing).toEqual(expected.map((text) => expect.stringContaining(text)));
    expect(findUnitTools(where) === undefined).toBe(expected.length > 0);
  });

  it('names the unit that it stops', () => {
    expect(stopArgv('kernreaktor-tool-1-2')).toEqual([
      'stop',
      '--quiet',
      'kernreaktor-tool-1-2.service',
    ]);
  });
});
