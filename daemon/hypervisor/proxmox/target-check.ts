/**
 * What the target of a migration says of itself directly before it: whether a running guest could
 * go on there (SAFETY V5), and whether it has the memory at this moment (V8). Proxmox's own
 * precheck asks neither. Pure.
 */
import type { NodeStatus } from './answers.ts';
import { cpuType, memoryBytes } from './guest-config.ts';
import type { GuestType } from './pmxcfs.ts';

/** By how the kernel spells the model; null for others than these two. */
export const vendorOf = (model: string | null): string | null => {
  if (model === null) return null;
  if (/\bAMD\b/.test(model)) return 'AuthenticAMD';
  return model.includes('Intel') ? 'GenuineIntel' : null;
};

/** `pve-manager/9.2.2/0123`: 9, 2, 2; null where a text holds none. */
const versionOf = ({ pveversion }: NodeStatus): number[] | null =>
  /^[^/]*\/(\d+(?:\.\d+)*)/.exec(pveversion)?.[1]?.split('.').map(Number) ?? null;

function isOlder(one: readonly number[], other: readonly number[]): boolean {
  const at = other.findIndex((part, index) => part !== (one[index] ?? 0));
  return at !== -1 && (one[at] ?? 0) < (other[at] ?? 0);
}

/** Types that show the guest all of its host; a custom one may. */
const needsSameCpu = (type: string): boolean =>
  type === 'host' || type === 'max' || type.startsWith('custom-');

export type Moving = {
  type: GuestType;
  isRunning: boolean;
  config: ReadonlyMap<string, string>;
  source: NodeStatus;
  target: NodeStatus;
};

function cpuObstacle({ config, source, target }: Moving): string | undefined {
  const [from, to] = [source.cpuinfo.model, target.cpuinfo.model];
  const [vendor, other] = [vendorOf(from), vendorOf(to)];
  if (vendor === null || other === null) return 'the cpu of source or target cannot be told';
  if (vendor !== other) return `a running guest cannot move from ${from} to ${to}`;
  const type = cpuType(config);
  if (type === null) return 'the cpu type of the guest cannot be told';
  if (needsSameCpu(type) && from !== to)
    return `cpu type ${type} cannot move from ${from} to ${to}`;
  const [there, here] = [versionOf(target), versionOf(source)];
  if (there === null || here === null) return 'the version of source or target cannot be told';
  return isOlder(there, here)
    ? `the target runs ${target.pveversion}, the source ${source.pveversion}`
    : undefined;
}

/** Why the guest must not go there now, or undefined. */
export function obstacleThere(moving: Moving): string | undefined {
  if (!moving.isRunning) return undefined;
  const cpu = moving.type === 'qemu' ? cpuObstacle(moving) : undefined;
  if (cpu !== undefined) return cpu;
  const { total, used } = moving.target.memory;
  const needed = memoryBytes(moving.config);
  return used + needed > total
    ? `it may need ${needed} bytes of memory, and ${used} of ${total} are in use there`
    : undefined;
}
