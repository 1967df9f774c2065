/**
 * `kernreaktor broker acl`: Mosquitto's password and ACL file for the daemons that SQL knows. It
 * reads beside a running backend and changes nothing.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mosquittoFiles, mosquittoHash, mosquittoSaltBytes } from '../broker/acl.ts';
import type { Clock, Log } from '../broker/contract/ports.ts';
import { ConfigError, type Settings } from './config.ts';
import { createDirectory } from './store/sql/daemons.ts';
import { openDatabase } from './store/sql/database.ts';

/** @throws ConfigError when the server's own password is not set. */
export async function mosquittoFilesOf(
  settings: Settings,
  { clock, log }: { clock: Clock; log: Log },
): Promise<{ passwords: string; acl: string }> {
  const { KR_MQTT_USERNAME: username, KR_MQTT_PASSWORD: secret } = settings;
  const { KR_INGEST_WORKERS: workers = 0 } = settings;
  if (secret === undefined) {
    const hint = 'set the password under which the backend will connect to the external broker';
    throw new ConfigError([{ field: 'KR_MQTT_PASSWORD', hint }]);
  }
  const database = await openDatabase({
    url: settings.KR_SQL_URL,
    file: join(settings.KR_DATA_DIR, 'kernreaktor.sqlite'),
    nowMs: () => clock.wallMs(),
    clock,
    log,
  });
  try {
    const users = (await createDirectory(database.db, () => clock.wallMs())).mosquittoUsers();
    const mqttHash = mosquittoHash(secret, randomBytes(mosquittoSaltBytes));
    return mosquittoFiles(users, { username, mqttHash, workers });
  } finally {
    await database.close();
  }
}

/** Both files, readable by their owner alone; answers their paths. */
export async function writeMosquittoFiles(
  files: { passwords: string; acl: string },
  folder: string,
): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  const paths: string[] = [];
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, `mosquitto.${name}`);
    await writeFile(path, content, { mode: 0o600 });
    paths.push(path);
  }
  return paths;
}
