/**
 * Migrations as the decision engine needs to remember them: those under way, and when each guest
 * moved last, whoever asked and however it ended. Read from the commands, so that a restart
 * forgets nothing.
 */
import type { Kysely } from 'kysely';
import { type CommandState, isTerminal } from '../../../broker/contract/command.ts';
import type { Schema } from './schema.ts';

export type Migration = {
  cluster: string;
  guest: string;
  fromNode: string;
  toNode: string | null;
  plannedAtMs: number;
  isOpen: boolean;
  /** It reached its executor: what a guard or a person stopped before moved nothing. */
  hasStarted: boolean;
  hasFailed: boolean;
  byPerson: boolean;
};

/** Longer than any cooldown a policy may ask for at its default, and one index range per cluster. */
export const rememberedMs = 24 * 3_600_000;

export async function recentMigrations(
  db: Kysely<Schema>,
  clusters: readonly string[],
  nowMs: number,
): Promise<Migration[]> {
  if (clusters.length === 0) return [];
  const rows = await db
    .selectFrom('commands')
    .select([
      'cluster',
      'target_id',
      'executor',
      'args',
      'state',
      'planned_at_ms',
      'started_at_ms',
      'origin',
    ])
    .where('cluster', 'in', clusters)
    .where('planned_at_ms', '>', nowMs - rememberedMs)
    .where('kind', '=', 'guest.migrate')
    .orderBy('planned_at_ms')
    .execute();
  return rows.map((row) => ({
    cluster: row.cluster,
    guest: row.target_id,
    fromNode: row.executor,
    toNode: (JSON.parse(row.args) as { targetNode?: string }).targetNode ?? null,
    plannedAtMs: row.planned_at_ms,
    isOpen: !isTerminal(row.state as CommandState),
    hasStarted: row.started_at_ms !== null,
    hasFailed: isTerminal(row.state as CommandState) && row.state !== 'SUCCEEDED',
    byPerson: row.origin !== 'engine',
  }));
}
