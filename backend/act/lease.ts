/**
 * Who decides for a cluster: one row (owner, epoch, expiry by the store's clock). Taking a cluster
 * over raises its epoch; renewing all of an owner's clusters is one UPDATE. Holding the lease
 * here is only a hint that saves work: what protects is the fence, which every mutating
 * transaction passes in the store itself.
 *
 * The owner name must be the same after a restart of the same installation, so that it need not
 * wait for its own old lease to run out; the epoch grows all the same.
 */
import type { Transaction } from 'kysely';
import type { Clock } from '../../broker/contract/ports.ts';
import { changed, ConflictError, type Database } from '../store/sql/database.ts';
import type { Schema } from '../store/sql/schema.ts';

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
  database: Database;
  clock: Clock;
  owner: string;
  /** Runs in the transaction that raised the epochs of these clusters. */
  onTaken: (trx: Transaction<Schema>, clusters: readonly string[], nowMs: number) => Promise<void>;
};

export type Lease = {
  owner: string;
  /** The epoch under which this backend may act now, or undefined. */
  epochOf(cluster: string): number | undefined;
  /** Renews what is held and takes what is free, one cluster or all. */
  refresh(cluster?: string): Promise<void>;
  /** Called when the fence refused: somebody else raised the epoch. */
  drop(cluster: string): void;
  /** Lets a successor begin at once. */
  release(): Promise<void>;
};

type Candidate = {
  id: string;
  owner: string | null;
  epoch: number | null;
  expires_at_ms: number | null;
  now_ms: number;
};

type Held = { epoch: number; untilMs: number };

const candidates = (
  { dialect }: Database,
  trx: Transaction<Schema>,
  cluster: string | undefined,
): Promise<Candidate[]> => {
  const all = trx
    .selectFrom('clusters')
    .leftJoin('leases', 'leases.cluster', 'clusters.id')
    .select(['clusters.id', 'leases.owner', 'leases.epoch', 'leases.expires_at_ms'])
    .select(dialect.nowMs().as('now_ms'));
  return (cluster === undefined ? all : all.where('clusters.id', '=', cluster)).execute();
};

async function takeOver(
  options: LeaseOptions,
  trx: Transaction<Schema>,
  candidate: Candidate,
): Promise<number> {
  const { database, owner } = options;
  const expires_at_ms = candidate.now_ms + leaseMs;
  const { id: cluster, epoch } = candidate;
  if (epoch === null) {
    try {
      await trx
        .insertInto('leases')
        .values({ cluster, owner, epoch: 1, expires_at_ms, ver: 1 })
        .execute();
    } catch (error) {
      if (!database.dialect.isUniqueViolation(error)) throw error;
      throw new ConflictError(`lease of ${cluster} appeared`);
    }
    return 1;
  }
  const hasTaken = await changed(
    trx
      .updateTable('leases')
      .set((eb) => ({ owner, epoch: epoch + 1, expires_at_ms, ver: eb('ver', '+', 1) }))
      .where('cluster', '=', cluster)
      .where('epoch', '=', epoch)
      .where((eb) => eb.or([eb('owner', '=', owner), eb('expires_at_ms', '<', candidate.now_ms)])),
  );
  if (!hasTaken) throw new ConflictError(`lease of ${cluster} moved`);
  return epoch + 1;
}

export function createLease(options: LeaseOptions): Lease {
  const { database, clock, owner, onTaken } = options;
  const held = new Map<string, Held>();

  /** One statement, however many clusters; the first of its transaction, so it reads the newest. */
  async function renew(trx: Transaction<Schema>, cluster: string | undefined): Promise<void> {
    const all = trx
      .updateTable('leases')
      .set((eb) => ({
        expires_at_ms: eb(database.dialect.nowMs(), '+', leaseMs),
        ver: eb('ver', '+', 1),
      }))
      .where('owner', '=', owner);
    await (cluster === undefined ? all : all.where('cluster', '=', cluster)).execute();
  }

  async function refreshIn(trx: Transaction<Schema>, cluster: string | undefined) {
    await renew(trx, cluster);
    const all = await candidates(database, trx, cluster);
    const mine = new Map<string, number>();
    const taken: string[] = [];
    for (const candidate of all) {
      const isOurs = candidate.owner === owner;
      if (isOurs && held.get(candidate.id)?.epoch === candidate.epoch) {
        mine.set(candidate.id, candidate.epoch ?? 0);
        continue;
      }
      if (!isOurs && (candidate.expires_at_ms ?? 0) >= candidate.now_ms) continue;
      mine.set(candidate.id, await takeOver(options, trx, candidate));
      taken.push(candidate.id);
    }
    if (taken.length > 0) await onTaken(trx, taken, all[0]?.now_ms ?? 0);
    return mine;
  }

  return {
    owner,
    epochOf(cluster) {
      const lease = held.get(cluster);
      return lease && clock.monotonicMs() < lease.untilMs ? lease.epoch : undefined;
    },
    async refresh(cluster) {
      const startedMs = clock.monotonicMs();
      const mine = await database.transaction((trx) => refreshIn(trx, cluster));
      if (cluster === undefined) held.clear();
      for (const [id, epoch] of mine) {
        held.set(id, { epoch, untilMs: startedMs + leaseMs - marginMs });
      }
    },
    drop: (cluster) => void held.delete(cluster),
    async release() {
      const epochs = [...held];
      held.clear();
      if (epochs.length === 0) return;
      await database.transaction(async (trx) => {
        await trx
          .updateTable('leases')
          .set((eb) => ({ expires_at_ms: 0, ver: eb('ver', '+', 1) }))
          .where('owner', '=', owner)
          .where((eb) =>
            eb.or(
              epochs.map(([cluster, { epoch }]) =>
                eb.and([eb('cluster', '=', cluster), eb('epoch', '=', epoch)]),
              ),
            ),
          )
          .execute();
      });
    },
  };
}
