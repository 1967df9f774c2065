/**
 * Rows that let the engine go on after a restart: the waits it is counting, one row for each, and
 * per cluster one with what it has learned. A write replaces the cluster's rows of its kind.
 */
import type { Kysely } from 'kysely';
import type { Alarms, Schema } from './schema.ts';

export type AlarmRow = Omit<Alarms, 'ver'>;

/** In `rule`: the row holds what was learned rather than a wait. */
export const learnedRule = 'engine.learned';

/** In `rule`: a guest that died too often is not started any more. */
export const gaveUpAlarm = 'gave-up';

export const readAlarms = (db: Kysely<Schema>, cluster: string): Promise<AlarmRow[]> =>
  db
    .selectFrom('alarms')
    .select(['cluster', 'subject_kind', 'subject_id', 'rule', 'state', 'since_ms', 'data'])
    .where('cluster', '=', cluster)
    .execute();

/** @param kind which rows are replaced */
export async function replaceAlarms(
  db: Kysely<Schema>,
  cluster: string,
  kind: 'learned' | 'waits',
  rows: readonly AlarmRow[],
): Promise<void> {
  await db
    .deleteFrom('alarms')
    .where('cluster', '=', cluster)
    .where('rule', kind === 'learned' ? '=' : '!=', learnedRule)
    .execute();
  if (rows.length === 0) return;
  await db
    .insertInto('alarms')
    .values(rows.map((row) => ({ ...row, ver: 1 })))
    .execute();
}
