/**
 * Who is who. Ids appear in topics, file names and SQL keys, so their alphabet is narrow on
 * purpose: no wildcard, no separator, no upper case.
 */
import { z } from 'zod';

const lowerId = /^[a-z0-9][a-z0-9-]{0,62}$/;
const lowerIdHint = 'use 1 to 63 lower-case letters, digits or hyphens, not starting with a hyphen';
const reservedClusters: ReadonlySet<string> = new Set(['server', 'daemons', 'sys']);

/** The same as the schemas say, for where every message of a fleet is looked at. */
export const isNodeId = (id: string): boolean => lowerId.test(id);
export const isClusterId = (id: string): boolean => isNodeId(id) && !reservedClusters.has(id);

export const ClusterId = z
  .string()
  .regex(lowerId, lowerIdHint)
  .refine((id) => !reservedClusters.has(id), 'server, daemons and sys are reserved');
export const NodeId = z.string().regex(lowerId, lowerIdHint);
export const DaemonId = z.string().regex(lowerId, lowerIdHint);

export const guestIdPattern = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$/;

/** A guest id as the hypervisor spells it, unique in its cluster; never part of a topic. */
export const GuestId = z
  .string()
  .regex(
    guestIdPattern,
    'use 1 to 128 letters, digits, or _ . : -, starting with a letter or digit',
  );

/** Ours are version 7; any UUID is accepted from outside, since nothing relies on the version. */
export const Uuid = z
  .string()
  .regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'use a lower-case UUID');

/** `PVE1.example.lan` -> `pve1`: only what an id may hold. */
export const nodeIdOfHost = (hostName: string): string =>
  (hostName.toLowerCase().split('.')[0] ?? '')
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, 63) || 'localhost';

/** A node is the pair (cluster, node). */
export type NodeKey = `${string}/${string}`;
export const nodeKey = (cluster: string, node: string): NodeKey => `${cluster}/${node}`;

/** 128 random bits of a claim, repeated in the grant that answers it. */
export const Nonce = z.string().regex(/^[0-9a-f]{32}$/, 'use 32 lower-case hex digits');

const hexOf = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/**
 * UUID version 7 (RFC 9562, 5.7) from a wall-clock time in ms and at least 10 random bytes, both
 * passed in, so that a simulation's ids are its seed's.
 */
export function uuidv7(nowMs: number, random: Uint8Array): string {
  const time = Math.trunc(nowMs).toString(16).padStart(12, '0').slice(-12);
  let text = '';
  for (let at = 0; at < 10; at += 1) text += hexOf[random[at] as number];
  const variant = hexOf[0x80 | ((random[2] ?? 0) & 0x3f)];
  const head = `${time.slice(0, 8)}-${time.slice(8)}-7${text.slice(1, 4)}`;
  return `${head}-${variant}${text.slice(6, 8)}-${text.slice(8)}`;
}
