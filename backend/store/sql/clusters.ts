/**
 * Clusters and nodes as rows: what people made of them and what a node said of itself in its
 * hello. Whether a cluster is simulated is fixed when its row is made. Functions take the
 * transaction they belong to; several hellos go into one.
 */
import type { Kysely, Transaction } from 'kysely';
import type { Hello } from '../../../broker/contract/presence.ts';
import type { ClusterRecord } from '../../state/fleet.ts';
import { simulatedLimits, simulatedSettings } from '../../act/guard-limits.ts';
import type { NodeAdministration } from '../../state/inputs.ts';
import { changed } from './database.ts';
import { ConflictError, retryIfTaken } from './errors.ts';
import type { Nodes, Schema } from './schema.ts';

type Trx = Transaction<Schema>;

/** Keeps a statement below SQLite's 32766 parameters for any table of ours. */
export const rowsPerStatement = 500;

export function* chunks<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += rowsPerStatement) {
    yield items.slice(at, at + rowsPerStatement);
  }
}

export type NewCluster = {
  id: string;
  simulated: boolean;
  timeScale?: number;
  /** Default: a real cluster only recommends; a simulated one, where nothing can break, acts. */
  autonomy?: ClusterRecord['autonomy'];
  nowMs: number;
};

/** `other-kind`: it exists, and is simulated where a real one was asked for, or the reverse. */
export async function ensureCluster(
  trx: Trx,
  { id, simulated, timeScale = 1, autonomy, nowMs }: NewCluster,
): Promise<'created' | 'existing' | 'other-kind'> {
  const known = await trx
    .selectFrom('clusters')
    .select('simulated')
    .where('id', '=', id)
    .executeTakeFirst();
  if (known) return (known.simulated === 1) === simulated ? 'existing' : 'other-kind';
  const insert = trx.insertInto('clusters').values({
    id,
    simulated: simulated ? 1 : 0,
    time_scale: simulated ? timeScale : 1,
    autonomy: JSON.stringify(autonomy ?? { default: simulated ? 'auto' : 'recommend' }),
    policy_id: null,
    limits: JSON.stringify(simulated ? simulatedLimits : {}),
    settings: JSON.stringify(simulated ? simulatedSettings : {}),
    hold: 0,
    hold_reason: null,
    hold_by: null,
    hold_at_ms: null,
    frozen_until_ms: null,
    frozen_reason: null,
    created_at_ms: nowMs,
    ver: 1,
  });
  await retryIfTaken(insert.execute());
  return 'created';
}

const unseenNode = (cluster: string, id: string, nowMs: number): Nodes => ({
  cluster,
  id,
  driver: null,
  boot_id: null,
  journal_id: null,
  journal_confirmed: 1,
  incarnation: 0,
  max_epoch: 0,
  facts: null,
  facts_at_ms: null,
  protected: 0,
  protected_reason: null,
  maintenance: 0,
  desired: 'awake',
  quarantined_until_ms: null,
  keep_awake_until_ms: null,
  wake_table_version: null,
  last_seen_at_ms: null,
  created_at_ms: nowMs,
  ver: 1,
});

export async function ensureNodes(
  trx: Trx,
  { cluster, nodes, nowMs }: { cluster: string; nodes: readonly string[]; nowMs: number },
): Promise<void> {
  for (const some of chunks(nodes)) {
    const rows = await trx
      .selectFrom('nodes')
      .select('id')
      .where('cluster', '=', cluster)
      .where('id', 'in', some)
      .execute();
    const known = new Set(rows.map(({ id }) => id));
    const fresh = some.filter((id) => !known.has(id)).map((id) => unseenNode(cluster, id, nowMs));
    if (fresh.length > 0) await retryIfTaken(trx.insertInto('nodes').values(fresh).execute());
  }
}

/** A protected node is never switched off, whatever anyone decides. */
export async function setProtected(
  trx: Trx,
  order: { cluster: string; node: string; reason: string | null },
): Promise<boolean> {
  return changed(
    trx
      .updateTable('nodes')
      .set((eb) => ({
        protected: order.reason === null ? 0 : 1,
        protected_reason: order.reason,
        ver: eb('ver', '+', 1),
      }))
      .where('cluster', '=', order.cluster)
      .where('id', '=', order.node),
  );
}

