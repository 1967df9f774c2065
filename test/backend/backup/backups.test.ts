import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readArchive } from '../../../backend/backup/archive.ts';
import { type Backups, createBackups } from '../../../backend/backup/backups.ts';
import { restore } from '../../../backend/backup/restore.ts';
import { newIdentity, readIdentities, recipientOf } from '../../../backend/backup/seal.ts';
import { type Database, openDatabase, readSnapshot } from '../../../backend/store/sql/database.ts';
import { type VirtualClock, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

const minuteMs = 60_000;
let dataDir: string;
let clock: VirtualClock;
let database: Database;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'kr-backups-'));
  clock = virtualClock();
  database = await openDatabase(store());
});
afterEach(async () => {
  await database.close();
  await rm(dataDir, { recursive: true });
});

const store = () => ({
  file: join(dataDir, 'kr.sqlite'),
  nowMs: () => clock.wallMs(),
  log: memoryLog(),
});

const backups = (more: Partial<Parameters<typeof createBackups>[0]> = {}): Backups =>
  createBackups({
    places: { dataDir, configPath: join(dataDir, 'kernreaktor.yaml') },
    folder: join(dataDir, 'backups'),
    everyMs: 15 * minuteMs,
    recipients: [],
    serverId: '01890000-0000-7000-8000-000000000001',
    version: '0.1.0',
    readSnapshot: (read) => readSnapshot(store(), read),
    clock,
    log: memoryLog(),
    ...more,
  });

/** A store as an earlier version left it, with somebody's account in it. */
async function earlierStore(): Promise<void> {
  await database.close();
  await rm(store().file);
  database = await openDatabase(store(), '002-control');
  await database.db
    .insertInto('accounts')
    .values({
      id: '01890000-0000-7000-8000-00000000000a',
      username: 'ada',
      password_hash: 'x',
      role: 'admin',
      clusters: null,
      totp_secret: null,
      disabled: 0,
      created_at_ms: clock.wallMs(),
      password_changed_at_ms: clock.wallMs(),
      ver: 1,
    })
    .execute();
  await database.close();
}

const nothing = { head: () => undefined, content: () => undefined };

