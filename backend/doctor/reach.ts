/**
 * What the server needs of others: SQL store, metrics store, external broker, and the time. Each is
 * asked once, with the server's own settings and clients; nothing is written anywhere.
 */
import { Kysely, sql } from 'kysely';
import { connectServerLink } from '../../broker/server-link.ts';
import type { Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import type { Settings } from '../config.ts';
import { NotSent, post } from '../notify/http.ts';
import { guarded } from '../store/sql/dialect.ts';
import { mariadbBacking } from '../store/sql/mariadb.ts';
import { fine, type Finding, note, wrong } from './finding.ts';

export type ReachParts = { clock: Clock; random: Random; newId: NewId; log: Log };

/** Beyond this commands that cannot be taken back are refused (SAFETY T2). */
const clockOffsetMaxMs = 2_000;

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

function sqlFix(url: URL, why: string): string {
  const [user, database] = [decodeURIComponent(url.username), url.pathname.slice(1)];
  const port = url.port || '3306';
  if (/Access denied.*to database|\(42000\)/i.test(why)) {
    return `mariadb -e "GRANT ALL ON ${database}.* TO '${user}'@'%'"   # on ${url.hostname}`;
  }
  if (/Access denied/i.test(why)) {
    return `mariadb -e "ALTER USER '${user}'@'%' IDENTIFIED BY '<password>'"   # on ${url.hostname}; the same in KR_SQL_URL, percent-encoded`;
  }
  if (/Unknown database/i.test(why)) {
    return `mariadb -e "CREATE DATABASE ${database} CHARACTER SET utf8mb4"   # on ${url.hostname}`;
  }
  return `systemctl status mariadb; ss -tln 'sport = :${port}'   # on ${url.hostname}; a firewall, bind-address, or another port in KR_SQL_URL`;
}

async function examineSql(settings: Settings, { clock }: ReachParts): Promise<Finding[]> {
  const { KR_SQL_URL: text } = settings;
  if (text === undefined) {
    return [fine({ check: 'stores', subject: 'SQL', detail: 'embedded, in the data folder' })];
  }
  const url = new URL(text);
  const said = { check: 'stores', subject: `MariaDB at ${url.host}` } as const;
  const db = new Kysely<Record<string, never>>({ dialect: guarded(mariadbBacking(text, clock)) });
  try {
    const asked = sql<{ now: number }>`select cast(unix_timestamp(now(3)) * 1000 as signed) as now`;
    const { rows } = await asked.execute(db);
    const offsetMs = clock.wallMs() - (rows[0]?.now ?? 0);
    if (Math.abs(offsetMs) <= clockOffsetMaxMs) return [fine({ ...said, detail: 'answers' })];
    const detail = `this machine and ${url.hostname} are ${Math.round(offsetMs / 1_000)} s apart`;
    return [
      fine({ ...said, detail: 'answers' }),
      wrong(
        { check: 'clock', subject: 'wall clock', detail },
        'timedatectl set-ntp true   # on both; then: timedatectl timesync-status',
      ),
    ];
  } catch (error) {
    const why = messageOf(error);
    return [wrong({ ...said, detail: why }, sqlFix(url, why))];
  } finally {
    await db.destroy();
  }
}

async function examineMetrics(settings: Settings): Promise<Finding[]> {
  const { KR_INFLUX_URL: url, KR_INFLUX_TOKEN: token, KR_INFLUX_BUCKET: bucket } = settings;
  if (url === undefined) {
    return [fine({ check: 'stores', subject: 'metrics', detail: 'embedded, in the data folder' })];
  }
  const said = { check: 'stores', subject: `InfluxDB at ${new URL(url).host}` } as const;
  const base = url.replace(/\/+$/, '');
  try {
    await post({ url: `${base}/health`, method: 'GET' });
  } catch (error) {
    if (!(error instanceof NotSent)) throw error;
    const fix = `curl -s ${base}/health   # is it up, and is KR_INFLUX_URL right?`;
    return [wrong({ ...said, detail: error.message }, fix)];
  }
  try {
    const path = `/api/v2/buckets?name=${encodeURIComponent(bucket)}`;
    const headers = { authorization: `Token ${token ?? ''}` };
    await post({ url: `${base}${path}`, method: 'GET', headers });
    return [fine({ ...said, detail: `answers, and the token sees bucket ${bucket}` })];
  } catch (error) {
    if (!(error instanceof NotSent)) throw error;
    const fix = `influx auth create --org ${settings.KR_INFLUX_ORG} --all-access   # its token into KR_INFLUX_TOKEN; bucket: influx bucket create -n ${bucket}`;
    return [wrong({ ...said, detail: `${error.message} to the token` }, fix)];
  }
}

async function examineBroker(settings: Settings, parts: ReachParts): Promise<Finding[]> {
  const { KR_MQTT_URL: url, KR_MQTT_USERNAME: username } = settings;
  if (url === undefined) return [];
  const { host, hostname, protocol } = new URL(url);
  const said = { check: 'broker', subject: host } as const;
  let reason = 'it does not answer';
  const log: Log = { ...parts.log, warn: (fields) => void (reason = reasonOf(fields) ?? reason) };
  const link = await connectServerLink({
    url,
    clientId: username,
    username,
    password: settings.KR_MQTT_PASSWORD ?? '',
    ...parts,
    log,
  });
  const isConnected = link.isConnected();
  await link.close();
  const isOpen = protocol === 'mqtt:' && !/^(localhost|127\.|\[::1\])/.test(hostname);
  if (isConnected && isOpen) {
    const detail = 'answers, without TLS: passwords can be read on the way';
    return [note({ ...said, detail }, `KR_MQTT_URL=mqtts://${hostname}:8883`)];
  }
  if (isConnected) return [fine({ ...said, detail: 'answers' })];
  const isRefused = /not authori[sz]ed|bad user|refused: (4|5)|credentials/i.test(reason);
  const fix = isRefused
    ? 'kernreaktor broker acl --out /etc/mosquitto/kernreaktor && systemctl reload mosquitto   # on the broker'
    : `systemctl status mosquitto; ss -tln   # on ${hostname}: does it listen where KR_MQTT_URL says?`;
  return [wrong({ ...said, detail: reason }, fix)];
}

const reasonOf = (fields: object): string | null =>
  'reason' in fields ? String(fields.reason) : null;

export async function examineReach(settings: Settings, parts: ReachParts): Promise<Finding[]> {
  return [
    ...(await examineSql(settings, parts)),
    ...(await examineMetrics(settings)),
    ...(await examineBroker(settings, parts)),
  ];
}