export type Noted = {
  /** False for a hello that an older start of the same daemon sent. */
  isCurrent: boolean;
  isNewBoot: boolean;
  /** Another journal than before: what it forgot, nobody knows. */
  isNewJournal: boolean;
};

/** Keeps what a hello says. The node must have a row: only an enrolled daemon can say hello. */
export async function noteHello(
  trx: Trx,
  { cluster, node, hello, nowMs }: { cluster: string; node: string; hello: Hello; nowMs: number },
): Promise<Noted> {
  const known = await trx
    .selectFrom('nodes')
    .select(['boot_id', 'journal_id', 'journal_confirmed', 'incarnation', 'max_epoch', 'ver'])
    .where('cluster', '=', cluster)
    .where('id', '=', node)
    .executeTakeFirst();
  if (!known) {
    await ensureNodes(trx, { cluster, nodes: [node], nowMs });
    return noteHello(trx, { cluster, node, hello, nowMs });
  }
  const isNewJournal = known.journal_id !== null && known.journal_id !== hello.journalId;
  const isNewBoot = hello.bootId !== null && known.boot_id !== hello.bootId;
  if (!isNewJournal && hello.incarnation < known.incarnation) {
    return { isCurrent: false, isNewBoot: false, isNewJournal: false };
  }
  const isKept = await changed(
    trx
      .updateTable('nodes')
      .set({
        driver: JSON.stringify(hello.driver),
        boot_id: hello.bootId ?? known.boot_id,
        journal_id: hello.journalId,
        journal_confirmed: isNewJournal ? 0 : known.journal_confirmed,
        incarnation: hello.incarnation,
        max_epoch: Math.max(known.max_epoch, hello.maxEpoch),
        facts: JSON.stringify(hello.facts),
        facts_at_ms: nowMs,
        wake_table_version: hello.wakeTableVersion,
        last_seen_at_ms: nowMs,
        ver: known.ver + 1,
      })
      .where('cluster', '=', cluster)
      .where('id', '=', node)
      .where('ver', '=', known.ver),
  );
  if (!isKept) throw new ConflictError(`node ${cluster}/${node} changed meanwhile`);
  return { isCurrent: true, isNewBoot, isNewJournal };
}

/** All that the state needs to know from SQL, for one `administration` input. */
export async function administration(
  db: Kysely<Schema>,
): Promise<{ clusters: ClusterRecord[]; nodes: NodeAdministration[] }> {
  const clusters = await db
    .selectFrom('clusters')
    .leftJoin('policies', 'policies.id', 'clusters.policy_id')
    .select(['clusters.id', 'simulated', 'time_scale', 'hold', 'autonomy', 'hash', 'yaml'])
    .orderBy('clusters.id')
    .execute();
  const nodes = await db
    .selectFrom('nodes')
    .leftJoin('targets', (join) =>
      join
        .onRef('targets.cluster', '=', 'nodes.cluster')
        .on('targets.kind', '=', 'node')
        .onRef('targets.id', '=', 'nodes.id'),
    )
    .leftJoin('commands', 'commands.id', 'targets.active_command')
    .select(['nodes.cluster', 'nodes.id', 'desired', 'maintenance', 'protected', 'commands.kind'])
    .orderBy('nodes.cluster')
    .orderBy('nodes.id')
    .execute();
  return {
    clusters: clusters.map((row) => ({
      id: row.id,
      simulated: row.simulated === 1,
      timeScale: row.time_scale,
      hold: row.hold === 1,
      autonomy: JSON.parse(row.autonomy) as ClusterRecord['autonomy'],
      policyHash: row.hash,
      policyYaml: row.yaml,
    })),
    nodes: nodes.map((row) => ({
      cluster: row.cluster,
      node: row.id,
      desired: row.desired,
      maintenance: row.maintenance === 1,
      protected: row.protected === 1,
      activeKind: row.kind,
    })),
  };
}
