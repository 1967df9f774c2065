/**
 * Nodes that were shown to come back, as the engine has to know them before it empties one. The
 * guards ask more closely when it is to sleep: for what the node is today, and for a way that is
 * there.
 */
import type { Kysely } from 'kysely';
import type { Schema } from './schema.ts';

type Asked = { clusters: readonly string[]; sinceMs: number; proofsMin: number };

/** Every cluster that was asked about is in it, if only with nobody. */
export async function provenNodes(
  db: Kysely<Schema>,
  { clusters, sinceMs, proofsMin }: Asked,
): Promise<Map<string, ReadonlySet<string>>> {
  const found = new Map(clusters.map((cluster) => [cluster, new Set<string>()]));
  if (clusters.length === 0) return found;
  const rows = await db
    .selectFrom('wake_proofs')
    .select(['cluster', 'node'])
    .where('cluster', 'in', clusters)
    .where('succeeded', '=', 1)
    .where('created_at_ms', '>=', sinceMs)
    .groupBy(['cluster', 'node'])
    .having(({ fn }) => fn.countAll(), '>=', proofsMin)
    .execute();
  for (const { cluster, node } of rows) found.get(cluster)?.add(node);
  return found;
}
