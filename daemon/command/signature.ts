/**
 * Whom the executor believes: Ed25519 over the bytes of the string `signed`, by one of the server
 * keys it was given at enrolment. Invariant: nothing inside `signed` is looked at before the
 * check, and a content of one type never passes as another. Pure.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { z } from 'zod';
import { GrantContent } from '../../broker/contract/command.ts';
import {
  ServerContent,
  type ServerKey,
  type Signed,
  SyncContent,
} from '../../broker/contract/server.ts';

export type Checked<T> = { ok: true; content: T } | { ok: false; reason: string };

const signatureBytes = 64;
const publicKeyBytes = 32;
/** RFC 8410: SubjectPublicKeyInfo of an Ed25519 key is this prefix and the 32 raw bytes. */
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex');

/** Keys are few and live long; parsing one costs as much as a check. */
const parsed = new Map<string, KeyObject>();
const parsedMax = 16;

function publicKey(base64: string): KeyObject | undefined {
  const known = parsed.get(base64);
  if (known) return known;
  const raw = Buffer.from(base64, 'base64');
  if (raw.length !== publicKeyBytes) return undefined;
  const der = Buffer.concat([spkiPrefix, raw]);
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
  if (parsed.size >= parsedMax) parsed.clear();
  parsed.set(base64, key);
  return key;
}

function isSignedBy(keys: readonly ServerKey[], { signed, keyId, signature }: Signed): boolean {
  const named = keys.find((one) => one.keyId === keyId);
  const key = named && publicKey(named.publicKey);
  const bytes = Buffer.from(signature, 'base64');
  // Base64 has several spellings of the same bytes; only one of them is a signature here.
  if (!key || bytes.length !== signatureBytes || bytes.toString('base64') !== signature) {
    return false;
  }
  return verify(null, Buffer.from(signed, 'utf8'), key, bytes);
}

function check<T>(keys: readonly ServerKey[], signed: Signed, schema: z.ZodType<T>): Checked<T> {
  if (!isSignedBy(keys, signed)) return { ok: false, reason: 'no known server key signed this' };
  let json: unknown;
  try {
    json = JSON.parse(signed.signed);
  } catch {
    return { ok: false, reason: 'signed content is not JSON' };
  }
  const content = schema.safeParse(json);
  if (content.success) return { ok: true, content: content.data };
  const issue = content.error.issues[0];
  return { ok: false, reason: `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}` };
}

export type Addressee = { cluster: string; node: string };

const isFor = (content: Addressee, to: Addressee): boolean =>
  content.cluster === to.cluster && content.node === to.node;

export function checkGrant(
  keys: readonly ServerKey[],
  signed: Signed,
  to: Addressee,
): Checked<GrantContent> {
  const grant = check(keys, signed, GrantContent);
  if (!grant.ok || isFor(grant.content, to)) return grant;
  return { ok: false, reason: 'grant is for another node' };
}

/** A sync of whatever session, for the wake table in it: it was true when it was signed. */
export function checkTable(
  keys: readonly ServerKey[],
  signed: Signed,
  to: Addressee,
): Checked<SyncContent> {
  const sync = check(keys, signed, SyncContent);
  if (!sync.ok || isFor(sync.content, to)) return sync;
  return { ok: false, reason: 'sync is for another node' };
}

export function checkSync(
  keys: readonly ServerKey[],
  signed: Signed,
  to: Addressee & { session: string },
): Checked<SyncContent> {
  const sync = check(keys, signed, SyncContent);
  if (!sync.ok) return sync;
  if (!isFor(sync.content, to)) return { ok: false, reason: 'sync is for another node' };
  if (sync.content.session === to.session) return sync;
  return { ok: false, reason: 'sync answers another session' };
}

export const checkServer = (keys: readonly ServerKey[], signed: Signed): Checked<ServerContent> =>
  check(keys, signed, ServerContent);
