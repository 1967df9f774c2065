/**
 * Whether the server holds this cluster, by its last signed words. Invariant: an older
 * self-description never undoes a newer one, and a late sync never releases what the newest
 * self-description holds. Pure but for its own memory.
 */
import type { ServerContent } from '../../broker/contract/server.ts';

export type Hold = {
  isHeld(): boolean;
  onServer(content: ServerContent): void;
  onSync(isHeld: boolean): void;
};

export function createHold(cluster: string): Hold {
  let version = 0;
  let byServer = false;
  let bySync = false;
  return {
    isHeld: () => byServer || bySync,
    onServer(content) {
      if (content.version <= version) return;
      version = content.version;
      byServer = content.hold.all || content.hold.clusters.includes(cluster);
      bySync = byServer;
    },
    onSync(isHeld) {
      bySync = isHeld;
    },
  };
}
