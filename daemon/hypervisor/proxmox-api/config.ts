/**
 * Reads where the API of Proxmox VE is for `kernreaktor doctor pve`, which needs nothing else of a
 * daemon. Secrets are never printed.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import {
  type Environment,
  gatherSettings,
  type Problem,
} from '../../../broker/contract/environment.ts';
import type { ApiEndpoint } from './client.ts';
import { endpointOf, pveEnvironment } from './settings.ts';

export type PveConfig =
  | { ok: true; endpoint: ApiEndpoint }
  | { ok: false; problems: readonly Problem[] };

export function readPveConfig(environment: Environment = process.env): PveConfig {
  const names = Object.keys(pveEnvironment);
  const { values, problems } = gatherSettings(names, environment, (path) =>
    readFileSync(path, 'utf8'),
  );
  const parsed = z.object(pveEnvironment).safeParse(values);
  for (const { path, message } of parsed.error?.issues ?? []) {
    problems.push({ field: String(path[0] ?? ''), hint: message });
  }
  if (!parsed.success || problems.length > 0) return { ok: false, problems };
  const endpoint = endpointOf(parsed.data, problems);
  return endpoint === null ? { ok: false, problems } : { ok: true, endpoint };
}
