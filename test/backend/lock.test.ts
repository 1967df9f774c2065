import { execFileSync } from 'node:child_process';
import { chownSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { lockFolder } from '../../backend/lock.ts';

let folder = '';
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'kr-lock-'))));
afterEach(() => rmSync(folder, { recursive: true }));

it('lets one process hold a folder, names it to the second, and lets go', () => {
  const release = lockFolder(folder);
  expect(() => lockFolder(folder)).toThrow(`in use by process ${process.pid}`);
  release();
  lockFolder(folder)();
});

it.skipIf(process.geteuid?.() !== 0)('makes root the owner of a folder that is not its own', () => {
  chownSync(folder, 8_480, 8_480);
  const lock = join(import.meta.dirname, '..', '..', 'backend', 'lock.ts');
  const script = `import { lockFolder } from ${JSON.stringify(lock)};
    lockFolder(${JSON.stringify(folder)});
    process.stdout.write(JSON.stringify([process.getuid(), process.getgid(), process.getgroups()]));`;
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', script]);
  expect(JSON.parse(said.toString())).toEqual([8_480, 8_480, [8_480]]);
  const { uid, gid } = statSync(join(folder, 'lock'));
  expect([uid, gid]).toEqual([8_480, 8_480]);
});

it.each([
  ['a process that is gone', JSON.stringify({ pid: 2 ** 22 + 1, startedAtTicks: '1' })],
  ['another process under the same pid', JSON.stringify({ pid: process.pid, startedAtTicks: '1' })],
  ['a torn write', '{"pid":'],
])('takes over the lock of %s', (_, left) => {
  writeFileSync(join(folder, 'lock'), left);
  const release = lockFolder(folder);
  expect(JSON.parse(readFileSync(join(folder, 'lock'), 'utf8'))).toMatchObject({
    pid: process.pid,
  });
  release();
});
