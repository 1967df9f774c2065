/**
 * The machine of the server: settings, data folder, keys, configuration, certificates, ports. It
 * looks and changes nothing, beyond a file that it makes and removes to see whether it may write.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Environment } from '../../broker/contract/environment.ts';
import { checkConfigFile } from '../config-file.ts';
import {
  ConfigError,
  configPath,
  defaultHttpPort,
  readSettings,
  type Settings,
} from '../config.ts';
import { fine, type Finding, note, wrong } from './finding.ts';

const freeBytesMin = 1_073_741_824;
const dayMs = 86_400_000;
const endsSoonMs = 14 * dayMs;

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && ['ENOENT', 'ENOTDIR'].includes(String(error.code));

/** Settings, or what is wrong with them; nothing else can be looked at then. */
export function examineSettings(environment: Environment): {
  settings: Settings | null;
  findings: Finding[];
} {
  try {
    const settings = readSettings(environment);
    const said = { check: 'settings', subject: 'KR_*', detail: 'are understood' } as const;
    return { settings, findings: [fine(said)] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const findings = error.problems.map(({ field, hint }) => {
      const isUnknown = hint.includes('is not a setting');
      const fix = isUnknown ? `unset ${field}   # or write it as docs/configuration.md does` : '';
      const said = { check: 'settings', subject: field, detail: hint } as const;
      return wrong(said, fix || `${field}=...   # ${hint}`);
    });
    return { settings: null, findings };
  }
}

async function examineFolder(folder: string): Promise<Finding[]> {
  const said = { check: 'host', subject: folder } as const;
  const probe = join(folder, '.doctor');
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(probe, '');
    await rm(probe);
  } catch (error) {
    const detail = `is no folder this user may write: ${messageOf(error)}`;
    const fix = `install -d -m 700 -o $(id -un) ${folder}   # as root, or set KR_DATA_DIR`;
    return [wrong({ ...said, detail }, fix)];
  }
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= freeBytesMin) return [fine({ ...said, detail: 'can be written, with room' })];
  const detail = `has ${Math.floor(free / 1_048_576)} MiB free, less than 1 GiB`;
  return [wrong({ ...said, detail }, `du -xh ${folder} | sort -h | tail   # then make room`)];
}

async function examineKeys(folder: string): Promise<Finding[]> {
  const keys = join(folder, 'keys');
  const names = await readdir(keys).catch(() => []);
  const open: string[] = [];
  for (const name of names) {
    if (((await stat(join(keys, name))).mode & 0o077) !== 0) open.push(join(keys, name));
  }
  if (open.length === 0) return [];
  const detail = `${open.length} of them can be read by others on this machine`;
  return [wrong({ check: 'host', subject: keys, detail }, `chmod 600 ${open.join(' ')}`)];
}

async function examineConfig(settings: Settings): Promise<Finding[]> {
  const path = configPath(settings);
  const said = { check: 'settings', subject: path } as const;
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error) && settings.KR_CONFIG === undefined) return [];
    const detail = `cannot be read: ${messageOf(error)}`;
    return [wrong({ ...said, detail }, `chmod +r ${path}   # or unset KR_CONFIG`)];
  }
  const checked = checkConfigFile(text);
  if (checked.ok) return [fine({ ...said, detail: 'is understood' })];
  return checked.problems.map(({ line, column, field, hint }) =>
    wrong(
      { ...said, detail: `line ${line}, column ${column}: ${field}: ${hint}` },
      `$EDITOR +${line} ${path}   # then: kernreaktor config check ${path}`,
    ),
  );
}

function isPair(cert: X509Certificate, key: string): boolean {
  try {
    return cert.checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

async function examineTls(settings: Settings, nowMs: number): Promise<Finding[]> {
  const { KR_TLS_HOST: host, KR_TLS_CERT: certFile, KR_TLS_KEY: keyFile } = settings;
  if (host === undefined) {
    const said = { check: 'host', subject: 'TLS', detail: 'is off: no other host can connect' };
    return [note({ ...said, check: 'host' }, 'KR_TLS_HOST=0.0.0.0')];
  }
  if (certFile === undefined || keyFile === undefined) return [];
  const said = { check: 'host', subject: certFile } as const;
  try {
    const cert = new X509Certificate(await readFile(certFile, 'utf8'));
    if (!isPair(cert, await readFile(keyFile, 'utf8'))) {
      const detail = `does not belong to the key ${keyFile}`;
      const fix = `openssl x509 -in ${certFile} -pubkey -noout; openssl pkey -in ${keyFile} -pubout`;
      return [wrong({ ...said, detail }, `${fix}   # must be equal: name the right pair`)];
    }
    const endsAtMs = cert.validToDate.getTime();
    if (endsAtMs - nowMs > endsSoonMs) return [fine({ ...said, detail: 'is valid' })];
    const ends = cert.validToDate.toISOString().slice(0, 10);
    const detail = endsAtMs < nowMs ? `ended on ${ends}` : `ends on ${ends}`;
    return [wrong({ ...said, detail }, `renew ${certFile}, then restart the server`)];
  } catch (error) {
    const detail = `cannot be used: ${messageOf(error)}`;
    return [wrong({ ...said, detail }, `ls -l ${certFile} ${keyFile}   # PEM, readable by us`)];
  }
}

async function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen({ host, port });
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    if (server.listening) server.close();
  }
}

/** Only while no server of ours holds them. */
async function examinePorts(settings: Settings): Promise<Finding[]> {
  const { KR_HTTP_HOST, KR_HTTP_PORT, KR_MQTT_HOST, KR_MQTT_PORT } = settings;
  const wanted = [
    { name: 'KR_HTTP_PORT', host: KR_HTTP_HOST, port: KR_HTTP_PORT },
    { name: 'KR_MQTT_PORT', host: KR_MQTT_HOST, port: KR_MQTT_PORT },
  ].filter(({ port }) => port !== 0);
  const findings: Finding[] = [];
  for (const { name, host, port } of wanted) {
    const number = port ?? (name === 'KR_HTTP_PORT' ? defaultHttpPort : 1_883);
    if (await isFree(host, number)) continue;
    const said = { check: 'host', subject: `${name} ${number}` } as const;
    const look = `ss -tlnp 'sport = :${number}'   # who has it; or set ${name}=0 for a free one`;
    const detail = `is taken on ${host}, or ${host} is no address of this machine`;
    // An unset port falls to a free one by itself.
    findings.push(
      port === undefined ? note({ ...said, detail }, look) : wrong({ ...said, detail }, look),
    );
  }
  return findings;
}

export async function examineHost(
  settings: Settings,
  { nowMs, isRunning }: { nowMs: number; isRunning: boolean },
): Promise<Finding[]> {
  const { KR_DATA_DIR: folder } = settings;
  return [
    ...(await examineFolder(folder)),
    ...(await examineKeys(folder)),
    ...(await examineConfig(settings)),
    ...(await examineTls(settings, nowMs)),
    ...(isRunning ? [] : await examinePorts(settings)),
  ];
}
