/**
 * Makes backups on a schedule and when asked, and keeps as many as `retention.ts` says. One is made
 * at a time, beside everything else: it reads a snapshot, blocks nobody, and a file has its name
 * only once it is whole and durable. Where it cannot be made, that is logged and told, and tried
 * again at the next turn; old backups are removed only after a new one stands.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Kysely } from 'kysely';
import type { Cancel, Clock, Log } from '../../broker/contract/ports.ts';
import { writeWhole } from '../durable.ts';
import { dumpRows, migrationsOf } from '../store/sql/dump.ts';
import type { Schema } from '../store/sql/schema.ts';
import { type Content, type Counts, writeArchive } from './archive.ts';
import { installationFiles, type Places } from './files.ts';
import { keptTimes } from './retention.ts';
import { BackupError, newIdentity, recipientOf } from './seal.ts';

export type Backup = { name: string; atMs: number; bytes: number };

export type Backups = {
  /** Newest first. */
  list(): Promise<Backup[]>;
  make(): Promise<Backup>;
  /**
   * One of its own before a migration of the tables, which no schedule removes. A start that is
   * repeated because it was cut off keeps the first: what it would read now is half brought forward.
   */
  makeBefore(migration: string): Promise<Backup>;
  /** undefined when there is none of that name. */
  read(name: string): Promise<NodeJS.ReadableStream | undefined>;
  /** How the last attempt of this process went; null before the first. */
  last(): { atMs: number; problem: string | null } | null;
  start(): void;
  stop(): Promise<void>;
};

export type BackupDeps = {
  places: Places;
  folder: string;
  /** 0 = only when asked. */
  everyMs: number;
  /** Public keys that can open them; none: one of our own, kept among the keys. */
  recipients: readonly string[];
  serverId: string;
  version: string;
  readSnapshot<T>(read: (snapshot: Kysely<Schema>) => Promise<T>): Promise<T>;
  clock: Clock;
  log: Log;
};

const namePattern = /^kernreaktor-(\d{8})T(\d{6})Z(-before-[a-z0-9-]{1,64})?\.age$/;
const repeatedWithinMs = 86_400_000;
const firstAfterMs = 60_000;
/** What stays free on the disk of the backups, so that they are never what fills it. */
const freeBytesMin = 64 * 1_048_576;

export const identityFile = 'backup-identity.txt';

const nameAt = (atMs: number, mark: string): string =>
  `kernreaktor-${new Date(atMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z${mark}.age`;

function timeOf(name: string): number | null {
  const found = namePattern.exec(name);
  if (!found) return null;
  const [, day = '', time = ''] = found;
  const iso = `${day.replace(/(....)(..)(..)/, '$1-$2-$3')}T${time.replace(/(..)(..)(..)/, '$1:$2:$3')}Z`;
  return Date.parse(iso);
}

