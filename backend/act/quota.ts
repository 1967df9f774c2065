/**
 * Quotas as arithmetic: what each guest takes, what a person or the engine asks for, and by which
 * limit that is too much. A guest counts by the larger of what was promised to it and what is seen,
 * until a sample is young enough to be believed alone; so nothing that is under way is forgotten,
 * and nothing counts twice. Pure.
 */
import { z } from 'zod';
import { type CommandState, isTerminal } from '../../broker/contract/command.ts';

export type Amount = { cpuCount: number; memoryBytes: number };

const Limit = z.strictObject({
  cpuCount: z.int().min(0).max(1_000_000).nullable(),
  memoryBytes: z
    .int()
    .min(0)
    .max(2 ** 52)
    .nullable(),
});
/** null: no limit. */
export type Limit = z.infer<typeof Limit>;

const none: Limit = { cpuCount: null, memoryBytes: null };
const small: Limit = { cpuCount: 8, memoryBytes: 8 * 2 ** 30 };

export const Quotas = z.strictObject({
  /** Of all clusters together. */
  global: Limit.default(none),
  clusters: z.record(z.string(), Limit).default({}),
  /** By the account's id: of the guests that it made. */
  accounts: z.record(z.string(), Limit).default({}),
  /** Of the guests on LXD that an account made which has no limit of its own. */
  perAccountOnLxd: Limit.default(small),
});
export type Quotas = z.infer<typeof Quotas>;
export const noQuotas: Quotas = Quotas.parse({});

/** What one guest takes. */
export type Held = Amount & {
  cluster: string;
  guest: string;
  /** Who made it; null where nobody of ours did. */
  account: string | null;
  isOnLxd: boolean;
};

/** What was promised to a guest by the newest command that made or scaled it. */
export type Claim = Held & { node: string; state: CommandState; finishedAtMs: number | null };

/** The guest as last seen, by the store's clock; null: nobody sees it. */
export type Seen = { amount: Amount; atMs: number } | null;

/** A sample may have been measured this long before it was heard. */
const settleMs = 30_000;

/**
 * What a claimed guest takes now. `nodeSeenAtMs`: the newest sample of the node it was made on,
 * which would show it. null: nothing, it is gone or was never made.
 */
export function takenBy(claim: Claim, seen: Seen, nodeSeenAtMs: number | null): Amount | null {
  const { cpuCount, memoryBytes, state, finishedAtMs } = claim;
  const larger: Amount = {
    cpuCount: Math.max(cpuCount, seen?.amount.cpuCount ?? 0),
    memoryBytes: Math.max(memoryBytes, seen?.amount.memoryBytes ?? 0),
  };
  if (!isTerminal(state)) return larger;
  const isSettled = (atMs: number): boolean => atMs > (finishedAtMs ?? 0) + settleMs;
  if (seen) return isSettled(seen.atMs) ? seen.amount : larger;
  return nodeSeenAtMs !== null && isSettled(nodeSeenAtMs) ? null : larger;
}

export const sumOf = (held: readonly Amount[]): Amount => ({
  cpuCount: held.reduce((sum, one) => sum + one.cpuCount, 0),
  memoryBytes: held.reduce((sum, one) => sum + one.memoryBytes, 0),
});

type Scope = { name: string; limit: Limit; isIn: (one: Held) => boolean };

function scopesOf({ global, clusters, accounts, perAccountOnLxd }: Quotas, wanted: Held): Scope[] {
  const { cluster, account, isOnLxd } = wanted;
  const own = account === null ? undefined : accounts[account];
  const isMine = (one: Held): boolean => one.account === account;
  const scopes: Scope[] = [{ name: 'all clusters', limit: global, isIn: () => true }];
  const ofCluster = clusters[cluster];
  if (ofCluster) {
    const isIn = (one: Held): boolean => one.cluster === cluster;
    scopes.push({ name: `cluster ${cluster}`, limit: ofCluster, isIn });
  }
  if (own) scopes.push({ name: 'this account', limit: own, isIn: isMine });
  else if (account !== null && isOnLxd) {
    const isIn = (one: Held): boolean => isMine(one) && one.isOnLxd;
    scopes.push({ name: 'this account on LXD', limit: perAccountOnLxd, isIn });
  }
  return scopes;
}

/** Whether any limit could stand against it; where none does, nothing needs to be added up. */
export const isLimited = (quotas: Quotas, wanted: Held): boolean =>
  scopesOf(quotas, wanted).some(
    ({ limit }) => limit.cpuCount !== null || limit.memoryBytes !== null,
  );

const gibibytes = (bytes: number): string => `${Math.round((bytes / 2 ** 30) * 100) / 100} GiB`;
const cpus = (count: number): string => `${count} vCPU`;

type Resource = { key: keyof Amount; text: (value: number) => string };
const resources: readonly Resource[] = [
  { key: 'cpuCount', text: cpus },
  { key: 'memoryBytes', text: gibibytes },
];

/**
 * The first limit that it would pass, with the sum; null: it fits. `held` without the guest itself,
 * `before` what that takes now: who takes less than before is never refused.
 */
export function excess(
  quotas: Quotas,
  wanted: Held,
  { held, before }: { held: readonly Held[]; before: Amount | null },
): string | null {
  for (const { name, limit, isIn } of scopesOf(quotas, wanted)) {
    const taken = sumOf(held.filter(isIn));
    for (const { key, text } of resources) {
      const max = limit[key];
      if (max === null || wanted[key] <= (before?.[key] ?? 0)) continue;
      const over = taken[key] + wanted[key] - max;
      if (over <= 0) continue;
      return `quota of ${name}: ${text(max)}, others take ${text(taken[key])}, this asks for ${text(wanted[key])}: ${text(over)} too much`;
    }
  }
  return null;
}
