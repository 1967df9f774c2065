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
export async function writeMosquittoFiles(
  settings: Settings,
  folder: string,
  { clock, log }: { clock: Clock; log: Log },
): Promise<{ passwords: string; acl: string; users: number }> {
  const { KR_MQTT_USERNAME: username, KR_MQTT_PASSWORD: secret } = settings;
  if (secret === undefined) {
    const hint = 'set the password under which the backend will connect to the external broker';
    throw new ConfigError([{ field: 'KR_MQTT_PASSWORD', hint }]);
  }
  const database = await openDatabase({
    url: settings.KR_SQL_URL,
    file: join(settings.KR_DATA_DIR, 'kernreaktor.sqlite'),
    nowMs: () => clock.wallMs(),
    log,
  });
  try {
    const users = (await createDirectory(database.db, () => clock.wallMs())).mosquittoUsers();
    const mqttHash = mosquittoHash(secret, randomBytes(mosquittoSaltBytes));
    const files = mosquittoFiles(users, { username, mqttHash });
    await mkdir(folder, { recursive: true });
    const passwords = join(folder, 'mosquitto.passwords');
    const acl = join(folder, 'mosquitto.acl');
    await writeFile(passwords, files.passwords, { mode: 0o600 });
    await writeFile(acl, files.acl, { mode: 0o600 });
    return { passwords, acl, users: users.length };
  } finally {
    await database.close();
  }
}
