/**
 * Nodes that people want emptied and, later, filled again: one row each while that is under way or
 * the node rests. Who ran there is written down when it begins, so that a restart forgets nobody.
 */
import type { Kysely, Transaction } from 'kysely';
import type { Evacuation, EvacuationPhase } from '../../state/fleet.ts';
import { changed } from './database.ts';
import type { Schema } from './schema.ts';

/** A row of the table of that name. */
export interface Evacuations {
  cluster: string;
  node: string;
  phase: EvacuationPhase;
  sleeps: 0 | 1;
  /** JSON: ids of the guests that ran there when it began. */
  guests: string;
  actor: string;
  started_at_ms: number;
  ver: number;
}

type Trx = Transaction<Schema>;
export type NodeAt = { cluster: string; node: string };

export type NewEvacuation = NodeAt & {
  phase: 'evacuate' | 'prove';
  sleeps: boolean;
  guests: readonly string[];
  actor: string;
  nowMs: number;
};

export const evacuationOf = (row: Evacuations): Evacuation => ({
  phase: row.phase,
  sleeps: row.sleeps === 1,
  guests: JSON.parse(row.guests) as string[],
  actor: row.actor,
  startedAtMs: row.started_at_ms,
});

export const readEvacuations = (db: Kysely<Schema>): Promise<Evacuations[]> =>
  db.selectFrom('evacuations').selectAll().execute();

/** Begins; one that has begun keeps the guests it began with. */
export async function beginEvacuation(trx: Trx, wish: NewEvacuation): Promise<void> {
  const { cluster, node, phase, sleeps, guests, actor, nowMs } = wish;
  const set = { phase, sleeps: sleeps ? (1 as const) : (0 as const), actor };
  const isKnown = await changed(
    trx
      .updateTable('evacuations')
      .set((eb) => ({ ...set, ver: eb('ver', '+', 1) }))
      .where('cluster', '=', cluster)
      .where('node', '=', node),
  );
  if (isKnown) return;
  const row = { cluster, node, ...set, guests: JSON.stringify(guests), started_at_ms: nowMs };
  await trx
    .insertInto('evacuations')
    .values({ ...row, ver: 1 })
    .execute();
}

/** Its guests come back from now on. @returns false where nothing had been begun */
export const returnGuests = (trx: Trx, { cluster, node }: NodeAt): Promise<boolean> =>
  changed(
    trx
      .updateTable('evacuations')
      .set((eb) => ({ phase: 'return' as const, ver: eb('ver', '+', 1) }))
      .where('cluster', '=', cluster)
      .where('node', '=', node),
  );

export async function endEvacuation(trx: Trx, { cluster, node }: NodeAt): Promise<boolean> {
  const { numDeletedRows } = await trx
    .deleteFrom('evacuations')
    .where('cluster', '=', cluster)
    .where('node', '=', node)
    .executeTakeFirstOrThrow();
  return numDeletedRows > 0n;
}

/** It is empty: from now on nobody misses it. @returns false where that was so, or it has ended */
export const restEvacuated = (trx: Trx, { cluster, node }: NodeAt): Promise<boolean> =>
  changed(
    trx
      .updateTable('nodes')
      .set((eb) => ({ maintenance: 1 as const, ver: eb('ver', '+', 1) }))
      .where('cluster', '=', cluster)
      .where('id', '=', node)
      .where('maintenance', '=', 0)
      .where('id', 'in', (eb) =>
        eb
          .selectFrom('evacuations')
          .select('node')
          .where('cluster', '=', cluster)
          .where('phase', '=', 'evacuate'),
      ),
  );
