/**
 * What this node's own files tell without starting a process: membership, placement, guest
 * configurations, latest tasks, and whether a guest's processes live. A file that cannot be read
 * or understood is null: nobody may take that for "none".
 */
import type { z } from 'zod';
import type { Files } from '../../sample/files.ts';
import type { Config } from './guest-config.ts';
import { type GuestType, Members, parseConfig, VmList } from './pmxcfs.ts';
import { type ConfiguredNode, parseCorosyncNodes } from './quorum.ts';
import { readJson } from './scalars.ts';
import { type ListedTask, parseActiveTasks } from './tasks.ts';

export type LocalGuest = { vmid: string; type: GuestType; config: Config };

export type HostFiles = {
  members(): Promise<Members | null>;
  /** Every guest of the cluster with its place; null when it cannot be told. */
  placement(): Promise<VmList | null>;
  /** Guests of the named node with their configurations. */
  guests(pveNode: string): Promise<LocalGuest[] | null>;
  /** Empty on a node without a cluster. */
  corosyncNodes(): Promise<ConfiguredNode[]>;
  tasks(): Promise<ListedTask[] | null>;
  /** null where this host's cgroups cannot be seen. */
  isAlive(type: GuestType, vmid: string): Promise<boolean | null>;
};

export const cgroupOf = (type: GuestType, vmid: string): string =>
  type === 'qemu' ? `sys/fs/cgroup/qemu.slice/${vmid}.scope` : `sys/fs/cgroup/lxc/${vmid}`;

const configPath = (type: GuestType, vmid: string): string =>
  `etc/pve/${type === 'qemu' ? 'qemu-server' : 'lxc'}/${vmid}.conf`;

type Kept = { version: number; guest: LocalGuest };

export function createHostFiles(files: Files): HostFiles {
  /** pmxcfs counts the changes of a file, so an unchanged one is not read again. */
  let kept = new Map<string, Kept>();

  async function json<T>(schema: z.ZodType<T>, path: string): Promise<T | null> {
    const answer = readJson(schema, (await files.text(path)) ?? '');
    return answer.ok ? answer.value : null;
  }
  const placement = (): Promise<VmList | null> => json(VmList, 'etc/pve/.vmlist');

  async function guests(pveNode: string): Promise<LocalGuest[] | null> {
    const all = await placement();
    if (all === null) return null;
    const next = new Map<string, Kept>();
    for (const [vmid, { node, type, version }] of all) {
      if (node !== pveNode) continue;
      const known = kept.get(vmid);
      if (known?.version === version && known.guest.type === type) {
        next.set(vmid, known);
        continue;
      }
      const text = await files.text(configPath(type, vmid));
      // Deleted or moved since the list was read.
      if (text === null) continue;
      next.set(vmid, { version, guest: { vmid, type, config: parseConfig(text) } });
    }
    kept = next;
    return [...next.values()].map(({ guest }) => guest);
  }

  return {
    members: () => json(Members, 'etc/pve/.members'),
    placement,
    guests,
    corosyncNodes: async () =>
      parseCorosyncNodes((await files.text('etc/pve/corosync.conf')) ?? ''),
    async tasks() {
      const text = await files.text('var/log/pve/tasks/active');
      return text === null ? null : parseActiveTasks(text);
    },
    async isAlive(type, vmid) {
      if (!(await files.exists('sys/fs/cgroup/cgroup.controllers'))) return null;
      const events = await files.text(`${cgroupOf(type, vmid)}/cgroup.events`);
      return /^populated 1$/m.test(events ?? '');
    },
  };
}
