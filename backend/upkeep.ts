/**
 * What keeps a server well beside its work: backups, notifications, Home Assistant. Made here, started and ended
 * by main.ts; none of it is in the way of a command.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDaemonClient } from '../broker/client.ts';
import type { Settings } from './config.ts';
import { startHomeAssistant } from './integrations/home-assistant.ts';
import { createNotifier } from './notify/notifier.ts';
import type { Stages } from './stages.ts';
import { createSecrets, loadMasterKey } from './store/sql/secrets.ts';
import { type BackendParts, backupsOf, type Stores } from './stores.ts';
import { version } from './version.ts';

export type Upkeep = Awaited<ReturnType<typeof openUpkeep>>;

type UpkeepDeps = { settings: Settings; parts: BackendParts; stores: Stores; stages: Stages };

/** null where nobody named a broker. */
function homeAssistantOf({ settings, parts, stages }: UpkeepDeps) {
  const { KR_HA_MQTT_URL: url, KR_HA_MQTT_CA: caFile } = settings;
  if (url === undefined) return null;
  return startHomeAssistant(
    {
      url,
      username: settings.KR_HA_MQTT_USERNAME,
      password: settings.KR_HA_MQTT_PASSWORD,
      ...(caFile !== undefined && { caPem: readFileSync(caFile, 'utf8') }),
      prefix: settings.KR_HA_PREFIX,
    },
    {
      ...parts,
      openClient: openDaemonClient,
      fleet: () => stages.fleet,
      commands: stages.commands,
      version,
      publicUrl: settings.KR_PUBLIC_URL ?? null,
    },
  );
}

export async function openUpkeep(deps: UpkeepDeps) {
  const { settings, parts, stores, stages } = deps;
  const masterKey = await loadMasterKey(join(settings.KR_DATA_DIR, 'keys', 'master-key'), parts);
  const secrets = createSecrets(masterKey, parts.random);
  const backups = backupsOf(settings, parts, stores.signer.serverId);
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
  let homeAssistant: ReturnType<typeof homeAssistantOf> = null;
  return {
    backups,
    notifier,
    secrets,
    start(): void {
      homeAssistant = homeAssistantOf(deps);
      backups.start();
      notifier.start();
    },
    async stop(): Promise<void> {
      await homeAssistant?.stop();
      await notifier.stop();
      await backups.stop();
    },
  };
}
