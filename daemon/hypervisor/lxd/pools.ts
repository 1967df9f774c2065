/** Which storage pools of LXD every member reaches: only those let a disk stay where it is. */
import { z } from 'zod';
import type { LxdApi } from './api.ts';

const Pools = z.array(z.object({ name: z.string(), driver: z.string() }));
const sharedDrivers = new Set(['ceph', 'cephfs', 'cephobject']);

export async function sharedPoolsOf(api: LxdApi): Promise<(pool: string) => boolean> {
  const pools = await api.get(Pools, '/1.0/storage-pools?recursion=1');
  const shared = new Set(
    pools.filter(({ driver }) => sharedDrivers.has(driver)).map(({ name }) => name),
  );
  return (pool) => shared.has(pool);
}
