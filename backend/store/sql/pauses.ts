/**
 * How long automation leaves a node or guest alone, as people see and change it. Their commands
 * write it, too (act/guard-control.ts), and the guards read it; nothing else does.
 */
import type { Kysely, Transaction } from 'kysely';
import { limitsOf } from '../../act/guard-limits.ts';
import { changed } from './database.ts';
import { retryIfTaken } from './errors.ts';
import type { Commands, Schema } from './schema.ts';

export type Paused = { cluster: string; kind: 'node' | 'guest'; id: string };

export type Pause = {
  untilMs: number;
  /** An actor, as in the audit trail. */
  by: string | null;
  /** The command that began it; null for one that was asked for as such. */
  because: Pick<Commands, 'id' | 'kind' | 'planned_at_ms'> | null;
};

/** Between the moment of a command and that of the pause it began. */
const slackMs = 1_000;

type Began = Paused & { untilMs: number; by: string | null };

async function beganBy(db: Kysely<Schema>, pause: Began): Promise<Pause['because']> {
  const cluster = await db
    .selectFrom('clusters')
    .selectAll()
    .where('id', '=', pause.cluster)
    .executeTakeFirst();
  if (!cluster) return null;
  const newest = await db
    .selectFrom('commands')
    .select(['id', 'kind', 'planned_at_ms'])
    .where('cluster', '=', pause.cluster)
    .where('target_kind', '=', pause.kind)
    .where('target_id', '=', pause.id)
    .where('actor', '=', pause.by ?? '')
    .where('origin', 'in', ['person', 'token'])
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (!newest) return null;
  const itsEndMs = newest.planned_at_ms + limitsOf(cluster).manualPauseMs;
  return Math.abs(itsEndMs - pause.untilMs) <= slackMs ? newest : null;
}

/** @returns null where automation may act on it */
export async function readPause(
  db: Kysely<Schema>,
  target: Paused,
  nowMs: number,
): Promise<Pause | null> {
  const row = await db
    .selectFrom('targets')
    .select(['paused_until_ms', 'paused_by'])
    .where('cluster', '=', target.cluster)
    .where('kind', '=', target.kind)
    .where('id', '=', target.id)
    .executeTakeFirst();
  const untilMs = row?.paused_until_ms ?? 0;
  if (untilMs <= nowMs) return null;
  const by = row?.paused_by ?? null;
  return { untilMs, by, because: await beganBy(db, { ...target, untilMs, by }) };
}

/** `untilMs` null ends it. */
export async function setPause(
  trx: Transaction<Schema>,
  { cluster, kind, id }: Paused,
  { untilMs, by }: { untilMs: number | null; by: string },
): Promise<void> {
  const pause = { paused_until_ms: untilMs, paused_by: untilMs === null ? null : by };
  const isKnown = await changed(
    trx
      .updateTable('targets')
      .set((eb) => ({ ...pause, ver: eb('ver', '+', 1) }))
      .where('cluster', '=', cluster)
      .where('kind', '=', kind)
      .where('id', '=', id),
  );
  if (isKnown || untilMs === null) return;
  const row = { cluster, kind, id, generation: 0, active_command: null, ...pause, ver: 1 };
  await retryIfTaken(trx.insertInto('targets').values(row).execute());
}

/** Until when somebody asked to keep a node awake; null where nobody did. */
export async function readKeepAwake(
  db: Kysely<Schema>,
  { cluster, node, nowMs }: { cluster: string; node: string; nowMs: number },
): Promise<number | null> {
  const row = await db
    .selectFrom('nodes')
    .select('keep_awake_until_ms')
    .where('cluster', '=', cluster)
    .where('id', '=', node)
    .executeTakeFirst();
  const untilMs = row?.keep_awake_until_ms ?? 0;
  return untilMs > nowMs ? untilMs : null;
}
