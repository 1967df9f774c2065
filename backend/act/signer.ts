/**
 * The server's signing identity: Ed25519 keys in `<data>/keys/server-<n>.pem` (0600), at most two
 * so that a new one can be introduced while the old is still believed. The lowest number signs.
 * A key file that cannot be read is an error, never a reason to make another one: daemons have
 * pinned it.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign as signBytes,
} from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { NewId, Random } from '../../broker/contract/ports.ts';
import { Uuid } from '../../broker/contract/ids.ts';
import type { ServerKey, Signed } from '../../broker/contract/server.ts';
import { writeWhole } from '../durable.ts';

export type Signer = {
  serverId: string;
  /** What daemons pin, signing key first. */
  serverKeys: readonly ServerKey[];
  sign(content: object): Signed;
};

export type SignerOptions = { folder: string; random: Random; newId: NewId };

export class SignerError extends Error {
  override readonly name = 'SignerError';
  readonly code = 'KR_SERVER_KEY';
}

const keysMax = 2;
const rawKeyBytes = 32;
/** PKCS #8 header of an Ed25519 seed (RFC 8410, 7): the 32 bytes follow. */
const pkcs8Header = Buffer.from('302e020100300506032b657004220420', 'hex');

const rawPublicKey = (key: KeyObject): Buffer =>
  createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-rawKeyBytes);

const keyIdOf = (raw: Buffer): string =>
  createHash('sha256').update(raw).digest('hex').slice(0, 16);

function newPem(random: Random): string {
  const der = Buffer.concat([pkcs8Header, random.bytes(rawKeyBytes)]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}

/**
 * Durable before anyone can pin it: a key lost after a power cut would orphan every daemon. Whole
 * or not there: what a killed start left half written is no key. The folder has one owner at a time.
 */
const writeOnce = (folder: string, name: string, text: string): Promise<void> =>
  writeWhole(join(folder, name), text);

function readKey(pem: string, path: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch (cause) {
    throw new SignerError(`${path} is no private key: restore it from a backup`, { cause });
  }
  throw new SignerError(`${path} is no Ed25519 key: restore it from a backup`);
}

const keyFile = /^server-([1-9][0-9]{0,5})\.pem$/;
const idFile = 'server-id';

async function keyNames(folder: string): Promise<string[]> {
  const numberOf = (name: string): number => Number(keyFile.exec(name)?.[1] ?? 0);
  const names = (await readdir(folder)).filter((name) => keyFile.test(name));
  return names.sort((a, b) => numberOf(a) - numberOf(b));
}

/** The UUID in this file, made at the first call. */
export async function keepId(folder: string, name: string, newId: NewId): Promise<string> {
  const path = join(folder, name);
  if (!(await readdir(folder)).includes(name)) await writeOnce(folder, name, `${newId()}\n`);
  const parsed = Uuid.safeParse((await readFile(path, 'utf8')).trim());
  if (!parsed.success) throw new SignerError(`${path} holds no UUID: restore it from a backup`);
  return parsed.data;
}

export async function openSigner(options: SignerOptions): Promise<Signer> {
  const { folder, random, newId } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if ((await keyNames(folder)).length === 0) {
    await writeOnce(folder, 'server-1.pem', newPem(random));
  }
  const names = await keyNames(folder);
  if (names.length > keysMax) {
    throw new SignerError(`${folder} holds ${names.length} keys: keep at most ${keysMax}`);
  }
  const keys = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name);
      const key = readKey(await readFile(path, 'utf8'), path);
      const raw = rawPublicKey(key);
      return { key, serverKey: { keyId: keyIdOf(raw), publicKey: raw.toString('base64') } };
    }),
  );
  const [first] = keys;
  if (!first) throw new SignerError(`${folder} holds no key`);
  return {
    serverId: await keepId(folder, idFile, newId),
    serverKeys: keys.map(({ serverKey }) => serverKey),
    sign(content) {
      const signed = JSON.stringify(content);
      const signature = signBytes(null, Buffer.from(signed, 'utf8'), first.key).toString('base64');
      return { signed, keyId: first.serverKey.keyId, signature };
    },
  };
}
