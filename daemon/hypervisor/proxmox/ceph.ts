/**
 * What Ceph says of itself where a Ceph service runs on this host: health, monitors, the smallest
 * min_size. Whether its services may be stopped Proxmox tells no tool that takes all OSDs of a host
 * together, so that stays unknown, and unknown keeps the host on. Elsewhere nobody is asked.
 */
import { z } from 'zod';
import type { NodeFacts } from '../../../broker/contract/facts.ts';
import type { Files } from '../../sample/files.ts';
import { Count } from './scalars.ts';
import type { Toolbox } from './toolbox.ts';

const text = z.string();

/** `/cluster/ceph/status`: since Octopus the monitor map is the whole one, with names. */
export const CephStatus = z.object({
  health: z.object({ status: text }),
  quorum_names: z.array(text),
  monmap: z.object({ mons: z.array(z.object({ name: text })) }),
});

/** `/nodes/{node}/ceph/pool`. */
export const CephPools = z.array(z.object({ min_size: Count }));

const kinds = ['osd', 'mon', 'mds', 'mgr'] as const;

/** `ceph-osd`, ... for each service that has its folder here. */
export async function cephRoles(files: Files): Promise<string[]> {
  const roles = await Promise.all(
    kinds.map(async (kind) => {
      const kept = (await files.names(`var/lib/ceph/${kind}`)) ?? [];
      return kept.length > 0 ? [`ceph-${kind}`] : [];
    }),
  );
  return roles.flat();
}

export async function readCeph(toolbox: Toolbox, files: Files): Promise<NodeFacts['ceph']> {
  const roles = await cephRoles(files);
  if (roles.length === 0) return null;
  const [status, pools] = await Promise.all([
    toolbox.get(CephStatus, '/cluster/ceph/status'),
    toolbox.get(CephPools, '/nodes/localhost/ceph/pool'),
  ]);
  const sizes = pools?.map((pool) => pool.min_size) ?? [];
  return {
    health: status?.health.status ?? null,
    osdsOkToStop: null,
    monOkToStop: null,
    poolMinSize: sizes.length === 0 ? null : Math.min(...sizes),
    monsTotal: status?.monmap.mons.length ?? null,
    monsInQuorum: status?.quorum_names.length ?? null,
    hasMon: roles.includes('ceph-mon'),
    noout: null,
  };
}
