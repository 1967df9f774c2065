/** Clusters, HOLD, leases and nodes of the command store, in SQL. */
import type { Kysely, Transaction } from 'kysely';
import {
  type CommandReads,
  type CommandRows,
  holdSetting,
  type LeaseCandidate,
} from '../command-store.ts';
import { ensureNodes } from './clusters.ts';
import { changed, type Dialect } from './database.ts';
import { retryIfTaken, UniqueViolation } from './errors.ts';
import type { Schema } from './schema.ts';

type Db = Kysely<Schema>;
type Trx = Transaction<Schema>;

export const holdReads = (db: Db): Pick<CommandReads, 'clusterIds' | 'holds'> => ({
  async clusterIds() {
    const rows = await db.selectFrom('clusters').select('id').execute();
    return rows.map(({ id }) => id);
  },
  async holds() {
    const setting = await db
      .selectFrom('settings')
      .select(['value', 'ver'])
      .where('name', '=', holdSetting)
      .executeTakeFirst();
    const rows = await db.selectFrom('clusters').select('id').where('hold', '=', 1).execute();
    return { setting: setting ?? null, clusters: rows.map(({ id }) => id).sort() };
  },
});

type ClusterRows = Pick<
  CommandRows,
  'nowMs' | 'passFence' | 'openCluster' | 'updateCluster' | 'countHold'
>;

export const clusterRows = (trx: Trx, dialect: Dialect): ClusterRows => ({
  async nowMs() {
    const row = await trx.selectNoFrom(dialect.nowMs().as('now')).executeTakeFirstOrThrow();
    return row.now;
  },
  /**
   * An UPDATE, because it both checks and locks on either store: nobody takes over, and no other
   * step of this cluster begins, before this transaction has ended.
   */
  passFence: ({ cluster, owner, epoch }) =>
    changed(
      trx
        .updateTable('leases')
        .set((eb) => ({ ver: eb('ver', '+', 1) }))
        .where('cluster', '=', cluster)
        .where('owner', '=', owner)
        .where('epoch', '=', epoch),
    ),
  async openCluster(id) {
    const row = await trx
      .selectFrom('clusters')
      .leftJoin('settings', (join) => join.on('settings.name', '=', holdSetting))
      .selectAll('clusters')
      .select('settings.value as hold_setting')
      .select(dialect.nowMs().as('now_ms'))
      .where('clusters.id', '=', id)
      .executeTakeFirst();
    if (!row) return undefined;
    const { now_ms: nowMs, hold_setting: hold, ...cluster } = row;
    return { cluster, hold, nowMs };
  },
  updateCluster: (id, patch) =>
    changed(
      trx
        .updateTable('clusters')
        .set((eb) => ({ ...patch, ver: eb('ver', '+', 1) }))
        .where('id', '=', id),
    ),
  async countHold(value, first) {
    const hasRow = await changed(
      trx
        .updateTable('settings')
        .set((eb) => ({ ...(value === null ? {} : { value }), ver: eb('ver', '+', 1) }))
        .where('name', '=', holdSetting),
    );
    if (hasRow) return;
    const row = { name: holdSetting, value: value ?? first, ver: 1 };
    await retryIfTaken(trx.insertInto('settings').values(row).execute());
  },
});

async function insertLease(
  trx: Trx,
  { cluster, now_ms }: LeaseCandidate,
  owner: string,
  forMs: number,
): Promise<boolean> {
  const row = { cluster, owner, epoch: 1, expires_at_ms: now_ms + forMs, ver: 1 };
  return inserted(trx.insertInto('leases').values(row).execute());
}

/** Whether it went in; false when a row of the same key is there. */
export async function inserted(insert: Promise<unknown>): Promise<boolean> {
  try {
    await insert;
    return true;
  } catch (error) {
    if (!(error instanceof UniqueViolation)) throw error;
    return false;
  }
}

type LeaseRows = Pick<
  CommandRows,
  'renewLeases' | 'leaseCandidates' | 'takeLease' | 'expireLeases'
>;

export const leaseRows = (trx: Trx, dialect: Dialect): LeaseRows => ({
  /** One statement, however many clusters; the first of its transaction, so it reads the newest. */
  async renewLeases(owner, forMs, cluster) {
    const all = trx
      .updateTable('leases')
      .set((eb) => ({
        expires_at_ms: eb(dialect.nowMs(), '+', forMs),
        ver: eb('ver', '+', 1),
      }))
      .where('owner', '=', owner);
    await (cluster === undefined ? all : all.where('cluster', '=', cluster)).execute();
  },
  leaseCandidates(cluster) {
    const all = trx
      .selectFrom('clusters')
      .leftJoin('leases', 'leases.cluster', 'clusters.id')
      .select(['clusters.id as cluster', 'leases.owner', 'leases.epoch', 'leases.expires_at_ms'])
      .select(dialect.nowMs().as('now_ms'));
    return (cluster === undefined ? all : all.where('clusters.id', '=', cluster)).execute();
  },
  async takeLease(candidate, owner, forMs) {
    const { cluster, epoch, now_ms } = candidate;
    if (epoch === null) return insertLease(trx, candidate, owner, forMs);
    return changed(
      trx
        .updateTable('leases')
        .set((eb) => ({
          owner,
          epoch: epoch + 1,
          expires_at_ms: now_ms + forMs,
          ver: eb('ver', '+', 1),
        }))
        .where('cluster', '=', cluster)
        .where('epoch', '=', epoch)
        .where((eb) => eb.or([eb('owner', '=', owner), eb('expires_at_ms', '<', now_ms)])),
    );
  },
  async expireLeases(owner, held) {
    if (held.length === 0) return;
    await trx
      .updateTable('leases')
      .set((eb) => ({ expires_at_ms: 0, ver: eb('ver', '+', 1) }))
      .where('owner', '=', owner)
      .where((eb) =>
        eb.or(
          held.map(({ cluster, epoch }) =>
            eb.and([eb('cluster', '=', cluster), eb('epoch', '=', epoch)]),
          ),
        ),
      )
      .execute();
  },
});

type NodeRows = Pick<
  CommandRows,
  'node' | 'neighbours' | 'countNodes' | 'ensureNode' | 'updateNode'
>;

export const nodeRows = (trx: Trx): NodeRows => ({
  node: ({ cluster, id }) =>
    trx
      .selectFrom('nodes')
      .selectAll()
      .where('cluster', '=', cluster)
      .where('id', '=', id)
      .executeTakeFirst(),
  neighbours: ({ cluster, id }) =>
    trx
      .selectFrom('nodes')
      .selectAll()
      .where('cluster', '=', cluster)
      .where('id', '!=', id)
      .where('driver', 'is not', null)
      .orderBy('id')
      .execute(),
  async countNodes(cluster) {
    const row = await trx
      .selectFrom('nodes')
      .select((eb) => eb.fn.countAll<number>().as('total'))
      .where('cluster', '=', cluster)
      .executeTakeFirstOrThrow();
    return row.total;
  },
  ensureNode: ({ cluster, id }, nowMs) => ensureNodes(trx, { cluster, nodes: [id], nowMs }),
  updateNode({ cluster, id }, patch, expected) {
    const update = trx
      .updateTable('nodes')
      .set((eb) => ({ ...patch, ver: eb('ver', '+', 1) }))
      .where('cluster', '=', cluster)
      .where('id', '=', id);
    return changed(expected ? update.where('ver', '=', expected.ver) : update);
  },
});
