/**
 * Opens what is kept on disk or on another server: lock, SQL, metrics, keys, the directory of
 * credentials; and imports kernreaktor.yaml before anything acts on it.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Log, NewId, Random } from '../broker/contract/ports.ts';
import { directoryWriter } from '../broker/file-directory.ts';
import { keepId, openSigner } from './act/signer.ts';
import { type Backups, createBackups } from './backup/backups.ts';
import { refuseHalfRestored } from './backup/restore.ts';
import { guardWhenTurnedBack, keepMark } from './backup/store-mark.ts';
import { checkConfigFile, type ConfigFile } from './config-file.ts';
import { importConfig } from './config-import.ts';
import { ConfigError, configPath, type Settings } from './config.ts';
import type { Joining } from './joining.ts';
import { lockFolder } from './lock.ts';
import { noPower, type PowerPlan, powerPlan } from './power/settings.ts';
import { openDuckDbStore } from './store/metrics/duckdb.ts';
import { openInfluxStore } from './store/metrics/influx.ts';
import type { MetricsStore } from './store/ports.ts';
import { sha256 } from './store/sql/credentials.ts';
import { createDirectory, type DaemonDirectory } from './store/sql/daemons.ts';
import {
  type Database,
  type DatabaseOptions,
  openDatabase,
  readSnapshot,
} from './store/sql/database.ts';
import { version } from './version.ts';

export type BackendParts = {
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
  /** What the process around the server can do for who begins. */
  joining?: Joining;
};
export type Undo = ReturnType<typeof createUndo>;
export type Stores = Awaited<ReturnType<typeof openStores>>;

/** Undo steps, run newest first, each one even when another failed. */
export function createUndo(log: Log) {
  const steps: [string, () => unknown][] = [];
  return {
    add: (name: string, step: () => unknown) => void steps.push([name, step]),
    async run(): Promise<void> {
      for (const [name, step] of steps.splice(0).toReversed()) {
        try {
          await step();
        } catch (error) {
          log.error({ err: error, part: name }, 'did not stop cleanly');
        }
      }
    },
  };
}

/** kernreaktor.yaml; null where there is none and none was asked for. */
function readConfig(settings: Settings): ConfigFile | null {
  const path = configPath(settings);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' && settings.KR_CONFIG === undefined) {
      return null;
    }
    throw error;
  }
  const checked = checkConfigFile(text);
  if (!checked.ok) {
    throw new ConfigError(
      checked.problems.map(({ line, column, field, hint }) => ({
        field: `${path}:${line}:${column} ${field}`,
        hint,
      })),
    );
  }
  return checked.file;
}

/** What the file says of power is for each process alone, and is read by each. */
export function powerOf(settings: Settings): PowerPlan {
  const file = readConfig(settings);
  return file === null ? noPower : powerPlan(file.power, file.clusters);
}

/** All else of the file goes into SQL. */
async function importFile(
  settings: Settings,
  database: Database,
  { newId, clock }: BackendParts,
): Promise<PowerPlan> {
  const file = readConfig(settings);
  if (file !== null) await importConfig(database, file, { newId, nowMs: clock.wallMs() });
  return file === null ? noPower : powerPlan(file.power, file.clusters);
}

/** What a broker in a process of its own reads; its users change with every enrolment. */
function keepDirectoryFile(settings: Settings, directory: DaemonDirectory, log: Log): void {
  const { KR_MQTT_USERNAME: username, KR_MQTT_PASSWORD: password } = settings;
  if (settings.KR_MQTT_URL === undefined || password === undefined) return;
  const path = join(settings.KR_DATA_DIR, 'broker', 'directory.json');
  const server = { username, secretHash: sha256(password) };
  const writeFile = directoryWriter(path);
  const write = (): void => {
    writeFile({ server, daemons: directory.fileEntries() }).catch((error: unknown) =>
      log.error({ err: error, path }, 'directory file not written'),
    );
  };
  write();
  directory.onReload(write);
}

/** Buckets and tasks are made by one process, or each task would be there twice. */
export const openMetrics = (
  settings: Settings,
  { clock, log }: BackendParts,
  makesBuckets: boolean,
): Promise<MetricsStore> => {
  const { KR_INFLUX_URL: url, KR_INFLUX_TOKEN: token = '' } = settings;
  const { KR_METRICS_RETENTION_DAYS: retentionDays, KR_DATA_DIR: folder } = settings;
  if (url === undefined) {
    const file = join(folder, 'metrics.duckdb');
    const diskMaxMb = settings.KR_METRICS_DISK_MB;
    return openDuckDbStore({ file, clock, log, retentionDays, diskMaxMb });
  }
  const { KR_INFLUX_ORG: org, KR_INFLUX_BUCKET: bucket } = settings;
  const bytesMax = settings.KR_METRICS_SPOOL_MB * 1_048_576;
  const spool = bytesMax === 0 ? null : { folder: join(folder, 'metrics-spool'), bytesMax };
  const access = { url, token, org, bucket };
  return openInfluxStore({ ...access, clock, log, retentionDays, spool, makesBuckets });
};

export const databaseOptions = (
  settings: Settings,
  { clock, log }: Pick<BackendParts, 'clock' | 'log'>,
): DatabaseOptions => ({
  url: settings.KR_SQL_URL,
  file: join(settings.KR_DATA_DIR, 'kernreaktor.sqlite'),
  nowMs: () => clock.wallMs(),
  clock,
  log,
});

export const backupsOf = (settings: Settings, parts: BackendParts, serverId: string): Backups =>
  createBackups({
    ...parts,
    places: { dataDir: settings.KR_DATA_DIR, configPath: configPath(settings) },
    folder: settings.KR_BACKUP_DIR ?? join(settings.KR_DATA_DIR, 'backups'),
    everyMs: settings.KR_BACKUP_EVERY_MINUTES * 60_000,
    recipients: settings.KR_BACKUP_RECIPIENTS,
    serverId,
    version,
    readSnapshot: (read) => readSnapshot(databaseOptions(settings, parts), read),
  });

export async function openStores(settings: Settings, parts: BackendParts, undo: Undo) {
  const folder = settings.KR_DATA_DIR;
  const { clock, log, random, newId } = parts;
  undo.add('lock', lockFolder(folder));
  mkdirSync(join(folder, 'keys'), { recursive: true, mode: 0o700 });
  refuseHalfRestored(folder);
  const signer = await openSigner({ folder: join(folder, 'keys'), random, newId });
  const database = await openDatabase({
    ...databaseOptions(settings, parts),
    beforeMigration: (migration) =>
      backupsOf(settings, parts, signer.serverId).makeBefore(migration),
  });
  undo.add('database', () => database.close());
  const mark = { database, dataDir: folder, clock, log };
  await guardWhenTurnedBack(mark);
  const kept = keepMark(mark);
  undo.add('mark of the store', () => kept.stop());
  const power = await importFile(settings, database, parts);
  const metrics = await openMetrics(settings, parts, true);
  undo.add('metrics', () => metrics.close());
  const directory = await createDirectory(database.db, () => clock.wallMs());
  keepDirectoryFile(settings, directory, log);
  // Not among the keys: two backends may share those, and must still hold different leases.
  const installationId = await keepId(folder, 'installation-id', newId);
  return { database, metrics, signer, directory, installationId, power };
}
