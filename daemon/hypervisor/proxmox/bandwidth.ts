/**
 * How fast a migration may be by settings, whoever's they are: without this the time a command is
 * given is reckoned by the wire alone, and a limited migration is called back half-way. Pure.
 */
import type { ClusterOptions } from './ha.ts';

/** datacenter.cfg writes `bwlimit: migration=10240,default=0` in KiB/s; 0 is no limit. */
function ofCluster({ bwlimit = {} }: ClusterOptions): number | null {
  const kibibytes = Number(bwlimit['migration'] ?? bwlimit['default'] ?? 0);
  return kibibytes > 0 ? kibibytes * 1_024 : null;
}

/** The daemon's own limit goes with each command, and so before the cluster's. */
export const migrationLimitOf = (
  ownBytesPerSecond: number | null,
  options: ClusterOptions | undefined,
): number | null => ownBytesPerSecond ?? (options ? ofCluster(options) : null);
