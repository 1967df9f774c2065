/**
 * Encryption of backups: the age format (age-encryption.org/v1, X25519 and ChaCha20-Poly1305 in
 * authenticated chunks) by its author's own library, which only this file imports. A cut, changed
 * or foreign file never opens. `age -d` opens them, too. The library is loaded where it is needed:
 * it takes a quarter of a second, which no other command should wait for.
 */
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';

export class BackupError extends Error {
  override readonly name = 'BackupError';
  readonly code = 'KR_BACKUP';
}

const recipientPattern = /^age1[a-z0-9]{10,}$/;
const identityPattern = /^AGE-SECRET-KEY-(PQ-)?1[A-Z0-9]+$/;

export const isRecipient = (text: string): boolean => recipientPattern.test(text);

const library = () => import('age-encryption');

export const newIdentity = async (): Promise<string> => (await library()).generateX25519Identity();
export const recipientOf = async (identity: string): Promise<string> =>
  (await library()).identityToRecipient(identity);

/** The secret keys in a file as `age-keygen` writes it: comments and one key a line. */
export async function readIdentities(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    throw new BackupError(`the key of the backup cannot be read: ${why}; name it by --identity`);
  });
  const lines = text.split('\n').map((line) => line.trim());
  const identities = lines.filter((line) => identityPattern.test(line));
  if (identities.length > 0) return identities;
  throw new BackupError(`${path} holds no line AGE-SECRET-KEY-1...: name the right file`);
}

type Chunks = AsyncIterable<Uint8Array>;
/**
 * The library takes and gives the web's streams, which Node and the browser's types declare apart;
 * what is compiled with both knows no type that is either.
 */
type WebStream = globalThis.ReadableStream<Uint8Array>;
const webOf = (chunks: Chunks): unknown => ReadableStream.from(chunks);
const nodeOf = (stream: unknown): Readable =>
  Readable.fromWeb(stream as ReadableStream<Uint8Array>);

/** Every one of the recipients can open it alone. */
export async function sealed(plain: Chunks, recipients: readonly string[]): Promise<Readable> {
  const { Encrypter } = await library();
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  return nodeOf(await encrypter.encrypt(webOf(plain) as WebStream));
}

/** @throws BackupError where none of the keys fits, or it is no backup. */
export async function opened(cipher: Chunks, identities: readonly string[]): Promise<Readable> {
  const { Decrypter } = await library();
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  try {
    return nodeOf(await decrypter.decrypt(webOf(cipher) as WebStream));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new BackupError(`this file does not open with this key: ${why}`);
  }
}
