/**
 * Settings of the backend and its embedded parts, from the environment (DESIGN 7). Read once,
 * every problem listed at once with its name and the way out; each KR_X may come as KR_X_FILE.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { parseHouseAnswer } from './act/house.ts';
import { isRecipient } from './backup/seal.ts';
import { parseShard, shardsMax } from './ingest/shard.ts';
import { details } from './observe/detail.ts';
import {
  type Environment,
  gatherSettings,
  type Problem,
  unknownSettings,
} from '../broker/contract/environment.ts';

const portHint = 'use a port from 0 (any free one) to 65535';
const port = z.coerce.number(portHint).int(portHint).min(0, portHint).max(65_535, portHint);
const workersHint = `use a number of workers from 1 to ${shardsMax}`;
const optionalPort = port.optional();
const list = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== ''),
  );
const tlsNames = list.pipe(
  z.array(z.union([z.hostname(), z.ipv4(), z.ipv6()], 'use host names or addresses, not URLs')),
);
const cidr = z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()], {
  message: 'use addresses or CIDR blocks, separated by commas',
});
const cidrs = list.pipe(z.array(cidr));
const url = (schemes: string[]) =>
  z.url({ protocol: new RegExp(`^(${schemes.join('|')})$`), error: `use ${schemes[0]}://host` });

export const Settings = z.object({
  KR_HTTP_PORT: optionalPort,
  KR_HTTP_HOST: z.string().min(1).default('127.0.0.1'),
  KR_MQTT_PORT: optionalPort,
  KR_MQTT_HOST: z
    .enum(['127.0.0.1', '::1', 'localhost'], {
      error: 'plain TCP listens on loopback only; use KR_TLS_MQTT_PORT for the network',
    })
    .default('127.0.0.1'),
  KR_MQTT_WS_PORT: optionalPort,
  KR_TLS_HOST: z.string().min(1).optional(),
  KR_TLS_MQTT_PORT: port.default(8883),
  KR_TLS_HTTP_PORT: port.default(8443),
  KR_TLS_CERT: z.string().optional(),
  KR_TLS_KEY: z.string().optional(),
  KR_TLS_CA: z.string().optional(),
  KR_TLS_NAMES: tlsNames,
  KR_DATA_DIR: z.string().min(1).default('./data'),
  KR_CONFIG: z.string().min(1).optional(),
  KR_SQL_URL: url(['mariadb', 'mysql']).optional(),
  KR_INFLUX_URL: url(['http', 'https']).optional(),
  KR_INFLUX_TOKEN: z.string().min(1).optional(),
  KR_INFLUX_ORG: z.string().min(1).default('kernreaktor'),
  KR_INFLUX_BUCKET: z.string().min(1).default('kernreaktor'),
  KR_MQTT_URL: url(['mqtt', 'mqtts', 'ws', 'wss']).optional(),
  KR_MQTT_USERNAME: z.string().min(1).default('kernreaktor-server'),
  KR_MQTT_PASSWORD: z.string().min(1).optional(),
  KR_MQTT_CA: z.string().min(1).optional(),
  KR_INGEST_WORKERS: z.coerce.number(workersHint).int(workersHint).min(1).max(shardsMax).optional(),
  KR_INGEST_SHARD: z
    .string()
    .transform((text, problems) => {
      const shard = parseShard(text);
      if (shard !== null) return shard;
      problems.addIssue(`write which of how many, like 2/4, of at most ${shardsMax}`);
      return z.NEVER;
    })
    .optional(),
  KR_SAMPLE_INTERVAL_MS: z.coerce.number().int().min(250).max(300_000).default(5_000),
  KR_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  KR_HA_MQTT_URL: url(['mqtt', 'mqtts', 'ws', 'wss']).optional(),
  KR_HA_MQTT_USERNAME: z.string().default(''),
  KR_HA_MQTT_PASSWORD: z.string().default(''),
  KR_HA_MQTT_CA: z.string().min(1).optional(),
  KR_HA_PREFIX: z
    .string()
    .regex(/^[\w-]+(\/[\w-]+)*$/, 'use the discovery prefix of Home Assistant')
    .default('homeassistant'),
  KR_PUBLIC_URL: url(['https', 'http']).optional(),
  KR_TRUSTED_PROXIES: cidrs,
  KR_ALLOW: cidrs,
  KR_DENY: cidrs,
  KR_OWN_HOUSE: z
    .string()
    .transform((text, problems) => {
      const answer = parseHouseAnswer(text);
      if (!('problem' in answer)) return answer;
      problems.addIssue(answer.problem);
      return z.NEVER;
    })
    .optional(),
  KR_METRICS_DETAIL: z.enum(details, { error: `use ${details.join(', ')}` }).default('none'),
  KR_METRICS_RETENTION_DAYS: z.coerce.number().int().min(1).max(3_650).default(7),
  KR_METRICS_DISK_MB: z.coerce.number().int().min(64).default(20_480),
  KR_METRICS_SPOOL_MB: z.coerce.number().int().min(0).max(65_536).default(256),
  KR_BACKUP_DIR: z.string().min(1).optional(),
  KR_BACKUP_EVERY_MINUTES: z.coerce.number().int().min(0).max(10_080).default(15),
  KR_BACKUP_RECIPIENTS: list.pipe(
    z.array(z.string().refine(isRecipient, 'use public keys age1..., separated by commas')),
  ),
});

export type Settings = z.infer<typeof Settings>;

export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'KR_CONFIG';
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    super(problems.map(({ field, hint }) => `${field}: ${hint}`).join('\n'));
    this.problems = problems;
  }
}

export const defaultHttpPort = 8480;
export const defaultMqttPort = 1883;

const readText = (path: string): string => readFileSync(path, 'utf8');

/** Embedded stores and broker are one process's; workers share those on servers of their own. */
const shared = {
  KR_MQTT_URL: 'workers need an external broker: set it to its URL',
  KR_SQL_URL: 'workers need MariaDB: set it to its URL',
  KR_INFLUX_URL: 'workers need InfluxDB, or what speaks its write API: set it to its URL',
} as const;

