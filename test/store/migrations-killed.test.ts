import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startMariadb } from '../support/servers.ts';
import { dieAtStatements } from './migration-deaths.ts';

it('end with the same tables after a death at any statement, on SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kr-migrations-'));
  try {
    expect(await dieAtStatements({ kind: 'sqlite', folder })).toBeGreaterThan(30);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 120_000);

it('end with the same tables after a death at every ninth statement, on MariaDB', async () => {
  const mariadb = await startMariadb();
  try {
    expect(await dieAtStatements({ kind: 'mariadb', url: mariadb.url }, 9)).toBeGreaterThan(3);
  } finally {
    await mariadb.stop();
  }
}, 120_000);
