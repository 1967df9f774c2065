/**
 * What keeps a server well beside its work: backups and notifications. Made here, started and ended
 * by main.ts; none of it is in the way of a command.
 */
import { join } from 'node:path';
import { createBackups } from './backup/backups.ts';
import { configPath, type Settings } from './config.ts';
import { createNotifier } from './notify/notifier.ts';
import type { Stages } from './stages.ts';
import { readSnapshot } from './store/sql/database.ts';
import { createSecrets, loadMasterKey } from './store/sql/secrets.ts';
import { type BackendParts, databaseOptions, type Stores } from './stores.ts';
import { version } from './version.ts';

export type Upkeep = Awaited<ReturnType<typeof openUpkeep>>;

type UpkeepDeps = { settings: Settings; parts: BackendParts; stores: Stores; stages: Stages };

const backupsOf = ({ settings, parts, stores }: UpkeepDeps) =>
  createBackups({
    ...parts,
    places: { dataDir: settings.KR_DATA_DIR, configPath: configPath(settings) },
    folder: settings.KR_BACKUP_DIR ?? join(settings.KR_DATA_DIR, 'backups'),
    everyMs: settings.KR_BACKUP_EVERY_MINUTES * 60_000,
    recipients: settings.KR_BACKUP_RECIPIENTS,
    serverId: stores.signer.serverId,
    version,
    readSnapshot: (read) => readSnapshot(databaseOptions(settings, parts), read),
  });

export async function openUpkeep(deps: UpkeepDeps) {
  const { settings, parts, stores, stages } = deps;
  const masterKey = await loadMasterKey(join(settings.KR_DATA_DIR, 'keys', 'master-key'), parts);
  const secrets = createSecrets(masterKey, parts.random);
  const backups = backupsOf(deps);
  const notifier = createNotifier({
    ...parts,
    ...stores,
    secrets,
    fleet: () => stages.fleet,
    certificateEndsAtMs: stages.tlsEndsAtMs,
    backupProblem: () => backups.last()?.problem ?? null,
    publicUrl: settings.KR_PUBLIC_URL ?? null,
    pricePerKwh: stores.power.pricePerKilowattHour,
    isWell: async () => (await stores.metrics.health()).ok && stages.carrier.link.isConnected(),
  });
  return {
    backups,
    notifier,
    start(): void {
      backups.start();
      notifier.start();
    },
    async stop(): Promise<void> {
      await notifier.stop();
      await backups.stop();
    },
  };
}
