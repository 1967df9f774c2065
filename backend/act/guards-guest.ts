/**
 * The guards of guests: locks, what binds one to its host, whether the destination can take it,
 * and how often it has moved (SAFETY V2 to V7, V10). Pure.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { Fact } from '../decide/plan.ts';
import { type Guard, type GuardFacts, judged, type Says } from './guard.ts';

const isMigrate = (kind: CommandKind): boolean => kind === 'guest.migrate';
const touchesGuest = (kind: CommandKind): boolean =>
  kind.startsWith('guest.') && kind !== 'guest.create';

const unknownGuest: Says = {
  code: 'KR_GUEST_FACTS',
  reason: 'the configuration of the guest is not known',
  wayOut: 'wait until the daemon of its node has described it',
};

const locked: Guard = {
  id: 'guest-lock',
  appliesTo: touchesGuest,
  verdict({ guest }) {
    const lock = guest?.sample.lock ?? guest?.facts?.lock ?? null;
    return judged(
      'V2',
      [{ name: 'lock', value: lock }],
      lock === null
        ? null
        : {
            code: 'KR_LOCKED',
            reason: `guest ${guest?.sample.id} is locked: ${lock}`,
            wayOut: 'wait until that has ended; unlock it by hand only when you are sure',
          },
    );
  },
};

const allowedNodes: Guard = {
  id: 'allowed-nodes',
  appliesTo: isMigrate,
  verdict({ guest, destination, executor }) {
    const allowed = guest?.facts?.allowedNodes ?? null;
    const inputs: Fact[] = [{ name: 'allowedNodes', value: allowed?.join(', ') ?? null }];
    const to = destination?.id ?? 'unknown';
    if (allowed === null && executor?.driver?.name.startsWith('proxmox')) {
      return judged('V3', inputs, unknownGuest);
    }
    if (guest?.facts?.ownedByHypervisorBalancer) {
      return judged('V3', inputs, {
        code: 'KR_OWNED_BY_HYPERVISOR',
        reason: 'the balancer of the hypervisor itself moves this guest',
        wayOut: 'switch its auto-rebalance off, or leave the guest to it',
      });
    }
    return judged(
      'V3',
      inputs,
      allowed === null || allowed.includes(to)
        ? null
        : {
            code: 'KR_NODE_NOT_ALLOWED',
            reason: `the hypervisor does not allow the guest on ${to}`,
            wayOut: `choose one of ${allowed.join(', ') || 'no node: see its local resources'}`,
          },
    );
  },
};

const bound: Guard = {
  id: 'local-resources',
  appliesTo: isMigrate,
  verdict({ guest, args }) {
    const resources = guest?.facts?.localResources ?? null;
    const disks = guest?.facts?.disks ?? null;
    const localDisk = disks?.find(({ shared }) => !shared);
    const inputs: Fact[] = [
      { name: 'localResources', value: resources?.join(', ') ?? null },
      { name: 'localDisk', value: localDisk?.volume ?? null },
      { name: 'withLocalDisks', value: args.withLocalDisks === true },
    ];
    if (!resources || !disks) return judged('V4', inputs, unknownGuest);
    if (resources[0] !== undefined) {
      return judged('V4', inputs, {
        code: 'KR_LOCAL_RESOURCE',
        reason: `${resources[0]} binds the guest to its node`,
        wayOut: 'detach it, or give it a resource mapping on both nodes',
      });
    }
    return judged(
      'V4',
      inputs,
      localDisk && args.withLocalDisks !== true
        ? {
            code: 'KR_LOCAL_DISK',
            reason: `disk ${localDisk.volume} is on local storage`,
            wayOut: 'send args.withLocalDisks true, or move the disk to shared storage',
          }
        : null,
    );
  },
};

/** By its dotted numbers; null where a text holds none. */
const versionOf = (text: string | null | undefined): number[] | null =>
  text
    ?.match(/\d+(?:\.\d+)*/)?.[0]
    .split('.')
    .map(Number) ?? null;

