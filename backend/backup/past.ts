/**
 * What makes tables of the past safe beside daemons that have gone on since: everything is on HOLD,
 * epochs and the version of HOLD are raised beyond what daemons may have seen, what waited is in
 * doubt, and every session ends.
 */
import type { Kysely } from 'kysely';
import { holdSetting } from '../store/command-store.ts';
import type { Schema } from '../store/sql/schema.ts';

/** More epochs than takeovers can have happened since the backup. */
const epochsAhead = 1_000;

const unbegun = ['PLANNED', 'QUEUED', 'OFFERED'] as const;

/**
 * What had not begun by then may have been granted and done since, and nobody here remembers. Only
 * its executor's journal knows: it is asked, and until then the command is in doubt.
 */
async function doubtWhatWaited(trx: Kysely<Schema>, nowMs: number): Promise<void> {
  const reason = 'the tables were put back: it may have been carried out since';
  const rows = await trx
    .selectFrom('commands')
    .select(['id', 'ver', 'epoch'])
    .where('state', 'in', unbegun)
    .execute();
  for (const { id, ver, epoch } of rows) {
    await trx
      .updateTable('commands')
      .set({
        state: 'INDETERMINATE',
        state_reason: reason,
        ver: ver + 1,
        deadline_at_ms: null,
        next_probe_at_ms: nowMs,
      })
      .where('id', '=', id)
      .execute();
    const entry = { command_id: id, ver: ver + 1, state: 'INDETERMINATE', at_ms: nowMs };
    await trx
      .insertInto('command_history')
      .values({ ...entry, actor: 'restore', reason, epoch, data: null })
      .execute();
  }
  await trx.deleteFrom('outbox').execute();
}

/** What makes it safe to start beside daemons that have gone on since. */
export async function guardAgainstThePast(
  trx: Kysely<Schema>,
  { reason, nowMs }: { reason: string; nowMs: number },
): Promise<void> {
  await trx.deleteFrom('sessions').execute();
  await doubtWhatWaited(trx, nowMs);
  await trx
    .updateTable('leases')
    .set((eb) => ({ epoch: eb('epoch', '+', epochsAhead), expires_at_ms: 0 }))
    .execute();
  const value = JSON.stringify({ all: true, reason, by: 'restore', atMs: nowMs });
  const held = await trx
    .updateTable('settings')
    .set((eb) => ({ value, ver: eb('ver', '+', epochsAhead) }))
    .where('name', '=', holdSetting)
    .executeTakeFirst();
  if (held.numUpdatedRows === 0n) {
    const row = { name: holdSetting, value, ver: epochsAhead };
    await trx.insertInto('settings').values(row).execute();
  }
}