describe('backups', () => {
  it('are made a minute after the start and every quarter of an hour, until it is stopped', async () => {
    const scheduled = backups();
    scheduled.start();
    await clock.advance(minuteMs);
    expect(await scheduled.list()).toHaveLength(1);
    await clock.advance(60 * minuteMs);
    expect(await scheduled.list()).toHaveLength(5);
    await scheduled.stop();
    await clock.advance(60 * minuteMs);
    expect(await scheduled.list()).toHaveLength(5);
  });

  it('are thinned out to one a day once they are older than a day', async () => {
    const scheduled = backups({ everyMs: 6 * 60 * minuteMs });
    scheduled.start();
    await clock.advance(minuteMs + 5 * 24 * 60 * minuteMs);
    await scheduled.stop();
    const ages = (await scheduled.list()).map(({ atMs }) => clock.wallMs() - atMs);
    expect(ages.filter((ageMs) => ageMs < 24 * 60 * minuteMs)).toHaveLength(4);
    // The newest of each day before, and of one more where a day is not over yet.
    expect([4, 5]).toContain(ages.length - 4);
  });

  it('open with the key kept beside the server, and leave nothing half made', async () => {
    const made = await backups().make();
    const identity = join(dataDir, 'keys', 'backup-identity.txt');
    const path = join(dataDir, 'backups', made.name);
    await readArchive(path, await readIdentities(identity), nothing);
    expect(await readdir(join(dataDir, 'backups'))).toEqual([made.name]);
    expect((await readFile(identity, 'utf8')).split('\n')[0]).toMatch(/^# .*age1/);
  });

  it('open with the keys of the named recipients alone where such are named', async () => {
    const theirs = await newIdentity();
    const made = await backups({ recipients: [await recipientOf(theirs)] }).make();
    const path = join(dataDir, 'backups', made.name);
    await readArchive(path, [theirs], nothing);
    await expect(readArchive(path, [await newIdentity()], nothing)).rejects.toThrow(
      'does not open',
    );
  });

  it('say what failed, keep what there is, and are tried again', async () => {
    let isBroken = true;
    const scheduled = backups({
      readSnapshot: (read) =>
        isBroken ? Promise.reject(new Error('no store')) : readSnapshot(store(), read),
    });
    scheduled.start();
    await clock.advance(minuteMs);
    expect(scheduled.last()?.problem).toBe('no store');
    isBroken = false;
    await clock.advance(15 * minuteMs);
    expect(scheduled.last()?.problem).toBeNull();
    expect(await scheduled.list()).toHaveLength(1);
    await scheduled.stop();
  });

  it('contain how clusters are reached by their API, and never a journal of a daemon', async () => {
    await mkdir(join(dataDir, 'daemon'));
    await writeFile(join(dataDir, 'daemon', 'journal'), 'what was done');
    const watched = join(dataDir, 'proxmox', 'home');
    await mkdir(watched, { recursive: true });
    for (const name of ['credential.json', 'endpoint.json', 'endpoint.json.new', 'journal']) {
      await writeFile(join(watched, name), name, { mode: 0o600 });
    }
    await writeFile(join(dataDir, 'proxmox', 'note'), 'of somebody');
    await mkdir(join(dataDir, 'keys', 'old'), { recursive: true });
    await writeFile(join(dataDir, 'keys', '.server-1.pem.swp'), 'of an editor');
    const made = await backups().make();
    const paths: string[] = [];
    await readArchive(
      join(dataDir, 'backups', made.name),
      await readIdentities(join(dataDir, 'keys', 'backup-identity.txt')),
      {
        head: () => undefined,
        content: (line) => void (line.kind === 'file' && paths.push(line.path)),
      },
    );
    expect(paths).toEqual([
      'keys/backup-identity.txt',
      'proxmox/home/endpoint.json',
      'proxmox/home/credential.json',
    ]);
  });
});

describe('a backup before the tables are brought forward', () => {
  const folder = (): string => join(dataDir, 'backups');
  const open = (own = backups()): Promise<Database> =>
    openDatabase({ ...store(), beforeMigration: (migration) => own.makeBefore(migration) });

  it('is made of a store in use, named after the first migration, and restores what was', async () => {
    await earlierStore();
    database = await open();
    const [name = ''] = await readdir(folder());
    expect(name).toMatch(/^kernreaktor-\d{8}T\d{6}Z-before-003-notifications\.age$/);
    const identities = await readIdentities(join(dataDir, 'keys', 'backup-identity.txt'));
    const into = join(dataDir, 'anew');
    const file = join(into, 'kr.sqlite');
    await restore(
      { path: join(folder(), name), identities, isReplacing: false },
      {
        places: { dataDir: into, configPath: join(into, 'kernreaktor.yaml') },
        database: { ...store(), file },
        clock,
        log: memoryLog(),
      },
    );
    const restored = await openDatabase({ ...store(), file });
    const rows = await restored.db.selectFrom('accounts').select('username').execute();
    expect(rows).toEqual([{ username: 'ada' }]);
    await restored.close();
  });

  it('is not made for a first start, nor where nothing is pending', async () => {
    await database.close();
    await rm(store().file);
    await (await open()).close();
    database = await open();
    await expect(readdir(folder())).rejects.toThrow('ENOENT');
  });

  it('is the first one still when the start was cut off and is repeated', async () => {
    await earlierStore();
    const first = await backups().makeBefore('003-notifications');
    await clock.advance(minuteMs);
    expect(await backups().makeBefore('003-notifications')).toEqual(first);
    await clock.advance(minuteMs);
    await backups().make();
    await clock.advance(minuteMs);
    expect((await backups().makeBefore('003-notifications')).name).not.toBe(first.name);
    database = await openDatabase(store());
  });

  it('leaves the tables as they were when it cannot be made', async () => {
    await earlierStore();
    await writeFile(folder(), 'a file where the folder should be');
    await expect(open()).rejects.toThrow('the tables stay as they are, since no backup was made');
    database = await openDatabase(store(), '002-control');
    const names = (await database.db.introspection.getTables()).map((table) => table.name);
    expect(names).not.toContain('notify_channels');
  });

  it('is kept when older ones are thinned out', async () => {
    const own = backups({ everyMs: 24 * 60 * minuteMs });
    const { name } = await own.makeBefore('003-notifications');
    own.start();
    await clock.advance(60 * 24 * 60 * minuteMs);
    await own.stop();
    const names = (await own.list()).map((backup) => backup.name);
    expect(names.at(-1)).toBe(name);
    expect(names.length).toBeLessThan(15);
  });
});
