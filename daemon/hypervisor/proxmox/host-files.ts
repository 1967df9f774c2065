/**
 * What this node's own files tell without starting a process: membership, placement, guest
 * configurations, latest tasks, and whether a guest's processes live. A file that cannot be read
 * or understood is null: nobody may take that for "none".
 */
import type { z } from 'zod';
import type { Files } from '../../sample/files.ts';
import type { Config } from './guest-config.ts';
import type { HaAnswers } from './ha.ts';
import { readHa } from './ha-files.ts';
import { type GuestType, Members, parseConfig, VmList } from './pmxcfs.ts';
import { type ConfiguredNode, namesQuorumDevice, parseCorosyncNodes } from './quorum.ts';
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
  hasQuorumDevice(): Promise<boolean>;
  tasks(): Promise<ListedTask[] | null>;
  /** HA by its files; null when it cannot be told. */
  ha(): Promise<HaAnswers | null>;
  /** null where this host's cgroups cannot be seen. */
  isAlive(type: GuestType, vmid: string): Promise<boolean | null>;
  /** How many guests have processes here, also those still on their way in. */
  countAlive(): Promise<number | null>;
};

/** Of cgroup v2, which alone is read. */
const cgroupMark = 'sys/fs/cgroup/cgroup.controllers';

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
      // Gone since the list was read, or not to be read: without it the list is not whole.
      if (text === null) return null;
      next.set(vmid, { version, guest: { vmid, type, config: parseConfig(text) } });
    }
    kept = next;
    return [...next.values()].map(({ guest }) => guest);
  }

  async function isAlive(type: GuestType, vmid: string): Promise<boolean | null> {
    if (!(await files.exists(cgroupMark))) return null;
    const folder = cgroupOf(type, vmid);
    const events = await files.text(`${folder}/cgroup.events`);
    if (events !== null) return /^populated 1$/m.test(events);
    return (await files.exists(folder)) ? null : false;
  }

  async function countAlive(): Promise<number | null> {
    if (!(await files.exists(cgroupMark))) return null;
    const places = [
      ['qemu', 'sys/fs/cgroup/qemu.slice', /^(\d+)\.scope$/],
      ['lxc', 'sys/fs/cgroup/lxc', /^(\d+)$/],
    ] as const;
    let count = 0;
    for (const [type, folder, form] of places) {
      for (const name of (await files.names(folder)) ?? []) {
        const [, vmid] = form.exec(name) ?? [];
        if (vmid === undefined) continue;
        const isGuestAlive = await isAlive(type, vmid);
        if (isGuestAlive === null) return null;
        count += Number(isGuestAlive);
      }
    }
    return count;
  }

  return {
    isAlive,
    countAlive,
    members: () => json(Members, 'etc/pve/.members'),
    placement,
    guests,
    corosyncNodes: async () =>
      parseCorosyncNodes((await files.text('etc/pve/corosync.conf')) ?? ''),
    hasQuorumDevice: async () =>
      namesQuorumDevice((await files.text('etc/pve/corosync.conf')) ?? ''),
    async ha() {
      const own = await json(Members, 'etc/pve/.members');
      if (own === null) return null;
      const names = own.nodes?.map(({ name }) => name) ?? [own.nodeName];
      return readHa(files, names, await placement());
    },
    async tasks() {
      const text = await files.text('var/log/pve/tasks/active');
      return text === null ? null : parseActiveTasks(text);
    },
  };
}
