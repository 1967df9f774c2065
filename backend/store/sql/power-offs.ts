/**
 * Nodes that were sent to sleep or rebooted, as the decision engine needs to remember them: whoever
 * asked, whatever became of it, except where nothing had begun. Read from the commands, so that a
 * restart forgets nothing.
 */
import type { Kysely } from 'kysely';
import { rememberedMs } from './moves.ts';
import type { Schema } from './schema.ts';

type PowerOffRow = { cluster: string; node: string; plannedAtMs: number };

const kinds = ['node.shutdown', 'node.reboot'];
const neverBegun = ['REJECTED', 'CANCELLED'];

/** Those of the last day, oldest first. */
export async function recentPowerOffs(
  db: Kysely<Schema>,
  clusters: readonly string[],
  nowMs: number,
): Promise<PowerOffRow[]> {
  if (clusters.length === 0) return [];
  const rows = await db
    .selectFrom('commands')
    .select(['cluster', 'target_id', 'planned_at_ms'])
    .where('cluster', 'in', clusters)
    .where('planned_at_ms', '>', nowMs - rememberedMs)
    .where('kind', 'in', kinds)
    .where('state', 'not in', neverBegun)
    .orderBy('planned_at_ms')
    .orderBy('id')
    .execute();
  return rows.map(({ cluster, target_id: node, planned_at_ms: plannedAtMs }) => {
    return { cluster, node, plannedAtMs };
  });
}
