/**
 * Who is who. Ids appear in topics, file names and SQL keys, so their alphabet is narrow on
 * purpose: no wildcard, no separator, no upper case.
 */
import { z } from 'zod';

const lowerId = /^[a-z0-9][a-z0-9-]{0,62}$/;
const lowerIdHint = 'use 1 to 63 lower-case letters, digits or hyphens, not starting with a hyphen';
const reservedClusters: ReadonlySet<string> = new Set(['server', 'daemons', 'sys']);

export const ClusterId = z
  .string()
  .regex(lowerId, lowerIdHint)
  .refine((id) => !reservedClusters.has(id), 'server, daemons and sys are reserved');
export const NodeId = z.string().regex(lowerId, lowerIdHint);
export const DaemonId = z.string().regex(lowerId, lowerIdHint);

/** A guest id as the hypervisor spells it, unique in its cluster; never part of a topic. */
export const GuestId = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$/,
    'use 1 to 128 letters, digits, or _ . : -, starting with a letter or digit',
  );

/** Ours are version 7; any UUID is accepted from outside, since nothing relies on the version. */
export const Uuid = z
  .string()
  .regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'use a lower-case UUID');

/** A node is the pair (cluster, node). */
export type NodeKey = `${string}/${string}`;
export const nodeKey = (cluster: string, node: string): NodeKey => `${cluster}/${node}`;

/** 128 random bits of a claim, repeated in the grant that answers it. */
export const Nonce = z.string().regex(/^[0-9a-f]{32}$/, 'use 32 lower-case hex digits');

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * UUID version 7 (RFC 9562, 5.7) from a wall-clock time in ms and at least 10 random bytes, both
 * passed in, so that a simulation's ids are its seed's.
 */
export function uuidv7(nowMs: number, random: Uint8Array): string {
  const bytes = new Uint8Array(16);
  bytes.set(random.subarray(0, 10), 6);
  let time = Math.trunc(nowMs);
  for (let index = 5; index >= 0; index -= 1) {
    bytes[index] = time % 256;
    time = Math.trunc(time / 256);
  }
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  const text = hex(bytes);
  return [
    text.slice(0, 8),
    text.slice(8, 12),
    text.slice(12, 16),
    text.slice(16, 20),
    text.slice(20),
  ].join('-');
}
