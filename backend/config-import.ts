/**
 * Brings kernreaktor.yaml into SQL: policies become immutable versions of source `file`, clusters
 * point at them. One transaction, so that a file is applied whole or not at all.
 */
import type { Transaction } from 'kysely';
import type { NewId } from '../broker/contract/ports.ts';
import { appendAudit, systemChain } from './audit/chain.ts';
import type { ConfigFile } from './config-file.ts';
import { ensureCluster, ensureNodes, setProtected } from './store/sql/clusters.ts';
import { dropFilePolicy, ensurePolicy } from './store/sql/policies.ts';
import type { Database } from './store/sql/database.ts';
import type { Schema } from './store/sql/schema.ts';

type Trx = Transaction<Schema>;
type Context = { newId: NewId; nowMs: number };

export class ConfigConflict extends Error {
  override readonly name = 'ConfigConflict';
  readonly code = 'KR_CONFIG';
}

const author = 'kernreaktor.yaml';

async function applyCluster(
  trx: Trx,
  [id, cluster]: [string, ConfigFile['clusters'][string]],
  { policies, nowMs }: { policies: ReadonlyMap<string, string>; nowMs: number },
): Promise<void> {
  const found = await ensureCluster(trx, {
    id,
    simulated: cluster.simulated ?? false,
    ...(cluster.timeScale !== undefined && { timeScale: cluster.timeScale }),
    nowMs,
  });
  if (found === 'other-kind') {
    throw new ConfigConflict(
      `clusters.${id}.simulated: the cluster exists and is ${cluster.simulated ? 'real' : 'simulated'}; ` +
        'use another name',
    );
  }
  await trx
    .updateTable('clusters')
    .set((eb) => ({
      ...(cluster.policy !== undefined && { policy_id: policies.get(cluster.policy) ?? null }),
      ...(cluster.autonomy && { autonomy: JSON.stringify(cluster.autonomy) }),
      ...(cluster.timeScale !== undefined && { time_scale: cluster.timeScale }),
      ver: eb('ver', '+', 1),
    }))
    .where('id', '=', id)
    .execute();
  // One that was enabled by a person stays, unless the file says otherwise.
  if (cluster.policy === undefined) await dropFilePolicy(trx, id);
  const nodes = Object.entries(cluster.nodes ?? {});
  await ensureNodes(trx, { cluster: id, nodes: nodes.map(([node]) => node), nowMs });
  for (const [node, { protected: isProtected }] of nodes) {
    if (isProtected === undefined) continue;
    await setProtected(trx, { cluster: id, node, reason: isProtected ? author : null });
  }
}

/** @throws ConfigConflict when a cluster exists as the other kind. */
export async function importConfig(
  database: Database,
  file: ConfigFile,
  context: Context,
): Promise<void> {
  await database.transaction(async (trx) => {
    const policies = new Map<string, string>();
    for (const entry of Object.entries(file.policies)) {
      const [name, { yaml, hash, source }] = entry;
      const wanted = { id: context.newId(), name, source, yaml, hash, author };
      const row = await ensurePolicy(trx, { ...wanted, nowMs: context.nowMs });
      policies.set(name, row.id);
    }
    for (const entry of Object.entries(file.clusters)) {
      await applyCluster(trx, entry, { policies, nowMs: context.nowMs });
    }
    await appendAudit(trx, {
      chain: systemChain,
      actor: author,
      action: 'config.import',
      subject: 'config',
      phase: 'done',
      detail: { clusters: Object.keys(file.clusters), policies: Object.keys(file.policies) },
      atMs: context.nowMs,
    });
  });
}
