/**
 * Seals third-party secrets (webhooks, BMC passwords, TOTP keys) under the master key of this
 * installation: AES-256-GCM, bound to the name they are kept under, so that neither a changed nor
 * a swapped one opens. A copy of the database alone reveals nothing.
 *
 * Sealed text: `v1.<key id>.<nonce>.<ciphertext and tag>`, the parts in base64url.
 */
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { chmod, link, mkdir, open, readFile, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { NewId, Random } from '../../../broker/contract/ports.ts';
import { syncFolder } from '../../durable.ts';

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

export class SecretsError extends Error {
  override readonly name = 'SecretsError';
  readonly code: 'KR_MASTER_KEY' | 'KR_SECRET_SEALED_ELSEWHERE' | 'KR_SECRET_TAMPERED';
  constructor(code: SecretsError['code'], message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

export type Secrets = {
  seal(name: string, plain: string): string;
  /** Throws SecretsError when the text was changed, or sealed for another name or key. */
  unseal(name: string, sealed: string): string;
};

const tampered = (name: string, cause?: unknown): SecretsError =>
  new SecretsError(
    'KR_SECRET_TAMPERED',
    `the sealed secret ${name} was changed; set it anew`,
    cause,
  );

export function createSecrets(masterKey: Uint8Array, random: Random): Secrets {
  const keyId = createHash('sha256').update(masterKey).digest('base64url').slice(0, 8);
  return {
    seal(name, plain) {
      const nonce = random.bytes(nonceBytes);
      const cipher = createCipheriv('aes-256-gcm', masterKey, nonce, { authTagLength: tagBytes });
      cipher.setAAD(Buffer.from(name, 'utf8'));
      const body = Buffer.concat([
        cipher.update(plain, 'utf8'),
        cipher.final(),
        cipher.getAuthTag(),
      ]);
      const nonceText = Buffer.from(nonce).toString('base64url');
      return `v1.${keyId}.${nonceText}.${body.toString('base64url')}`;
    },
    unseal(name, sealed) {
      const [version, sealedBy, nonceText = '', bodyText = '', ...rest] = sealed.split('.');
      const nonce = Buffer.from(nonceText, 'base64url');
      const body = Buffer.from(bodyText, 'base64url');
      const isWellFormed = nonce.length === nonceBytes && body.length >= tagBytes;
      if (version !== 'v1' || rest.length > 0 || !isWellFormed) throw tampered(name);
      if (sealedBy !== keyId) {
        throw new SecretsError(
          'KR_SECRET_SEALED_ELSEWHERE',
          `the secret ${name} was sealed under another master key; restore that key or set it anew`,
        );
      }
      try {
        const options = { authTagLength: tagBytes };
        const decipher = createDecipheriv('aes-256-gcm', masterKey, nonce, options);
        decipher.setAAD(Buffer.from(name, 'utf8'));
        decipher.setAuthTag(body.subarray(-tagBytes));
        const plain = decipher.update(body.subarray(0, -tagBytes));
        return Buffer.concat([plain, decipher.final()]).toString('utf8');
      } catch (error) {
        throw tampered(name, error);
      }
    },
  };
}

async function readKey(file: string): Promise<Uint8Array> {
  const text = (await readFile(file, 'utf8')).trim();
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new SecretsError(
      'KR_MASTER_KEY',
      `${file} must hold 64 lower-case hex digits; restore it from a backup`,
    );
  }
  const isShared = ((await stat(file)).mode & 0o077) !== 0;
  if (isShared) await chmod(file, 0o600);
  return Buffer.from(text, 'hex');
}

/** Whole and durable before it has its name: a torn key would lose every secret. */
async function writeKey(file: string, key: Uint8Array, suffix: string): Promise<void> {
  const folder = dirname(file);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const temporary = `${file}.${suffix}`;
  const handle = await open(temporary, 'wx', 0o600);
  try {
    await handle.writeFile(`${Buffer.from(key).toString('hex')}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  try {
    await link(temporary, file);
  } finally {
    await rm(temporary);
  }
  await syncFolder(folder);
}

const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;

/** The key in `file`, made on the first start. Whoever makes it first wins. */
export async function loadMasterKey(
  file: string,
  { random, newId }: { random: Random; newId: NewId },
): Promise<Uint8Array> {
  try {
    return await readKey(file);
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error;
  }
  try {
    await writeKey(file, random.bytes(keyBytes), newId());
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error;
  }
  return readKey(file);
}
