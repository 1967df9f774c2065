/**
 * Commands on guests, migrations aside, as the decision engine needs to remember them: what changed
 * a guest's size, what started or stopped it, whoever asked and however it ended. Read from the
 * commands, so that a restart forgets nothing.
 */
import type { Kysely } from 'kysely';
import type { CommandKind, CommandState } from '../../../broker/contract/command.ts';
import { rememberedMs } from './moves.ts';
import type { Schema } from './schema.ts';

export type GuestCommand = {
  cluster: string;
  guest: string;
  kind: CommandKind;
  state: CommandState;
  byEngine: boolean;
  plannedAtMs: number;
};

const kinds = ['guest.scale', 'guest.start', 'guest.stop', 'guest.restart'];

/** Those of the last day that nobody refused or took back, oldest first. */
export async function recentGuestCommands(
  db: Kysely<Schema>,
  clusters: readonly string[],
  nowMs: number,
): Promise<GuestCommand[]> {
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
    guest: row.target_id,
    kind: row.kind as CommandKind,
    state: row.state as CommandState,
    byEngine: row.origin === 'engine',
    plannedAtMs: row.planned_at_ms,
  }));
}
