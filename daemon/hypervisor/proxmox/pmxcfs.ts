/**
 * The files that pmxcfs shows under /etc/pve without anybody having to ask a service: who is a
 * member (`.members`), where each guest is (`.vmlist`), and a guest's configuration. Pure.
 */
import { z } from 'zod';
import { Count, Flag } from './scalars.ts';

const text = z.string();

/** A node without a cluster has neither `cluster` nor `nodelist`. */
export const Members = z
  .object({
    nodename: text,
    cluster: z.object({ name: text, quorate: Flag }).optional(),
    nodelist: z.record(text, z.object({ id: Count, online: Flag.default(false) })).optional(),
  })
  .transform(({ nodename, cluster, nodelist }) => ({
    nodeName: nodename,
    isQuorate: cluster?.quorate ?? null,
    /** null on a node without a cluster. */
    nodes: nodelist
      ? Object.entries(nodelist).map(([name, { online }]) => ({ name, isOnline: online }))
      : null,
  }));
export type Members = z.infer<typeof Members>;

/** `version` changes whenever the guest's configuration does. */
export const VmList = z
  .object({
    ids: z.record(
      z.string().regex(/^\d+$/),
      z.object({ node: text, type: z.enum(['qemu', 'lxc']), version: Count }),
    ),
  })
  .transform(({ ids }) => new Map(Object.entries(ids)));
export type VmList = z.infer<typeof VmList>;
export type GuestType = 'qemu' | 'lxc';

/**
 * `key: value` lines up to the first section; `[PENDING]` and snapshots are other states of the
 * guest, and lines with `#` are its description.
 */
export function parseConfig(file: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of file.split('\n')) {
    if (line.startsWith('[')) break;
    const [, key, value] = /^([a-z][\w-]*):\s*(.*?)\s*$/i.exec(line) ?? [];
    if (key !== undefined && value !== undefined) values.set(key, value);
  }
  return values;
}

/** `GET .../config` answers the same values, some as numbers. */
export const ConfigAnswer = z
  .record(text, z.union([text, z.number(), z.boolean()]))
  .transform((all) => new Map(Object.entries(all).map(([key, value]) => [key, String(value)])));
