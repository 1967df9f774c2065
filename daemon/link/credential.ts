/**
 * Who this daemon is, on disk: one file of mode 0600, written whole and synced before anyone
 * relies on it. It holds the secret, so it is never logged; a file that does not parse is an
 * error the administrator must see, never a reason to enrol again in silence.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { firstIssue } from '../../broker/contract/codec.ts';
import { ClusterId, DaemonId, NodeId, Uuid } from '../../broker/contract/ids.ts';
import { nodesPerDaemonMax } from '../../broker/contract/limits.ts';
import { ServerKey } from '../../broker/contract/server.ts';
import { writeWhole } from '../durable.ts';

const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, 'use 64 lower-case hex digits');

export const Credential = z.strictObject({
  cluster: ClusterId,
  daemon: DaemonId,
  nodes: z.array(NodeId).min(1).max(nodesPerDaemonMax),
  secret: sha256Hex,
  serverId: Uuid,
  /** Whose grants are believed. */
  serverKeys: z.array(ServerKey).min(1).max(2),
  simulated: z.boolean(),
  /** SHA-256 of the CA that signs the server's certificate; null without TLS. */
  caSha256: sha256Hex.nullable(),
});
export type Credential = z.infer<typeof Credential>;

export class CredentialError extends Error {
  override readonly name = 'CredentialError';
  readonly code: 'KR_CREDENTIAL' | 'KR_NOT_ENROLLED';
  constructor(code: CredentialError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export const credentialPath = (dataDir: string): string => join(dataDir, 'credential.json');

/** null when there is no file. */
export async function readCredential(path: string): Promise<Credential | null> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    const wayOut = 'let the user the daemon runs as read it';
    throw new CredentialError('KR_CREDENTIAL', `${path}: ${wayOut}`, { cause: error });
  });
  if (text === null) return null;
  const wayOut = 'restore the file, or delete it and enrol this node again with a new token';
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new CredentialError('KR_CREDENTIAL', `${path} is not JSON: ${wayOut}`, { cause });
  }
  const parsed = Credential.safeParse(json);
  if (parsed.success) return parsed.data;
  const { field, hint } = firstIssue(parsed.error, '');
  throw new CredentialError('KR_CREDENTIAL', `${path}: ${field}: ${hint}; ${wayOut}`);
}

/** Durable when it resolves. */
export const writeCredential = (path: string, credential: Credential): Promise<void> =>
  writeWhole(path, `${JSON.stringify(credential, null, 2)}\n`);