function isOlder(one: readonly number[], other: readonly number[]): boolean {
  for (let at = 0; at < Math.max(one.length, other.length); at += 1) {
    const difference = (one[at] ?? 0) - (other[at] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/**
 * Types whose features nearly every host of a vendor has; where one has not, the guest does not
 * start there and goes on where it is. All others name features of one generation of hosts.
 */
const everywhere: ReadonlySet<string> = new Set([
  'kvm64',
  'qemu64',
  'x86-64-v1',
  'x86-64-v2',
  'x86-64-v2-AES',
  'x86-64-v3',
]);

function cpuDenial({ executor, destination, guest }: GuardFacts): Says | null {
  const [from, to] = [executor?.facts, destination?.node?.facts];
  const cpuType = guest?.facts?.cpuType ?? null;
  const [older, newer] = [versionOf(to?.hypervisorVersion), versionOf(from?.hypervisorVersion)];
  if (!from?.cpuVendor || !to?.cpuVendor || !cpuType || !older || !newer) {
    return {
      code: 'KR_CPU_UNKNOWN',
      reason: 'cpu type or hypervisor version of guest or nodes is not known',
      wayOut: 'wait until both daemons have described their nodes, or move it while it is stopped',
    };
  }
  if (from.cpuVendor !== to.cpuVendor) {
    return {
      code: 'KR_CPU_VENDOR',
      reason: `a running guest cannot move from ${from.cpuVendor} to ${to.cpuVendor}`,
      wayOut: 'choose a node with cpus of the same vendor, or stop the guest first',
    };
  }
  const isSame =
    from.cpuModel !== null &&
    from.cpuModel === to.cpuModel &&
    from.microcode !== null &&
    from.microcode === to.microcode;
  if (!everywhere.has(cpuType) && !isSame) {
    // What only a cluster API tells leaves the microcode out, and two unknowns are never equal.
    const isUnread = from.microcode === null || to.microcode === null;
    return {
      code: 'KR_CPU_TYPE',
      reason: `cpu type ${cpuType} moves only between identical cpus and known microcode${isUnread ? ', and the microcode of a host is not known' : ''}`,
      wayOut: `give the guest a type such as x86-64-v2-AES, or stop it first${isUnread ? '; a daemon on each host reads its microcode' : ''}`,
    };
  }
  return isOlder(older, newer)
    ? {
        code: 'KR_OLDER_TARGET',
        reason: `the target runs ${to.hypervisorVersion}, the source ${from.hypervisorVersion}`,
        wayOut: 'update the target node first',
      }
    : null;
}

const cpus: Guard = {
  id: 'cpu-compatible',
  appliesTo: isMigrate,
  verdict(facts) {
    const { executor, destination, guest } = facts;
    const isLive = guest?.sample.kind === 'vm' && guest.sample.state !== 'stopped';
    return judged(
      'V5',
      [
        { name: 'isLive', value: isLive },
        { name: 'cpuType', value: guest?.facts?.cpuType ?? null },
        { name: 'sourceVendor', value: executor?.facts?.cpuVendor ?? null },
        { name: 'targetVendor', value: destination?.node?.facts?.cpuVendor ?? null },
      ],
      isLive ? cpuDenial(facts) : null,
    );
  },
};

const consent: Guard = {
  id: 'restart-consent',
  appliesTo: isMigrate,
  verdict({ guest, args }) {
    const isOffline = guest?.sample.kind !== 'vm' || args.online === false;
    const restarts = isOffline && guest?.sample.state !== 'stopped';
    const mayRestart = guest?.facts?.mayRestart ?? null;
    return judged(
      'V6',
      [
        // What the arrival is held against, too.
        { name: 'state', value: guest?.sample.state ?? null },
        { name: 'restarts', value: restarts },
        { name: 'mayRestart', value: mayRestart },
      ],
      restarts && mayRestart !== true
        ? {
            code: 'KR_NO_CONSENT',
            reason: 'it would be restarted on the way, and nobody agreed to that',
            wayOut: 'tag it as one that may restart, or stop it first',
          }
        : null,
    );
  },
};

const traffic: Guard = {
  id: 'migrations-per-node',
  appliesTo: isMigrate,
  verdict({ migrations, limits }) {
    const busiest = Math.max(migrations?.outgoing ?? Infinity, migrations?.incoming ?? Infinity);
    return judged(
      'V7',
      [
        { name: 'outgoing', value: migrations?.outgoing ?? null },
        { name: 'incoming', value: migrations?.incoming ?? null },
        { name: 'migrationsPerNode', value: limits.migrationsPerNode },
      ],
      busiest < limits.migrationsPerNode
        ? null
        : {
            code: 'KR_MIGRATIONS',
            reason: `${busiest} migrations from the source or to the target are under way`,
            wayOut: 'wait until one has ended',
          },
    );
  },
};

const pingPong: Guard = {
  id: 'ping-pong',
  appliesTo: isMigrate,
  verdict({ guest, origin, limits, destination }) {
    const moves = guest?.moves ?? [];
    const [last] = moves;
    const isBack = moves.some(({ from }) => from === destination?.id);
    const isTired = last !== undefined && last.agoMs < limits.guestCooldownMs;
    const isOften = moves.length >= limits.guestMovesPerDay;
    const inputs: Fact[] = [
      { name: 'origin', value: origin },
      { name: 'movesToday', value: moves.length },
      { name: 'lastMoveAgoMs', value: last ? Math.round(last.agoMs) : null, unit: 'ms' },
      { name: 'wasThereToday', value: isBack },
    ];
    // A cool-down of nothing is a world without memory of moves.
    const isBound = origin === 'engine' && limits.guestCooldownMs > 0;
    return judged(
      'V10',
      inputs,
      isBound && (isTired || isOften || isBack)
        ? {
            code: 'KR_PING_PONG',
            reason: `the guest moved ${moves.length} times within a day${isBack ? ', and came from there' : ''}`,
            wayOut: 'leave it where it is for now, or move it yourself',
          }
        : null,
    );
  },
};

export const guestGuards: readonly Guard[] = [
  locked,
  allowedNodes,
  bound,
  cpus,
  consent,
  traffic,
  pingPong,
];
