/**
 * A guest's configuration -> facts: size, disks, what binds it to its host, what can change while
 * it runs. Values are text whatever their spelling was. What the configuration leaves out has the
 * default that Proxmox VE gives it. Pure.
 */
import type { GuestFacts } from '../../../broker/contract/facts.ts';
import type { GuestType } from './pmxcfs.ts';
import { propertiesOf, tagsOf } from './scalars.ts';

export type Config = ReadonlyMap<string, string>;

export const mebibyte = 2 ** 20;
/** The guest's owner agrees that a migration may restart it. */
const restartTag = 'kr_restart';

const numberOf = (text: string | undefined): number | null => {
  const value = Number(text);
  return text === undefined || text.trim() === '' || !Number.isFinite(value) ? null : value;
};

/** `memory` is a number of MiB, or since PVE 8.1 `current=2048`. */
export function memoryBytes(config: Config): number {
  const text = config.get('memory') ?? '';
  const mebibytes = numberOf(propertiesOf(text, 'current')['current']);
  return (mebibytes ?? 512) * mebibyte;
}

/** `sockets * cores`, the most that `vcpus` may be. */
export const cpuCountMax = (config: Config): number =>
  (numberOf(config.get('sockets')) ?? 1) * (numberOf(config.get('cores')) ?? 1);

/** null: a container without `cores` may use every cpu of its host. */
const cpuCount = (config: Config, type: GuestType): number | null =>
  type === 'lxc'
    ? numberOf(config.get('cores'))
    : (numberOf(config.get('vcpus')) ?? cpuCountMax(config));

const hotplugDefault = 'network,disk,usb';

/** Memory can only be plugged into a VM with NUMA; a container's limits are always live. */
export function hotplugOf(config: Config, type: GuestType): string[] {
  if (type === 'lxc') return ['cpu', 'memory'];
  const text = config.get('hotplug') ?? '1';
  if (text === '0') return [];
  const parts = (text === '1' ? hotplugDefault : text).split(',').map((part) => part.trim());
  return parts.filter((part) => part !== 'memory' || config.get('numa') === '1');
}

type Disk = { key: string; volume: string; options: Record<string, string> };

const vmDiskKey = /^(ide|sata|scsi|virtio|efidisk|tpmstate)\d+$/;
const ctDiskKey = /^(rootfs|mp\d+)$/;

function disksOf(config: Config, type: GuestType): Disk[] {
  const isDisk = type === 'qemu' ? vmDiskKey : ctDiskKey;
  return [...config].flatMap(([key, text]) => {
    const first = type === 'qemu' ? 'file' : 'volume';
    const options = propertiesOf(text, first);
    const volume = options[first];
    return !isDisk.test(key) || volume === undefined ? [] : [{ key, volume, options }];
  });
}

const units: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** `32G`, `528K`, `1024`. */
function sizeBytes(text: string | undefined): number | null {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)([KMGT]?)$/.exec(text ?? '') ?? [];
  return number === undefined ? null : Number(number) * (units[unit] ?? 1);
}

const storageOf = (volume: string): string | null =>
  /^([A-Za-z][\w.-]*):/.exec(volume)?.[1] ?? null;

const isCdrom = ({ options }: Disk): boolean => options['media'] === 'cdrom';

export type StorageIsShared = (storage: string) => boolean;

function diskFacts(config: Config, type: GuestType, isShared: StorageIsShared) {
  return disksOf(config, type)
    .filter((disk) => !isCdrom(disk))
    .map(({ volume, options }) => {
      const storage = storageOf(volume);
      const shared = storage === null ? options['shared'] === '1' : isShared(storage);
      return { volume, storage, sizeBytes: sizeBytes(options['size']), shared };
    });
}

const passthroughKey = /^(hostpci|usb|parallel|serial|virtiofs|ivshmem|dev)\d*$/;
/** These say how the guest sees a device that the host makes up. */
const emulated = /^(spice|socket)\b/;

function localResources(config: Config, type: GuestType, isShared: StorageIsShared): string[] {
  const devices = [...config]
    .filter(([key, text]) => passthroughKey.test(key) && !emulated.test(text))
    .map(([key]) => key);
  const media = disksOf(config, type)
    .filter((disk) => isCdrom(disk) && !disk.volume.includes('cloudinit'))
    .filter(({ volume }) => volume !== 'none' && !isShared(storageOf(volume) ?? ''))
    .map(({ key }) => key);
  const binds = disksOf(config, type)
    .filter(({ volume, options }) => volume.startsWith('/') && options['shared'] !== '1')
    .map(({ key }) => key);
  return [...devices, ...media, ...binds];
}

/** What QEMU emulates where nothing is configured; of other architectures that is not said here. */
const usualCpuType = (config: Config): string | null =>
  ['x86_64', undefined].includes(config.get('arch')) ? 'kvm64' : null;

/** The model, without the flags behind it. */
export const cpuType = (config: Config): string | null =>
  propertiesOf(config.get('cpu') ?? '', 'cputype')['cputype'] ?? usualCpuType(config);

const limits = { tags: 32, tagLength: 64, name: 128 };

export const cleanTags = (text: string | undefined): string[] =>
  tagsOf(text)
    .slice(0, limits.tags)
    .map((tag) => tag.slice(0, limits.tagLength));

export const nameOf = (config: Config, vmid: string): string =>
  (config.get('name') ?? config.get('hostname') ?? vmid).slice(0, limits.name);

/** Cards by configuration: `net0: virtio=BC:24:11:..,bridge=vmbr0`, or `hwaddr=..` of a container. */
const macsOf = (config: Config): string[] =>
  [...config]
    .filter(([key]) => /^net\d+$/.test(key))
    .flatMap(
      ([, text]) => /\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b/i.exec(text)?.[0].toLowerCase() ?? [],
    )
    .slice(0, 32);

/** What the guest reads as its own DMI product UUID. */
const systemUuidOf = (config: Config): string | null =>
  /\buuid=([0-9a-f-]{36})\b/i.exec(config.get('smbios1') ?? '')?.[1]?.toLowerCase() ?? null;

export type GuestContext = {
  isShared: StorageIsShared;
  haState: string | null;
  /** null: nobody could be asked. */
  isOwnedByBalancer: boolean | null;
};

export function guestFacts(
  { vmid, type, config }: { vmid: string; type: GuestType; config: Config },
  { isShared, haState, isOwnedByBalancer }: GuestContext,
): GuestFacts {
  const tags = cleanTags(config.get('tags'));
  const balloon = numberOf(config.get('balloon'));
  return {
    id: vmid,
    kind: type === 'qemu' ? 'vm' : 'container',
    name: nameOf(config, vmid),
    tags,
    lock: config.get('lock') ?? null,
    haState,
    ownedByHypervisorBalancer: isOwnedByBalancer,
    template: config.get('template') === '1',
    cpuType: type === 'qemu' ? cpuType(config) : null,
    cpuCount: cpuCount(config, type),
    cpuLimit: numberOf(config.get('cpulimit')),
    cpuUnits: numberOf(config.get('cpuunits')),
    memoryMaxBytes: memoryBytes(config),
    balloonMinBytes: balloon === null ? null : balloon * mebibyte,
    hotplug: hotplugOf(config, type),
    disks: diskFacts(config, type, isShared),
    localResources: localResources(config, type, isShared),
    allowedNodes: null,
    // A VM moves live; the consent only matters where the move is a restart.
    mayRestart: tags.includes(restartTag),
    macs: macsOf(config),
    systemUuid: systemUuidOf(config),
  };
}
