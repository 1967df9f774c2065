/**
 * Opaque secrets: 32 random bytes as 64 lower-case hex digits, of which only the SHA-256 is
 * kept. Comparisons take the same time wherever the difference is.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Random } from '../../broker/contract/ports.ts';

export const newSecret = (random: Random): string => Buffer.from(random.bytes(32)).toString('hex');

export const hashOf = (secret: string): string =>
  createHash('sha256').update(secret, 'utf8').digest('hex');

/** Hashing first makes the lengths equal, whatever a stranger sends. */
export const isSameSecret = (a: string, b: string): boolean =>
  timingSafeEqual(Buffer.from(hashOf(a), 'hex'), Buffer.from(hashOf(b), 'hex'));
