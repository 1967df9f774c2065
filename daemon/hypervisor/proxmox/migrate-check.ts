/**
 * The hypervisor's own opinion whether a guest can go to a node: `GET .../migrate?target=`. A VM
 * spells its keys with underscores, a container with hyphens. Where allowed nodes are listed, a
 * target that is not among them is refused. Pure.
 */
import { z } from 'zod';
import { Flag, Numeric } from './scalars.ts';

const nodes = z.array(z.string()).nullish();
const reasons = z.record(z.string(), z.record(z.string(), z.unknown())).nullish();
const text = z.string();

/** `drivename` and `volid` of a disk that lies on this host alone. */
const LocalDisk = z.object({
  volid: text,
  size: Numeric.optional(),
  cdrom: Flag.default(false),
  is_cloudinit: Flag.default(false),
  shared: Flag.default(false),
});

export const MigrateCheck = z
  .object({
    running: Flag.default(false),
    allowed_nodes: nodes,
    'allowed-nodes': nodes,
    not_allowed_nodes: reasons,
    'not-allowed-nodes': reasons,
    local_disks: z.array(LocalDisk).nullish(),
    local_resources: z.array(text).nullish(),
  })
  .transform((answer) => ({
    isRunning: answer.running,
    /** null: the answer does not list them. */
    allowed: answer.allowed_nodes ?? answer['allowed-nodes'] ?? null,
    refused: answer.not_allowed_nodes ?? answer['not-allowed-nodes'] ?? {},
    localDisks: (answer.local_disks ?? []).filter(({ shared }) => !shared),
    localResources: answer.local_resources ?? [],
  }));
export type MigrateCheck = z.infer<typeof MigrateCheck>;

export type MigrateWish = { target: string; withLocalDisks: boolean };

/** `{unavailable_storages: ["a"], "blocking-ha-resources": [{sid, cause}]}` in words. */
const inWords = (why: Record<string, unknown>): string =>
  Object.entries(why)
    .map(([name, value]) => `${name.replaceAll(/[_-]/g, ' ')}: ${JSON.stringify(value)}`)
    .join('; ');

/** Disks that would have to be copied; a cloud-init image is made anew, a CD cannot travel. */
const blockingDisks = ({ localDisks }: MigrateCheck, { withLocalDisks }: MigrateWish) =>
  localDisks.filter(({ cdrom, is_cloudinit }) => !is_cloudinit && (cdrom || !withLocalDisks));

/** Why the guest cannot go there, or undefined when nothing speaks against it. */
export function obstacleTo(check: MigrateCheck, wish: MigrateWish): string | undefined {
  const why = check.refused[wish.target];
  if (why !== undefined) return `${wish.target} is not allowed (${inWords(why)})`;
  if (check.localResources.length > 0) {
    return `it is bound to this host by ${check.localResources.join(', ')}`;
  }
  const [disk] = blockingDisks(check, wish);
  if (disk !== undefined) {
    const wayOut = disk.cdrom ? 'eject it' : 'set withLocalDisks to copy it';
    return `${disk.volid} lies on this host alone: ${wayOut}`;
  }
  // PVE 8 lists no nodes for a running VM; the tool itself then has the last word.
  return check.allowed === null || check.allowed.includes(wish.target)
    ? undefined
    : `${wish.target} is not among the allowed nodes (${check.allowed.join(', ')})`;
}
