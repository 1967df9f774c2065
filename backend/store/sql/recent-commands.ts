/**
 * Commands as the decision engine needs to remember them, migrations aside: what changed a guest's
 * size, what started or stopped it, which nodes were sent to sleep or rebooted, whoever asked and
 * however it ended. Read from the commands, so that a restart forgets nothing.
 */
import type { Kysely } from 'kysely';
import type { CommandKind, CommandState } from '../../../broker/contract/command.ts';
import { rememberedMs } from './moves.ts';
import type { Schema } from './schema.ts';

export type RecentCommand = {
  cluster: string;
  /** Of the guest or node that it is about. */
  target: string;
  kind: CommandKind;
  state: CommandState;
  byEngine: boolean;
  plannedAtMs: number;
};

const kinds: readonly CommandKind[] = [
  'guest.scale',
  'guest.start',
  'guest.stop',
  'guest.restart',
  'node.shutdown',
  'node.reboot',
];

/** Those of the last day that nobody refused or took back, oldest first. */
export async function recentCommands(
  db: Kysely<Schema>,
  clusters: readonly string[],
  nowMs: number,
): Promise<RecentCommand[]> {
  if (clusters.length === 0) return [];
  const rows = await db
    .selectFrom('commands')
    .select(['cluster', 'target_id', 'kind', 'state', 'origin', 'planned_at_ms'])
    .where('cluster', 'in', clusters)
    .where('planned_at_ms', '>', nowMs - rememberedMs)
    .where('kind', 'in', kinds)
    .where('state', 'not in', ['REJECTED', 'CANCELLED'])
    .orderBy('planned_at_ms')
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    cluster: row.cluster,
    target: row.target_id,
    kind: row.kind as CommandKind,
    state: row.state as CommandState,
    byEngine: row.origin === 'engine',
    plannedAtMs: row.planned_at_ms,
  }));
}
