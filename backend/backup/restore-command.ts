/**
 * `kernreaktor restore <file>`: on the server's own machine, by its settings, while the server is
 * stopped; the lock of the data folder sees to that.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { configPath, type Settings } from '../config.ts';
import { lockFolder } from '../lock.ts';
import { type BackendParts, databaseOptions } from '../stores.ts';
import { identityFile } from './backups.ts';
import { restore } from './restore.ts';
import { BackupError, readIdentities } from './seal.ts';

export type RestoreOptions = { identity?: string; replace?: boolean; json?: boolean };

function identityPath(settings: Settings, given: string | undefined): string {
  if (given !== undefined) return resolve(given);
  const own = join(settings.KR_DATA_DIR, 'keys', identityFile);
  if (existsSync(own)) return own;
  throw new BackupError(
    'which key opens it? --identity <file>: what kernreaktor backup key printed, or your own',
  );
}

/** Answers what to tell the person. */
export async function restoreFrom(
  file: string,
  { identity, replace = false, json = false }: RestoreOptions,
  { settings, parts }: { settings: Settings; parts: BackendParts },
): Promise<string> {
  const identities = await readIdentities(identityPath(settings, identity));
  const unlock = lockFolder(settings.KR_DATA_DIR);
  try {
    const restored = await restore(
      { path: resolve(file), identities, isReplacing: replace },
      {
        places: { dataDir: settings.KR_DATA_DIR, configPath: configPath(settings) },
        database: databaseOptions(settings, parts),
        ...parts,
      },
    );
    const { rows, files, version, takenAtMs, movedTo } = restored;
    const takenAt = new Date(takenAtMs).toISOString();
    if (json) return JSON.stringify({ rows, files, version, takenAt, movedTo }, null, 2);
    return [
      `restored ${rows} rows and ${files} files as of ${takenAt}`,
      ...(movedTo === null ? [] : [`the database that was there before is ${movedTo}`]),
      'everything is on HOLD and everybody is signed out: start the server, look at commands and',
      'nodes, then: kernreaktor hold --release',
    ].join('\n');
  } finally {
    unlock();
  }
}
