/**
 * `kernreaktor backup`: one more backup now, a list, a copy elsewhere, and the key that opens them.
 * The key is read from the server's own folder, never asked of the server.
 */
import { createWriteStream } from 'node:fs';
import { readFile, rename } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { bytes } from '../format.ts';
import type { ClientApi } from './api.ts';
import { NotFound } from './find.ts';
import { json, number, table } from './output.ts';

const BackupRow = z.object({ name: z.string(), at: z.string(), bytes: z.number() });
const Listed = z.object({
  items: z.array(BackupRow),
  last: z.object({ at: z.string(), problem: z.string().nullable() }).nullable(),
});

type Deps = { api: ClientApi };

export async function makeBackup(
  { api }: Deps,
  { out, json: isJson }: { out?: string; json?: boolean },
): Promise<string> {
  const made = await api.ask(BackupRow, { method: 'POST', path: '/api/v1/backups' });
  if (out !== undefined) {
    const stream = await api.download(`/api/v1/backups/${encodeURIComponent(made.name)}`);
    await pipeline(stream, createWriteStream(`${out}.part`, { mode: 0o600 }));
    await rename(`${out}.part`, out);
  }
  if (isJson) return json(made);
  return `${made.name}, ${bytes(made.bytes)}${out === undefined ? '' : `, copied to ${out}`}`;
}

export async function listBackups(
  { api }: Deps,
  { json: isJson }: { json?: boolean },
): Promise<string> {
  const listed = await api.ask(Listed, { method: 'GET', path: '/api/v1/backups' });
  if (isJson) return json(listed);
  const { items, last } = listed;
  const rows = items.map(({ name, at, bytes: size }) => [name, at, number(bytes(size))]);
  const problem = last?.problem ?? null;
  return [
    table(['backup', 'made', 'size'], rows),
    ...(problem === null ? [] : [`the last attempt failed: ${problem}`]),
  ].join('\n');
}

export async function showBackupKey(
  dataDir: string,
  { json: isJson }: { json?: boolean },
): Promise<string> {
  const path = join(resolve(dataDir), 'keys', 'backup-identity.txt');
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text !== null) {
    if (isJson) return json({ path, identity: /^AGE-SECRET-KEY-\S+/m.exec(text)?.[0] ?? null });
    return `${text.trim()}\n# keep it where a fire of this machine does not reach`;
  }
  throw new NotFound(
    `${path} is not there: backups go to KR_BACKUP_RECIPIENTS, or none was made yet, or this is ` +
      'not the machine of the server',
  );
}
