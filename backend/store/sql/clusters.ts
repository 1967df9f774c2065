/**
 * Clusters and nodes as rows: what people made of them and what a node said of itself in its
 * hello. Whether a cluster is simulated is fixed when its row is made. Functions take the
 * transaction they belong to; several hellos go into one.
 */
import type { Kysely, Transaction } from 'kysely';
import type { ClusterRecord } from '../../state/fleet.ts';
import { simulatedLimits, simulatedSettings } from '../../act/guard-limits.ts';
import type { NodeAdministration } from '../../state/inputs.ts';
import { changed } from './database.ts';
import { retryIfTaken } from './errors.ts';
import { evacuationOf, readEvacuations } from './evacuations.ts';
import type { Clusters, Nodes, Schema } from './schema.ts';

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

/** The row a cluster begins with. */
export const newCluster = ({
  id,
  simulated,
  timeScale = 1,
  autonomy = { default: simulated ? 'auto' : 'recommend' },
  nowMs,
}: NewCluster): Clusters => ({
  id,
  simulated: simulated ? 1 : 0,
  time_scale: simulated ? timeScale : 1,
  autonomy: JSON.stringify(autonomy),
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

/** `other-kind`: it exists, and is simulated where a real one was asked for, or the reverse. */
export async function ensureCluster(
  trx: Trx,
  cluster: NewCluster,
): Promise<'created' | 'existing' | 'other-kind'> {
  const { id, simulated } = cluster;
  const known = await trx
    .selectFrom('clusters')
    .select('simulated')
    .where('id', '=', id)
    .executeTakeFirst();
  if (known) return (known.simulated === 1) === simulated ? 'existing' : 'other-kind';
  await retryIfTaken(trx.insertInto('clusters').values(newCluster(cluster)).execute());
  return 'created';
}

/** The row a node begins with. */
export const unseenNode = (cluster: string, id: string, nowMs: number): Nodes => ({
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

/** Under maintenance nobody misses it. */
export async function setMaintenance(
  trx: Trx,
  { cluster, node, isOn }: { cluster: string; node: string; isOn: boolean },
): Promise<boolean> {
  return changed(
    trx
      .updateTable('nodes')
      .set((eb) => ({ maintenance: isOn ? 1 : 0, ver: eb('ver', '+', 1) }))
      .where('cluster', '=', cluster)
      .where('id', '=', node),
  );
}

/** Until then nobody but a person switches it off; null ends it. */
export async function setKeepAwake(
  trx: Trx,
  { cluster, node, untilMs }: { cluster: string; node: string; untilMs: number | null },
): Promise<boolean> {
  return changed(
    trx
      .updateTable('nodes')
      .set((eb) => ({ keep_awake_until_ms: untilMs, ver: eb('ver', '+', 1) }))
      .where('cluster', '=', cluster)
      .where('id', '=', node),
  );
}

export const clusterIds = async (db: Kysely<Schema>): Promise<string[]> =>
  (await db.selectFrom('clusters').select('id').orderBy('id').execute()).map(({ id }) => id);

/** All that the state needs to know from SQL, for one `administration` input. */
export async function administration(
  db: Kysely<Schema>,
): Promise<{ clusters: ClusterRecord[]; nodes: NodeAdministration[] }> {
  const clusters = await db
    .selectFrom('clusters')
    .leftJoin('policies', 'policies.id', 'clusters.policy_id')
    .select(['clusters.id', 'simulated', 'time_scale', 'hold', 'autonomy', 'hash', 'yaml'])
    .select(['frozen_until_ms', 'frozen_reason', 'limits', 'settings'])
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
    .select('facts_at_ms')
    .orderBy('nodes.cluster')
    .orderBy('nodes.id')
    .execute();
  const evacuations = new Map(
    (await readEvacuations(db)).map((row) => [`${row.cluster}/${row.node}`, evacuationOf(row)]),
  );
  return {
    clusters: clusters.map((row) => ({
      id: row.id,
      simulated: row.simulated === 1,
      timeScale: row.time_scale,
      hold: row.hold === 1,
      autonomy: JSON.parse(row.autonomy) as ClusterRecord['autonomy'],
      policyHash: row.hash,
      policyYaml: row.yaml,
      limits: row.limits,
      settings: row.settings,
      frozenUntilMs: row.frozen_until_ms,
      frozenReason: row.frozen_reason,
    })),
    nodes: nodes.map((row) => ({
      cluster: row.cluster,
      node: row.id,
      evacuation: evacuations.get(`${row.cluster}/${row.id}`) ?? null,
      desired: row.desired,
      maintenance: row.maintenance === 1,
      protected: row.protected === 1,
      activeKind: row.kind,
      hasSaidHello: row.facts_at_ms !== null,
    })),
  };
}
