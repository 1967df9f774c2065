/**
 * Puts a backup back while no server runs: first all of it is read and checked, then tables and
 * files are written. Invariant: daemons may be ahead of what is restored, so nothing may begin
 * before a person has looked: everything is on HOLD, epochs and the version of HOLD are raised
 * beyond what daemons may have seen, what waited is in doubt, and every session ends. A restore
 * that was cut off bars the start until it is repeated.
 */
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sql } from 'kysely';
import type { Clock, Log } from '../../broker/contract/ports.ts';
import { appendAudit } from '../audit/chain.ts';
import { writeWhole } from '../durable.ts';
import { type DatabaseOptions, openDatabase } from '../store/sql/database.ts';
import { dropTables, insertRows, isInUse } from '../store/sql/dump.ts';
import { knowsMigrations } from '../store/sql/migrate.ts';
import { type Counts, type Head, readArchive } from './archive.ts';
import { type Places, placeOf } from './files.ts';
import { guardAgainstThePast } from './past.ts';
import { BackupError } from './seal.ts';
import { forgetMark } from './store-mark.ts';

const markerName = 'restore-unfinished';

export type RestoreOrder = {
  path: string;
  identities: readonly string[];
  /** Whether what the store and the folder hold may be replaced. */
  isReplacing: boolean;
};

export type RestoreDeps = {
  places: Places;
  /** Where SQL is kept; `file` is moved aside when it is replaced. */
  database: DatabaseOptions;
  clock: Clock;
  log: Log;
};

export type Restored = Counts & { takenAtMs: number; version: string; movedTo: string | null };

/** @throws BackupError when a restore of this folder was cut off. */
export function refuseHalfRestored(dataDir: string): void {
  if (!existsSync(join(dataDir, markerName))) return;
  throw new BackupError(
    `a restore into ${dataDir} was cut off: run kernreaktor restore <file> --replace again`,
  );
}

/** Reads all of it once, before anything is touched. */
async function check({ path, identities }: RestoreOrder): Promise<{ head: Head; counts: Counts }> {
  const found: Head[] = [];
  const counts = await readArchive(path, identities, {
    head: (head) => void found.push(head),
    content: () => undefined,
  });
  const [head] = found;
  if (!head) throw new BackupError(`${path} is empty`);
  if (knowsMigrations(head.migrations)) return { head, counts };
  throw new BackupError(
    `${path} was made by version ${head.version}, which is newer: restore it with that version`,
  );
}

async function requireUnused({ database, places }: RestoreDeps): Promise<void> {
  const wayOut = 'add --replace to replace it';
  if (existsSync(join(places.dataDir, 'keys', 'server-1.pem'))) {
    throw new BackupError(`${places.dataDir} already has keys of a server: ${wayOut}`);
  }
  if (database.url === undefined && !existsSync(database.file)) return;
  const store = await openDatabase(database);
  try {
    if (!(await isInUse(store))) return;
  } finally {
    await store.close();
  }
  throw new BackupError(`the SQL store already holds an installation: ${wayOut}`);
}

/** SQLite's file is kept beside the new one; MariaDB's tables are dropped. */
async function clear({ database, clock }: RestoreDeps): Promise<string | null> {
  if (database.url !== undefined) {
    const store = await openDatabase(database).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'KR_STORE_MISCONFIGURED') {
        const why = 'its tables are of a newer version; empty the database by hand';
        throw new BackupError(`the database is not replaced: ${why}`);
      }
      throw error;
    });
    try {
      await dropTables(store.db);
    } finally {
      await store.close();
    }
    return null;
  }
  if (!existsSync(database.file)) return null;
  const aside = `${database.file}.before-restore-${clock.wallMs()}`;
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(`${database.file}${suffix}`)) {
      await rename(`${database.file}${suffix}`, `${aside}${suffix}`);
    }
  }
  return aside;
}

async function restoreRows(deps: RestoreDeps, order: RestoreOrder, head: Head): Promise<void> {
  const store = await openDatabase(deps.database, head.migrations.at(-1));
  const nowMs = deps.clock.wallMs();
  try {
    // All rows or none: an empty store is a first start, half a one would be a lie.
    await store.transaction(async (trx) => {
      // Reading a large archive takes a busy machine longer than an idle leader is given.
      const isServer = deps.database.url !== undefined;
      if (isServer) await sql`set session idle_transaction_timeout = 0`.execute(trx);
      await readArchive(order.path, order.identities, {
        head: () => undefined,
        async content(content) {
          if (content.kind === 'rows') await insertRows(trx, content);
        },
      });
      const at = new Date(head.takenAtMs).toISOString();
      const reason = `restored from a backup of ${at}: look at commands and nodes, then release it`;
      await guardAgainstThePast(trx, { reason, nowMs });
      await appendAudit(trx, {
        chain: 'system',
        actor: 'local',
        action: 'backup.restored',
        subject: 'everything',
        phase: 'done',
        detail: { takenAtMs: head.takenAtMs, version: head.version },
        atMs: nowMs,
      });
    });
  } finally {
    await store.close();
  }
}

async function restoreFiles({ places }: RestoreDeps, order: RestoreOrder): Promise<void> {
  await rm(join(places.dataDir, 'keys'), { recursive: true, force: true });
  await readArchive(order.path, order.identities, {
    head: () => undefined,
    async content(content) {
      if (content.kind !== 'file') return;
      const bytes = Buffer.from(content.base64, 'base64');
      await writeWhole(placeOf(content.path, places), bytes, content.mode);
    },
  });
}

/**
 * The caller holds the lock of the data folder.
 * @throws BackupError naming what is in the way; nothing was changed then.
 */
export async function restore(order: RestoreOrder, deps: RestoreDeps): Promise<Restored> {
  const { head, counts } = await check(order);
  const marker = join(deps.places.dataDir, markerName);
  const isRepeated = existsSync(marker);
  if (!order.isReplacing && !isRepeated) await requireUnused(deps);
  await mkdir(deps.places.dataDir, { recursive: true, mode: 0o700 });
  await writeWhole(marker, Buffer.from(`${order.path}\n`), 0o600);
  const movedTo = await clear(deps);
  await restoreRows(deps, order, head);
  await restoreFiles(deps, order);
  await forgetMark(deps.places.dataDir);
  // Brings the tables of an older version forward now, not at a start that nobody watches.
  await (await openDatabase(deps.database)).close();
  await rm(marker);
  return { ...counts, takenAtMs: head.takenAtMs, version: head.version, movedTo };
}
