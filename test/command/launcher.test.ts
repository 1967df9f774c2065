import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const launcher = join(import.meta.dirname, '..', '..', 'bin', 'kernreaktor');
let folder = '';
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'kr-launcher-'))));
afterEach(() => rmSync(folder, { recursive: true }));

/** Runs the launcher where these programs answer for the machine. */
const runOn = (programs: Record<string, string>): Promise<{ code: number; stderr: string }> => {
  for (const [name, body] of Object.entries(programs)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  const env = { PATH: `${folder}:/usr/bin:/bin` };
  return new Promise((resolve) => {
    execFile(launcher, ['--version'], { env }, (error, _stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stderr }),
    );
  });
};

describe('the launcher', () => {
  it.each([
    [
      'a 32-bit processor',
      { uname: 'case $1 in -s) echo Linux;; *) echo armv7l;; esac' },
      /armv7l/,
    ],
    ['another system', { uname: 'case $1 in -s) echo Darwin;; *) echo arm64;; esac' }, /Darwin/],
    ['a 32-bit system on a 64-bit kernel', { getconf: 'echo 32' }, /64-bit image/],
    ['musl', { ldd: 'echo "musl libc (x86_64)" >&2; exit 1' }, /needs glibc/],
  ])('refuses %s with one clear line', async (_, programs, line) => {
    const { code, stderr } = await runOn(programs);
    expect(code).toBe(1);
    expect(stderr).toMatch(line);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  it('starts where it can', async () => {
    expect(await runOn({})).toEqual({ code: 0, stderr: '' });
  });
});
