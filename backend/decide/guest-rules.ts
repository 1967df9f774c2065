/**
 * What the description of a guest forbids: nodes it may not run on, disks and devices that bind
 * it, processors it cannot live on. The guards ask the same again by code of their own; what is
 * not described forbids nothing here and is theirs to refuse. Pure.
 */
import type { GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import type { NodeRecord } from '../state/fleet.ts';

export type GuestRule = {
  /** Why it stays where it is, null when nothing binds it. */
  bound: string | null;
  allowed: ReadonlySet<string> | null;
  cpuType: string | null;
  storages: readonly string[];
  isLive: boolean;
  /** Cores it may use at most; null or 0: no limit. */
  cpuLimit: number | null;
  /** What may be changed while it runs; null where nobody says. */
  hotplug: readonly string[] | null;
  /** Shared folders keep memory from being plugged; null where nobody says. */
  hasVirtiofs: boolean | null;
  /** Of a stopped guest, whether somebody asked for it; null where nobody can tell. */
  stopAsked: boolean | null;
};

type Rules = ReadonlyMap<string, GuestRule>;
const none: Rules = new Map();

function boundBy(guest: GuestFacts): string | null {
  if (guest.ownedByHypervisorBalancer === true) return "is moved by the hypervisor's own balancer";
  const [resource] = guest.localResources ?? [];
  if (resource !== undefined) return `is bound here by ${resource}`;
  const disk = guest.disks?.find(({ shared }) => !shared);
  if (disk) return `has disk ${disk.volume} on local storage`;
  if (guest.kind !== 'vm' && guest.mayRestart !== true) {
    return 'would be restarted on the way, and nobody agreed to that';
  }
  return null;
}

const ruleOf = (guest: GuestFacts): GuestRule => ({
  bound: boundBy(guest),
  allowed: guest.allowedNodes === null ? null : new Set(guest.allowedNodes),
  cpuType: guest.cpuType,
  storages: (guest.disks ?? []).flatMap(({ storage }) => (storage === null ? [] : [storage])),
  isLive: guest.kind === 'vm',
  cpuLimit: guest.cpuLimit,
  hotplug: guest.hotplug,
  stopAsked: guest.stopAsked ?? null,
  hasVirtiofs: guest.localResources?.some((name) => name.includes('virtiofs')) ?? null,
});

/** Parsed once per description: it changes with a hello, and decisions ask every few seconds. */
const parsed = new WeakMap<NodeRecord, { json: string; rules: Rules }>();

export function guestRules(node: NodeRecord): Rules {
  const json = node.guestFactsJson;
  if (json === null) return none;
  const known = parsed.get(node);
  if (known?.json === json) return known.rules;
  const guests = JSON.parse(json) as GuestFacts[];
  const rules = new Map(guests.map((guest) => [guest.id, ruleOf(guest)]));
  parsed.set(node, { json, rules });
  return rules;
}

/** Types whose features nearly every host of a vendor has; all others belong to a generation. */
const common = /^(kvm64|qemu64|x86-64-v[123](-AES)?)$/;

function fitsProcessor(rule: GuestRule, from: NodeFacts | null, to: NodeFacts | null): boolean {
  if (!rule.isLive || !from?.cpuVendor || !to?.cpuVendor) return true;
  if (from.cpuVendor !== to.cpuVendor) return false;
  if (rule.cpuType === null || common.test(rule.cpuType)) return true;
  return from.cpuModel === to.cpuModel && from.microcode === to.microcode;
}

const reaches = (rule: GuestRule, { storages }: NodeFacts): boolean =>
  storages === null ||
  rule.storages.every((id) => storages.some((one) => one.id === id && one.active));

/** Why the guest cannot run on a node, null when nothing known forbids it. */
export function barredFrom(rule: GuestRule, from: NodeRecord, to: NodeRecord): string | null {
  if (rule.allowed !== null && !rule.allowed.has(to.node)) return 'is not allowed there';
  if (to.facts !== null && !reaches(rule, to.facts)) return 'does not reach its storage there';
  return fitsProcessor(rule, from.facts, to.facts) ? null : 'cannot run on its processor';
}
