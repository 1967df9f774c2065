/**
 * The directory of a broker that runs alone: a JSON file which the backend writes whole at every
 * change and the broker reads again when it changed. Holds hashes, never secrets. A file that
 * cannot be read leaves the last good one in force.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { ClusterId, DaemonId, NodeId } from './contract/ids.ts';
import { nodesPerDaemonMax } from './contract/limits.ts';
import type { Clock, Log } from './contract/ports.ts';
import type { Directory, Ownership } from './port.ts';
import type { ServerCredential } from './sessions.ts';

const pollMs = 1_000;
const Hash = z.string().regex(/^[0-9a-f]{64}$/, 'use the SHA-256 as 64 lower-case hex digits');

const DirectoryFile = z.strictObject({
  server: z.strictObject({ username: z.string().min(1), secretHash: Hash }),
  daemons: z.array(
    z.strictObject({
      cluster: ClusterId,
      daemon: DaemonId,
      simulated: z.boolean(),
      nodes: z.array(NodeId).max(nodesPerDaemonMax),
      /** More than one while a secret is being rotated. */
      secretHashes: z.array(Hash).min(1).max(2),
      enrolling: z.boolean().default(false),
    }),
  ),
});
export type DirectoryFile = z.input<typeof DirectoryFile>;

export class DirectoryFileError extends Error {
  readonly code = 'KR_DIRECTORY_FILE';
  constructor(path: string, why: string, cause?: unknown) {
    super(`${path}: ${why}; the backend writes it when it starts with this KR_DATA_DIR`, { cause });
    this.name = 'DirectoryFileError';
  }
}

/** Renamed into place, so that a reader never sees half of it. */
export async function writeDirectory(path: string, content: DirectoryFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, JSON.stringify(content), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** Writes one change after the other, since all go through one temporary file. */
export function directoryWriter(path: string): (content: DirectoryFile) => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  return (content) => {
    const write = (): Promise<void> => writeDirectory(path, content);
    last = last.then(write, write);
    return last;
  };
}

type Entry = { ownership: Ownership; hashes: readonly string[] };
type Loaded = { server: ServerCredential; entries: Map<string, Entry> };

async function load(path: string): Promise<Loaded> {
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new DirectoryFileError(path, 'cannot be read', error);
  }
  const parsed = DirectoryFile.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new DirectoryFileError(path, `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { server, daemons } = parsed.data;
  const entries = daemons.map(({ secretHashes, nodes, ...who }): [string, Entry] => [
    `${who.cluster}/${who.daemon}`,
    { ownership: { ...who, nodes: new Set(nodes) }, hashes: secretHashes },
  ]);
  return { server, entries: new Map(entries) };
}

const isSecretOf = ({ hashes }: Entry, secret: Uint8Array): boolean => {
  const hash = createHash('sha256').update(secret).digest();
  return hashes.some((expected) => timingSafeEqual(Buffer.from(expected, 'hex'), hash));
};

/** Whose session must end: the credential it used may be gone. */
const revoked = (before: Loaded, after: Loaded): string[] =>
  [...before.entries]
    .filter(([client, { hashes }]) => {
      const kept = after.entries.get(client)?.hashes ?? [];
      return hashes.some((hash) => !kept.includes(hash));
    })
    .map(([client]) => client);

export type FileDirectory = Directory & {
  readonly server: ServerCredential;
  stop(): void;
};

export type FileDirectoryOptions = {
  path: string;
  clock: Clock;
  log: Log;
  onRevoked: (clientId: string) => void;
};

/** @throws DirectoryFileError when the file cannot be read at the start. */
export async function fileDirectory(options: FileDirectoryOptions): Promise<FileDirectory> {
  const { path, clock, log, onRevoked } = options;
  const stamp = () => stat(path).then(({ mtimeMs, size, ino }) => `${mtimeMs} ${size} ${ino}`);
  let seen = await stamp().catch(() => '');
  let loaded = await load(path);
  const refresh = async (): Promise<void> => {
    try {
      const now = await stamp();
      if (now === seen) return;
      const fresh = await load(path);
      seen = now;
      const gone = revoked(loaded, fresh);
      loaded = fresh;
      for (const clientId of gone) onRevoked(clientId);
      log.info({ daemons: fresh.entries.size, revoked: gone.length }, 'directory read again');
    } catch (error) {
      log.warn({ path, error: String(error) }, 'directory unreadable, the last good one stays');
    }
  };
  const poll = async (): Promise<void> => {
    await refresh();
    if (!stopped) cancel = clock.after(pollMs, poll);
  };
  let stopped = false;
  let cancel = clock.after(pollMs, poll);
  return {
    get server() {
      return loaded.server;
    },
    authenticate(username, secret) {
      const entry = loaded.entries.get(username);
      return Promise.resolve(entry && isSecretOf(entry, secret) ? entry.ownership : undefined);
    },
    ownership: (clientId) => loaded.entries.get(clientId)?.ownership,
    stop() {
      stopped = true;
      cancel();
    },
  };
}