export function* unshared(settings: Settings): Generator<Problem> {
  for (const [field, hint] of Object.entries(shared)) {
    if (settings[field as keyof typeof shared] === undefined) yield { field, hint };
  }
}

/** What no single value shows. */
function* contradictions(settings: Settings): Generator<Problem> {
  if (settings.KR_INFLUX_URL !== undefined && settings.KR_INFLUX_TOKEN === undefined) {
    yield { field: 'KR_INFLUX_TOKEN', hint: 'is required with KR_INFLUX_URL' };
  }
  if (settings.KR_MQTT_URL !== undefined && settings.KR_MQTT_PASSWORD === undefined) {
    yield { field: 'KR_MQTT_PASSWORD', hint: 'is required with KR_MQTT_URL' };
  }
  if (settings.KR_INGEST_WORKERS !== undefined) yield* unshared(settings);
  if ((settings.KR_TLS_CERT === undefined) !== (settings.KR_TLS_KEY === undefined)) {
    yield { field: 'KR_TLS_CERT', hint: 'set KR_TLS_CERT and KR_TLS_KEY together' };
  }
  if (settings.KR_TLS_CERT !== undefined && settings.KR_TLS_HOST === undefined) {
    yield { field: 'KR_TLS_HOST', hint: 'name the address TLS listens on, for example 0.0.0.0' };
  }
}

/**
 * `defaults` stand in for what the environment does not say.
 * @throws ConfigError that lists every problem.
 */
export function readSettings(
  environment: Environment = process.env,
  defaults: Readonly<Record<string, string>> = {},
): Settings {
  const given = gatherSettings(Object.keys(Settings.shape), environment, readText);
  const problems = [...unknownSettings(environment), ...given.problems];
  const values = { ...defaults, ...given.values };
  const parsed = Settings.safeParse(values);
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      problems.push({ field: String(issue.path[0] ?? ''), hint: issue.message });
    }
  } else {
    problems.push(...contradictions(parsed.data));
  }
  if (problems.length > 0 || !parsed.success) throw new ConfigError(problems);
  return { ...parsed.data, KR_DATA_DIR: resolve(parsed.data.KR_DATA_DIR) };
}

/** Where kernreaktor.yaml is looked for. */
export const configPath = (settings: Settings): string =>
  settings.KR_CONFIG ?? join(settings.KR_DATA_DIR, 'kernreaktor.yaml');
