/**
 * Who decides for a cluster: one row (owner, epoch, expiry by the store's clock). Taking a cluster
 * over raises its epoch; renewing all of an owner's clusters is one UPDATE. Holding the lease
 * here is only a hint that saves work: what protects is the fence, which every mutating
 * transaction passes in the store itself.
 *
 * The owner name must be the same after a restart of the same installation, so that it need not
 * wait for its own old lease to run out; the epoch grows all the same.
 */
import type { Clock } from '../../broker/contract/ports.ts';
import type { CommandRows, CommandStore } from '../store/command-store.ts';
import { ConflictError } from '../store/sql/errors.ts';

export const leaseMs = 10_000;
export const renewEveryMs = 3_000;
/** The local view ends before the store's does: room for a pause between look and act. */
const marginMs = 2_000;

/** This backend may not change the cluster: another one holds its lease, or nobody yet does. */
export class NotLeader extends Error {
  override readonly name = 'NotLeader';
  readonly code = 'KR_NOT_LEADER';
}

export type LeaseOptions = {
  store: CommandStore;
  clock: Clock;
  owner: string;
  /** Runs in the transaction that raised the epochs of these clusters. */
  onTaken: (rows: CommandRows, clusters: readonly string[], nowMs: number) => Promise<void>;
};

export type Lease = {
  owner: string;
  /** The epoch under which this backend may act now, or undefined. */
  epochOf(cluster: string): number | undefined;
  /** Whether there is any cluster for which this backend may act now. */
  leadsAny(): boolean;
  /** False while another backend is known to hold it, so that a refresh could bring nothing. */
  mayTake(cluster: string): boolean;
  /** Renews what is held and takes what is free, one cluster or all. */
  refresh(cluster?: string): Promise<void>;
  /** Called when the fence refused: somebody else raised the epoch. */
  drop(cluster: string): void;
  /** Lets a successor begin at once. */
  release(): Promise<void>;
};

type Held = { epoch: number; untilMs: number };
/** What is ours now, and for how long the rest is others'. */
type Seen = { mine: Map<string, number>; foreign: Map<string, number> };

export function createLease(options: LeaseOptions): Lease {
  const { store, clock, owner, onTaken } = options;
  const held = new Map<string, Held>();
  /** Until when others hold theirs, by our clock, as last seen. */
  const foreignUntilMs = new Map<string, number>();
  const isNow = ({ untilMs }: Held): boolean => clock.monotonicMs() < untilMs;

  async function refreshIn(rows: CommandRows, only: string | undefined): Promise<Seen> {
    await rows.renewLeases(owner, leaseMs, only);
    const candidates = await rows.leaseCandidates(only);
    const mine = new Map<string, number>();
    const foreign = new Map<string, number>();
    const taken: string[] = [];
    for (const candidate of candidates) {
      const { cluster, epoch, expires_at_ms, now_ms } = candidate;
      const isOurs = candidate.owner === owner;
      if (isOurs && held.get(cluster)?.epoch === epoch) {
        mine.set(cluster, epoch ?? 0);
        continue;
      }
      if (!isOurs && (expires_at_ms ?? 0) >= now_ms) {
        foreign.set(cluster, (expires_at_ms ?? 0) - now_ms);
        continue;
      }
      if (!(await rows.takeLease(candidate, owner, leaseMs))) {
        throw new ConflictError(`lease of ${cluster} moved`);
      }
      mine.set(cluster, (epoch ?? 0) + 1);
      taken.push(cluster);
    }
    if (taken.length > 0) await onTaken(rows, taken, candidates[0]?.now_ms ?? 0);
    return { mine, foreign };
  }

  return {
    owner,
    epochOf(cluster) {
      const lease = held.get(cluster);
      return lease && isNow(lease) ? lease.epoch : undefined;
    },
    leadsAny: () => [...held.values()].some(isNow),
    mayTake: (cluster) => (foreignUntilMs.get(cluster) ?? 0) <= clock.monotonicMs(),
    async refresh(cluster) {
      const startedMs = clock.monotonicMs();
      const { mine, foreign } = await store.transaction((rows) => refreshIn(rows, cluster));
      if (cluster === undefined) held.clear();
      for (const [id, epoch] of mine) {
        held.set(id, { epoch, untilMs: startedMs + leaseMs - marginMs });
      }
      for (const [id, forMs] of foreign) foreignUntilMs.set(id, startedMs + forMs);
    },
    drop: (cluster) => void held.delete(cluster),
    async release() {
      const epochs = [...held];
      held.clear();
      if (epochs.length === 0) return;
      await store.transaction((rows) =>
        rows.expireLeases(
          owner,
          epochs.map(([cluster, { epoch }]) => ({ cluster, epoch })),
        ),
      );
    },
  };
}
