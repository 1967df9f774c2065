/**
 * A guest of the world as Proxmox writes it down: the lines of its configuration file, and which
 * of them a running guest takes over at once.
 */
import type { WorldGuest } from '../world/model.ts';
import { type Pve, typeOf } from './pve.ts';

const mebibyte = 2 ** 20;

function vmLines(guest: WorldGuest): Record<string, string> {
  const { spec } = guest;
  return {
    name: spec.name,
    sockets: '1',
    // Room to plug cpus into.
    cores: String(spec.cpuCount * 2),
    vcpus: String(guest.cpuCount),
    numa: '1',
    hotplug: 'network,disk,usb,cpu,memory',
    cpu: 'x86-64-v2-AES',
    ostype: 'l26',
    net0: 'virtio=BC:24:11:00:00:01,bridge=vmbr0',
    scsi0: `shared:vm-${spec.id}-disk-0,size=${Math.round(spec.diskBytes / 2 ** 30)}G`,
  };
}

function containerLines(guest: WorldGuest): Record<string, string> {
  const { spec } = guest;
  return {
    hostname: spec.name,
    arch: 'amd64',
    cores: String(guest.cpuCount),
    ostype: 'debian',
    swap: '512',
    net0: 'name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:02,ip=dhcp,type=veth',
    rootfs: `shared:vm-${spec.id}-disk-0,size=${Math.round(spec.diskBytes / 2 ** 30)}G`,
  };
}

/** Of the world's locks only a migration is one of Proxmox too. */
const lockOf = ({ lock }: WorldGuest): Record<string, string> =>
  lock === 'migrate' ? { lock } : {};

export function configOf(pve: Pve, guest: WorldGuest): Record<string, string> {
  const { cpuLimit, cpuUnits, memoryBytes, spec } = guest;
  const extra = pve.extra.get(spec.id) ?? {};
  return {
    ...(typeOf(guest) === 'qemu' ? vmLines(guest) : containerLines(guest)),
    memory: String(Math.round(memoryBytes / mebibyte)),
    ...(cpuLimit === null ? {} : { cpulimit: String(cpuLimit) }),
    cpuunits: String(cpuUnits),
    tags: spec.tags.join(';'),
    ...lockOf(guest),
    ...extra,
  };
}

export const lockIn = (pve: Pve, guest: WorldGuest): string | null =>
  configOf(pve, guest)['lock'] ?? null;

/** False: the value waits for the next start of the guest. */
export function isLive(pve: Pve, guest: WorldGuest, key: string): boolean {
  if (guest.state !== 'running' || typeOf(guest) === 'lxc') return true;
  const { hotplug = '', numa } = configOf(pve, guest);
  const can = (what: string): boolean => hotplug.split(',').includes(what);
  if (key === 'vcpus') return can('cpu');
  if (key === 'memory') return can('memory') && numa === '1';
  return key === 'cpulimit' || key === 'cpuunits';
}