/** Our own key, made at the first backup; without it no backup of this server opens. */
async function ownRecipient({ dataDir }: Places): Promise<string> {
  const path = join(dataDir, 'keys', identityFile);
  try {
    const text = await readFile(path, 'utf8');
    const line = text.split('\n').find((one) => one.startsWith('AGE-SECRET-KEY-'));
    if (line === undefined) throw new BackupError(`${path} holds no key: restore it`);
    return await recipientOf(line.trim());
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
  const identity = await newIdentity();
  const recipient = await recipientOf(identity);
  const text = `# opens the backups of this Kernreaktor; public key: ${recipient}\n${identity}\n`;
  await writeWhole(path, Buffer.from(text), 0o600);
  return recipient;
}

async function listIn(folder: string): Promise<Backup[]> {
  const names = await readdir(folder).catch(() => []);
  const found: Backup[] = [];
  for (const name of names) {
    const atMs = timeOf(name);
    if (atMs !== null) found.push({ name, atMs, bytes: (await stat(join(folder, name))).size });
  }
  return found.sort((a, b) => b.atMs - a.atMs);
}

async function requireRoom(folder: string): Promise<void> {
  const [last] = await listIn(folder);
  const { bavail, bsize } = await statfs(folder);
  const needed = freeBytesMin + 2 * (last?.bytes ?? 0);
  if (bavail * bsize >= needed) return;
  throw new BackupError(
    `${folder} has ${Math.floor((bavail * bsize) / 1_048_576)} MiB free and a backup leaves at ` +
      `least ${Math.ceil(needed / 1_048_576)}: make room, or set KR_BACKUP_DIR to another disk`,
  );
}

async function* contentOf(
  { places }: BackupDeps,
  snapshot: Kysely<Schema>,
): AsyncGenerator<Content> {
  yield* installationFiles(places);
  for await (const { table, rows } of dumpRows(snapshot)) yield { kind: 'rows', table, rows };
}

async function durable(temporary: string, path: string): Promise<void> {
  const file = await open(temporary, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

async function makeOne(deps: BackupDeps, mark = ''): Promise<Backup> {
  const { folder, places, serverId, version, clock, log } = deps;
  const atMs = clock.wallMs();
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await requireRoom(folder);
  const recipients = deps.recipients.length > 0 ? deps.recipients : [await ownRecipient(places)];
  const name = nameAt(atMs, mark);
  const temporary = join(folder, `${name}.part`);
  const counts: Counts = { files: 0, rows: 0 };
  await rm(temporary, { force: true });
  try {
    await deps.readSnapshot(async (snapshot) => {
      const migrations = await migrationsOf(snapshot);
      const head = { kind: 'kernreaktor-backup', format: 1, version, takenAtMs: atMs } as const;
      const content = contentOf(deps, snapshot);
      const archive = { head: { ...head, serverId, migrations }, content };
      const stream = await writeArchive(archive, recipients, counts);
      await pipeline(stream, createWriteStream(temporary, { mode: 0o600, flags: 'wx' }));
    });
    await durable(temporary, join(folder, name));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  const { size: bytes } = await stat(join(folder, name));
  log.info({ name, bytes, ...counts, tookMs: clock.wallMs() - atMs }, 'backup made');
  return { name, atMs: timeOf(name) ?? atMs, bytes };
}

async function makeBefore(deps: BackupDeps, migration: string): Promise<Backup> {
  const mark = `-before-${migration}`;
  const [newest] = await listIn(deps.folder);
  const isRepeated =
    newest?.name.endsWith(`${mark}.age`) === true &&
    deps.clock.wallMs() - newest.atMs < repeatedWithinMs;
  if (newest && isRepeated) return newest;
  const made = await makeOne(deps, mark).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    const error = new BackupError(`the tables stay as they are, since no backup was made: ${why}`);
    error.cause = cause;
    throw error;
  });
  deps.log.warn({ name: made.name }, 'the tables are brought forward; this backup is the way back');
  return made;
}

async function prune(folder: string, nowMs: number): Promise<void> {
  const all = (await listIn(folder)).filter(({ name }) => !name.includes('-before-'));
  const kept = keptTimes(
    all.map(({ atMs }) => atMs),
    nowMs,
  );
  for (const { name, atMs } of all) {
    if (!kept.has(atMs)) await rm(join(folder, name), { force: true });
  }
}

export function createBackups(deps: BackupDeps): Backups {
  const { folder, everyMs, clock, log } = deps;
  let cancel: Cancel = () => undefined;
  let isStopped = true;
  let running: Promise<Backup> | null = null;
  let last: ReturnType<Backups['last']> = null;

  async function attempt(): Promise<Backup> {
    try {
      const made = await makeOne(deps);
      last = { atMs: clock.wallMs(), problem: null };
      await prune(folder, clock.wallMs());
      return made;
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      last = { atMs: clock.wallMs(), problem };
      throw error;
    }
  }

  /** Who asks while one is being made gets that one. */
  const make = (): Promise<Backup> => {
    running ??= attempt().finally(() => (running = null));
    return running;
  };

  function schedule(delayMs: number): void {
    cancel = clock.after(delayMs, async () => {
      const beganMs = clock.monotonicMs();
      await make().catch((error: unknown) => log.error({ err: error }, 'no backup was made'));
      // What may be lost counts from the moment that one saw, not from the end of its writing.
      const leftMs = everyMs - (clock.monotonicMs() - beganMs);
      if (!isStopped) schedule(Math.max(firstAfterMs, leftMs));
    });
  }

  return {
    make,
    makeBefore: (migration) => makeBefore(deps, migration),
    list: () => listIn(folder),
    async read(name) {
      const known = (await listIn(folder)).some((backup) => backup.name === name);
      return known ? createReadStream(join(folder, name)) : undefined;
    },
    last: () => last,
    start() {
      if (everyMs === 0) return;
      isStopped = false;
      schedule(Math.min(firstAfterMs, everyMs));
    },
    async stop() {
      isStopped = true;
      cancel();
      await running?.catch(() => undefined);
    },
  };
}
