/**
 * Settings of a broker that runs alone (`kernreaktor broker`), from the environment; the names and
 * defaults are the backend's own (DESIGN 7). Alone reads the environment here.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import {
  type Environment,
  gatherSettings,
  type Problem,
  unknownSettings,
} from './contract/environment.ts';

const portHint = 'use a port from 0 (any free one) to 65535';
const port = z.coerce.number(portHint).int(portHint).min(0, portHint).max(65_535, portHint);
const text = z.string().min(1);

const BrokerSettings = z
  .object({
    KR_DATA_DIR: text.default('./data'),
    KR_MQTT_HOST: z
      .enum(['127.0.0.1', '::1', 'localhost'], {
        error: 'plain TCP listens on loopback only; use KR_TLS_HOST for the network',
      })
      .default('127.0.0.1'),
    KR_MQTT_PORT: port.default(1883),
    KR_MQTT_WS_PORT: port.optional(),
    KR_TLS_HOST: text.optional(),
    KR_TLS_MQTT_PORT: port.default(8883),
    KR_TLS_CERT: text.optional(),
    KR_TLS_KEY: text.optional(),
    KR_TLS_CA: text.optional(),
    KR_TLS_NAMES: text.default(''),
  })
  .refine((given) => (given.KR_TLS_CERT === undefined) === (given.KR_TLS_KEY === undefined), {
    path: ['KR_TLS_CERT'],
    message: 'set KR_TLS_CERT and KR_TLS_KEY together',
  });
type BrokerSettings = z.infer<typeof BrokerSettings>;

export type BrokerProcessConfig = {
  directoryFile: string;
  tlsFolder: string;
  tcp: { host: string; port: number };
  tls: { host: string; port: number } | undefined;
  /** Names of this machine that it cannot know by itself. */
  tlsNames: readonly string[];
  tlsFiles: { certFile: string; keyFile: string; caFile?: string } | undefined;
  wsPort: number | undefined;
};

export class BrokerConfigError extends Error {
  readonly code = 'KR_CONFIG';
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    super(problems.map(({ field, hint }) => `${field}: ${hint}`).join('\n'));
    this.name = 'BrokerConfigError';
    this.problems = problems;
  }
}

const filesOf = (settings: BrokerSettings): BrokerProcessConfig['tlsFiles'] => {
  const { KR_TLS_CERT: certFile, KR_TLS_KEY: keyFile, KR_TLS_CA: caFile } = settings;
  if (certFile === undefined || keyFile === undefined) return undefined;
  return { certFile, keyFile, ...(caFile !== undefined && { caFile }) };
};

/** @throws BrokerConfigError that lists every problem. */
export function readBrokerConfig(environment: Environment = process.env): BrokerProcessConfig {
  const names = Object.keys(BrokerSettings.shape);
  const given = gatherSettings(names, environment, (path) => readFileSync(path, 'utf8'));
  const problems = [...unknownSettings(environment), ...given.problems];
  const parsed = BrokerSettings.safeParse(given.values);
  for (const { path, message } of parsed.error?.issues ?? []) {
    problems.push({ field: path.join('.'), hint: message });
  }
  if (problems.length > 0 || !parsed.success) throw new BrokerConfigError(problems);
  const settings = parsed.data;
  const data = resolve(settings.KR_DATA_DIR);
  const { KR_TLS_HOST: tlsHost } = settings;
  return {
    directoryFile: join(data, 'broker', 'directory.json'),
    tlsFolder: join(data, 'tls'),
    tcp: { host: settings.KR_MQTT_HOST, port: settings.KR_MQTT_PORT },
    tls: tlsHost === undefined ? undefined : { host: tlsHost, port: settings.KR_TLS_MQTT_PORT },
    tlsNames: settings.KR_TLS_NAMES.split(',').flatMap((name) => name.trim() || []),
    tlsFiles: filesOf(settings),
    wsPort: settings.KR_MQTT_WS_PORT,
  };
}
