/**
 * Settings as every process of ours reads them: each KR_X may come as KR_X_FILE, the path of a
 * file that holds the value. Environment and file access are passed in; only config.ts has them.
 */
import './wording.ts';

export type Environment = Readonly<Record<string, string | undefined>>;
export type Problem = { field: string; hint: string };

/**
 * Every setting of any part. One file of settings may serve several, so each takes the names of
 * the others in silence and refuses only what is nobody's.
 */
const settingNames: ReadonlySet<string> = new Set(
  [
    'KR_DATA_DIR KR_CONFIG KR_LOG_LEVEL KR_SAMPLE_INTERVAL_MS KR_OWN_HOUSE',
    'KR_HTTP_PORT KR_HTTP_HOST KR_PUBLIC_URL KR_TRUSTED_PROXIES KR_ALLOW KR_DENY',
    'KR_MQTT_PORT KR_MQTT_HOST KR_MQTT_WS_PORT',
    'KR_MQTT_URL KR_MQTT_USERNAME KR_MQTT_PASSWORD KR_MQTT_CA',
    'KR_TLS_HOST KR_TLS_MQTT_PORT KR_TLS_HTTP_PORT KR_TLS_CERT KR_TLS_KEY KR_TLS_CA KR_TLS_NAMES',
    'KR_SQL_URL KR_INFLUX_URL KR_INFLUX_TOKEN KR_INFLUX_ORG KR_INFLUX_BUCKET',
    'KR_INGEST_WORKERS KR_INGEST_SHARD',
    'KR_HA_MQTT_URL KR_HA_MQTT_USERNAME KR_HA_MQTT_PASSWORD KR_HA_MQTT_CA KR_HA_PREFIX',
    'KR_BACKUP_DIR KR_BACKUP_EVERY_MINUTES KR_BACKUP_RECIPIENTS',
    'KR_METRICS_RETENTION_DAYS KR_METRICS_DISK_MB KR_METRICS_SPOOL_MB KR_METRICS_DETAIL',
    'KR_CLUSTER KR_NODE KR_ENROL_TOKEN KR_EXECUTOR_SOCKET KR_ETC_DIR',
    'KR_PVE_URLS KR_PVE_TOKEN_ID KR_PVE_TOKEN_SECRET KR_PVE_FINGERPRINT KR_PVE_CA KR_PVE_NSENTER',
    'KR_URL KR_API_TOKEN KR_TEST_INSTALL',
  ].flatMap((line) => line.split(' ')),
);

/** What looks like a setting of ours and is none: most likely a slip of the hand. */
export const unknownSettings = (environment: Environment): Problem[] =>
  Object.keys(environment)
    .filter((name) => name.startsWith('KR_') && !settingNames.has(name.replace(/_FILE$/, '')))
    .map((field) => ({ field, hint: 'is not a setting; see docs/configuration.md' }));

/** Values by name, and what is wrong with those that have none. An empty variable is unset. */
export function gatherSettings(
  names: readonly string[],
  environment: Environment,
  readText: (path: string) => string,
): { values: Record<string, string>; problems: Problem[] } {
  const values: Record<string, string> = {};
  const problems: Problem[] = [];
  for (const name of names) {
    // Compose files leave variables empty that nobody set.
    const direct = environment[name] || undefined;
    const file = environment[`${name}_FILE`] || undefined;
    if (direct !== undefined && file !== undefined) {
      problems.push({ field: name, hint: `set ${name} or ${name}_FILE, not both` });
    } else if (direct !== undefined) {
      values[name] = direct;
    } else if (file !== undefined) {
      try {
        values[name] = readText(file).trim();
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        problems.push({ field: `${name}_FILE`, hint: `cannot be read: ${why}` });
      }
    }
  }
  return { values, problems };
}
