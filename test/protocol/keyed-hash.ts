/**
 * Puts a keyed hash in the place of Ed25519 for this whole process. A signature costs more than
 * all the rest of a small simulation together; who signs and who checks what stays as it is, only
 * the arithmetic is left to the full tier. Never load this where anything real is signed.
 */
import crypto, { createPublicKey, hash, type KeyObject } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';

const names = new WeakMap<KeyObject, Buffer>();

function nameOf(key: KeyObject): Buffer {
  const known = names.get(key);
  if (known !== undefined) return known;
  const open = key.type === 'private' ? createPublicKey(key) : key;
  const name = open.export({ format: 'der', type: 'spki' });
  names.set(key, name);
  return name;
}

/** 64 bytes, as long as the real one. */
const signatureOf = (data: Uint8Array, key: KeyObject): Buffer =>
  hash('sha512', Buffer.concat([nameOf(key), data]), 'buffer');

export function standInForEd25519(): void {
  Object.assign(crypto, {
    sign: (_algorithm: null, data: Uint8Array, key: KeyObject) => signatureOf(data, key),
    verify: (_algorithm: null, data: Uint8Array, key: KeyObject, signature: Uint8Array) =>
      signatureOf(data, key).equals(signature),
  });
  syncBuiltinESMExports();
}
