/**
 * Which block devices and file systems belong to this host. Partitions, loops, RAM disks, RAID
 * and LVM volumes lie above a physical device and would count the same bytes twice; network file
 * systems are never asked, since a dead server would block the sampler.
 */
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Files } from './files.ts';
import type { Mount } from './parse.ts';

/** What a system without /sys/block still lets us tell by name. */
const diskName = /^([shv]d[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+)$/;

export async function physicalDisks(files: Files, names: readonly string[]): Promise<Set<string>> {
  if ((await files.names('sys/block')) === null) {
    return new Set(names.filter((name) => diskName.test(name)));
  }
  const found = new Set<string>();
  for (const name of names) {
    if (await files.exists(`sys/block/${name}/device`)) found.add(name);
  }
  return found;
}

const localTypes: ReadonlySet<string> = new Set(
  'ext2 ext3 ext4 xfs btrfs zfs f2fs jfs reiserfs bcachefs vfat'.split(' '),
);

/**
 * One mount per device: a second mount of the same device (bind, btrfs subvolume) shows the same
 * space. A container has no device of its own; there the root stands for all.
 */
export function localMounts(mounts: readonly Mount[]): Mount[] {
  const byDevice = new Map<string, Mount>();
  for (const mount of mounts) {
    if (localTypes.has(mount.type) && !byDevice.has(mount.device)) {
      byDevice.set(mount.device, mount);
    }
  }
  if (byDevice.size > 0) return [...byDevice.values()];
  return mounts.filter(({ path }) => path === '/').slice(-1);
}

export type Space = { usedBytes: number; totalBytes: number };
export type StatSpace = (path: string) => Promise<Space | null>;

export const spaceBelow =
  (root: string): StatSpace =>
  async (path) => {
    try {
      const { blocks, bfree, bsize } = await statfs(join(root, path));
      return { usedBytes: (blocks - bfree) * bsize, totalBytes: blocks * bsize };
    } catch {
      return null;
    }
  };

/** The data sets of one ZFS pool share its free space, so that is counted once per pool. */
const poolOf = ({ device, type }: Mount): string =>
  type === 'zfs' ? (device.split('/')[0] ?? device) : device;

export async function readSpace(
  statSpace: StatSpace,
  mounts: readonly Mount[],
): Promise<Space | null> {
  const pools = new Map<string, { usedBytes: number; freeBytes: number }>();
  for (const mount of localMounts(mounts)) {
    const space = await statSpace(mount.path);
    if (!space) continue;
    const pool = pools.get(poolOf(mount)) ?? { usedBytes: 0, freeBytes: 0 };
    pools.set(poolOf(mount), {
      usedBytes: pool.usedBytes + space.usedBytes,
      freeBytes: Math.max(pool.freeBytes, space.totalBytes - space.usedBytes),
    });
  }
  if (pools.size === 0) return null;
  let sum: Space = { usedBytes: 0, totalBytes: 0 };
  for (const { usedBytes, freeBytes } of pools.values()) {
    sum = {
      usedBytes: sum.usedBytes + usedBytes,
      totalBytes: sum.totalBytes + usedBytes + freeBytes,
    };
  }
  return sum;
}
