import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

it.skipIf(process.geteuid?.() !== 0)(
  'is not taken by root where it belongs to somebody else',
  () => {
    chownSync(folder, 8_480, 8_480);
    expect(() => lockFolder(folder)).toThrow(/belongs to the user with id 8480.*runuser/);
    chownSync(folder, 0, 0);
    lockFolder(folder)();
  },
);

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
