/**
 * Where client commands find the server: by `<KR_DATA_DIR>/http.sock` on its own machine, where
 * whoever can open it is administrator, or by KR_URL with KR_API_TOKEN. The only reader of the
 * environment here.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { type Environment, gatherSettings } from '../../broker/contract/environment.ts';
import { ConfigError } from '../config.ts';

const Client = z.object({
  KR_DATA_DIR: z.string().min(1).default('./data'),
  KR_URL: z.url({ protocol: /^https?$/, error: 'use https://host:port' }).optional(),
  KR_API_TOKEN: z.string().min(1).optional(),
});

/** For what judges the settings themselves. */
export const givenEnvironment = (): Environment => process.env;

/** Where the server of this machine keeps its data. */
export function readDataDir(environment: Environment = process.env): string {
  const { values } = gatherSettings(['KR_DATA_DIR'], environment, readText);
  return resolve(values['KR_DATA_DIR'] ?? './data');
}

export type ServerAddress = { url: string; token: string | null; socketPath: string | null };

const readText = (path: string): string => readFileSync(path, 'utf8');
const fail = (field: string, hint: string): never => {
  throw new ConfigError([{ field, hint }]);
};

/** @throws ConfigError that names the setting. */
export function readServerAddress(environment: Environment = process.env): ServerAddress {
  const given = gatherSettings(Object.keys(Client.shape), environment, readText);
  if (given.problems.length > 0) throw new ConfigError(given.problems);
  const parsed = Client.safeParse(given.values);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return fail(String(issue?.path[0] ?? ''), issue?.message ?? 'invalid');
  }
  const { KR_DATA_DIR, KR_URL, KR_API_TOKEN } = parsed.data;
  if (KR_URL !== undefined) {
    const hint = 'is needed with KR_URL: the token that POST /api/v1/session answers';
    return { url: KR_URL, token: KR_API_TOKEN ?? fail('KR_API_TOKEN', hint), socketPath: null };
  }
  const socketPath = join(resolve(KR_DATA_DIR), 'http.sock');
  if (!existsSync(socketPath)) {
    fail('KR_DATA_DIR', `no server runs in ${resolve(KR_DATA_DIR)}; or set KR_URL, KR_API_TOKEN`);
  }
  return { url: 'http://localhost', token: null, socketPath };
}
