/** Where LXD or Incus is, as daemon.yaml says it, or where its packages put their socket. */
import { existsSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import type { LxdEndpoint } from './api.ts';

const path = z.string().refine(isAbsolute, 'write an absolute path');

const OverNetwork = z.strictObject({
  url: z.url({ protocol: /^https$/, error: 'use https://<host>:8443' }),
  /** Of a client that `lxc config trust add` has made known. */
  certificateFile: path,
  keyFile: path,
  fingerprint: z
    .string()
    .regex(
      /^[0-9a-f]{64}$/,
      "use the SHA-256 of the server's certificate: 64 lower-case hex digits",
    )
    .optional(),
  caFile: path.optional(),
});

export const LxdSettings = z.union([z.strictObject({ socket: path }), OverNetwork], {
  error: 'write socket, or url with certificateFile, keyFile and fingerprint or caFile',
});

/** Debian's package, Canonical's snap, Incus. */
const sockets = [
  '/var/lib/lxd/unix.socket',
  '/var/snap/lxd/common/lxd/unix.socket',
  '/var/lib/incus/unix.socket',
];

export function findLxd(paths: readonly string[] = sockets): LxdEndpoint | null {
  const socket = paths.find((candidate) => existsSync(candidate));
  return socket === undefined ? null : { socket };
}
