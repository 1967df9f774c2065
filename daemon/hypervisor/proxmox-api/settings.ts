/**
 * Where the API of a Proxmox VE cluster is, by the environment, and what its administrator declares
 * of nodes that nobody looks at from inside, by daemon.yaml. Every problem names its variable and
 * the way out. Pure.
 */
import { z } from 'zod';
import type { Problem } from '../../../broker/contract/environment.ts';
import { NodeId } from '../../../broker/contract/ids.ts';
import type { ApiEndpoint } from './client.ts';

const listOf = (text: string): string[] =>
  text
    .split(/[,\s]+/)
    .filter((part) => part !== '')
    .map((part) => part.replace(/\/+$/, ''));

const Url = z.url({
  protocol: /^https$/,
  error: 'write the API of one or several members, for example https://pve1.lan:8006',
});
const Fingerprint = z
  .string()
  .transform((text) => text.replaceAll(':', '').toLowerCase())
  .pipe(
    z.string().regex(/^[0-9a-f]{64}$/, 'write the SHA-256 that `pvenode cert info` shows, per URL'),
  );

/** Each also as ..._FILE. */
export const pveEnvironment = {
  KR_PVE_URLS: z.string().transform(listOf).pipe(z.array(Url).min(1).max(16)).optional(),
  KR_PVE_TOKEN_ID: z
    .string()
    .regex(/^[^\s@!=]+@[^\s@!=]+![\w.-]+$/, 'write user@realm!token, as kr@pve!kernreaktor')
    .optional(),
  KR_PVE_TOKEN_SECRET: z
    .string()
    .regex(
      /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
      'copy the UUID of `pveum user token add`',
    )
    .optional(),
  KR_PVE_FINGERPRINT: z.string().transform(listOf).pipe(z.array(Fingerprint).max(16)).optional(),
  KR_PVE_CA: z
    .string()
    .includes('BEGIN CERTIFICATE', { error: 'set KR_PVE_CA_FILE to a copy of pve-root-ca.pem' })
    .optional(),
};
type Values = z.infer<z.ZodObject<typeof pveEnvironment>>;

/** null with at least one more problem than before when something is missing. */
export function endpointOf(values: Values, problems: Problem[]): ApiEndpoint | null {
  const { KR_PVE_URLS: urls, KR_PVE_TOKEN_ID: tokenId, KR_PVE_TOKEN_SECRET: secret } = values;
  const { KR_PVE_FINGERPRINT: fingerprints = [], KR_PVE_CA: ca = null } = values;
  const missing = [
    urls === undefined && ['KR_PVE_URLS', 'name the API, for example https://pve1.lan:8006'],
    tokenId === undefined && ['KR_PVE_TOKEN_ID', 'name the token, for example kr@pve!kernreaktor'],
    secret === undefined && [
      'KR_PVE_TOKEN_SECRET',
      'set KR_PVE_TOKEN_SECRET_FILE to a file with the secret of the token',
    ],
  ].flatMap((entry) => (entry === false ? [] : [entry]));
  for (const [field = '', hint = ''] of missing) problems.push({ field, hint });
  if (urls === undefined || tokenId === undefined || secret === undefined) return null;
  if (fingerprints.length > 0 && fingerprints.length !== urls.length) {
    const hint = `give one for each of the ${urls.length} URLs, in their order, or use KR_PVE_CA_FILE`;
    problems.push({ field: 'KR_PVE_FINGERPRINT', hint });
    return null;
  }
  if (fingerprints.length > 0 && ca !== null) {
    problems.push({ field: 'KR_PVE_CA', hint: 'pin fingerprints or name an authority, not both' });
    return null;
  }
  return { urls, tokenId, tokenSecret: secret, fingerprints, ca };
}

const Declaration = z.strictObject({
  roles: z.array(z.string().min(1).max(64)).max(64),
  wakeOnMagic: z.boolean().default(false),
  nothingElseAtWork: z.boolean().default(false),
});

/** `proxmox:` of daemon.yaml, for both drivers. */
export const ProxmoxFile = z.strictObject({
  migrationBytesPerSecond: z
    .int()
    .min(2 ** 20, 'at least 1048576 (1 MiB/s)')
    .optional(),
  /** By the API nobody can tell a cluster without a device from one whose daemon has stopped. */
  quorumDevice: z.literal('none', 'write none, or leave it out where there is one').optional(),
  nodes: z.record(NodeId, Declaration).default({}),
});
export type ProxmoxFile = z.infer<typeof ProxmoxFile>;
