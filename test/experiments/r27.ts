/**
 * R27 as far as one release allows: every migration killed at every statement that changes
 * something, on both stores, and started again. The short form dies at every ninth of MariaDB.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dieAtStatements } from '../store/migration-deaths.ts';
import { experiment, type Figures, type Scope, upperBound } from '../support/experiment.ts';
import { startMariadb } from '../support/servers.ts';

/** `n` = 1 dies at every statement, 9 at every ninth. */
async function run({ n }: Scope): Promise<Figures> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-r27-'));
  const mariadb = await startMariadb();
  const violations: string[] = [];
  const tried = (where: Parameters<typeof dieAtStatements>[0], every: number): Promise<number> =>
    dieAtStatements(where, every).catch((error: unknown) => {
      violations.push(`${where.kind}: ${String(error)}`);
      return 0;
    });
  try {
    const sqlite = await tried({ kind: 'sqlite', folder }, 1);
    const deaths = await tried({ kind: 'mariadb', url: mariadb.url }, n);
    return { sqlite, mariadb: deaths, upperBound: upperBound(sqlite + deaths || 1), violations };
  } finally {
    await mariadb.stop();
    await rm(folder, { recursive: true });
  }
}

export const r27 = experiment(import.meta, { name: 'r27', short: 9, long: 1, run });
