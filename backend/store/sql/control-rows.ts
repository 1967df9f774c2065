/** Wake proofs, campaigns, the watch over the engine, and settings of the command store, in SQL. */
import type { Kysely, Transaction } from 'kysely';
import type { CommandState } from '../../../broker/contract/command.ts';
import type { ControlReads, ControlRows } from '../control-rows.ts';
import { changed } from './database.ts';
import { retryIfTaken } from './errors.ts';
import type { Schema } from './schema.ts';

const proofsMax = 64;

export const controlReads = (db: Kysely<Schema>): ControlReads => ({
  runningCampaigns: () =>
    db
      .selectFrom('wake_campaigns')
      .select(['id', 'cluster', 'node'])
      .where('state', '=', 'running')
      .orderBy('started_at_ms')
      .execute(),
  newestCampaign: ({ cluster, id }) =>
    db
      .selectFrom('wake_campaigns')
      .selectAll()
      .where('cluster', '=', cluster)
      .where('node', '=', id)
      .orderBy('started_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(1)
      .executeTakeFirst(),
  wakeProofs: ({ cluster, id }) =>
    db
      .selectFrom('wake_proofs')
      .selectAll()
      .where('cluster', '=', cluster)
      .where('node', '=', id)
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(proofsMax)
      .execute(),
  async setting(name) {
    const row = await db
      .selectFrom('settings')
      .select('value')
      .where('name', '=', name)
      .executeTakeFirst();
    return row?.value;
  },
});

type Campaigns = Pick<ControlRows, 'campaign' | 'insertCampaign' | 'updateCampaign'>;

const campaigns = (trx: Transaction<Schema>): Campaigns => ({
  campaign: (id) =>
    trx.selectFrom('wake_campaigns').selectAll().where('id', '=', id).executeTakeFirst(),
  async insertCampaign(row) {
    await trx.insertInto('wake_campaigns').values(row).execute();
  },
  updateCampaign: ({ id, ver }, patch) =>
    changed(
      trx
        .updateTable('wake_campaigns')
        .set({ ...patch, ver: ver + 1 })
        .where('id', '=', id)
        .where('ver', '=', ver),
    ),
});

type QuotaRows = Pick<
  ControlRows,
  'quotaClaims' | 'putQuotaClaim' | 'dropQuotaClaim' | 'carryQuotaClaim'
>;

const quotaRows = (trx: Transaction<Schema>): QuotaRows => ({
  async quotaClaims() {
    const rows = await trx
      .selectFrom('quota_claims')
      .innerJoin('commands', 'commands.id', 'quota_claims.command_id')
      .selectAll('quota_claims')
      .select(['commands.state', 'commands.finished_at_ms'])
      .execute();
    return rows.map((row) => ({ ...row, state: row.state as CommandState }));
  },
  async putQuotaClaim({ cluster, guest, ...promised }) {
    const isKnown = await changed(
      trx
        .updateTable('quota_claims')
        .set((eb) => ({ ...promised, ver: eb('ver', '+', 1) }))
        .where('cluster', '=', cluster)
        .where('guest', '=', guest),
    );
    if (isKnown) return;
    const row = { cluster, guest, ...promised, ver: 1 };
    await retryIfTaken(trx.insertInto('quota_claims').values(row).execute());
  },
  async dropQuotaClaim({ cluster, guest }) {
    await trx
      .deleteFrom('quota_claims')
      .where('cluster', '=', cluster)
      .where('guest', '=', guest)
      .execute();
  },
  async carryQuotaClaim(fromCommand, toCommand) {
    await trx
      .updateTable('quota_claims')
      .set((eb) => ({ command_id: toCommand, ver: eb('ver', '+', 1) }))
      .where('command_id', '=', fromCommand)
      .execute();
  },
});

export const controlRows = (trx: Transaction<Schema>): ControlRows => ({
  ...controlReads(trx),
  ...campaigns(trx),
  ...quotaRows(trx),
  async insertWakeProof(row) {
    await trx.insertInto('wake_proofs').values(row).execute();
  },
  async fillProven({ cluster, id }) {
    await trx
      .updateTable('evacuations')
      .set((eb) => ({ phase: 'return' as const, ver: eb('ver', '+', 1) }))
      .where('cluster', '=', cluster)
      .where('node', '=', id)
      .where('phase', '=', 'prove')
      .execute();
  },
  shadowRun: (cluster, kind) =>
    trx
      .selectFrom('shadow_runs')
      .selectAll()
      .where('cluster', '=', cluster)
      .where('kind', '=', kind)
      .executeTakeFirst(),
  async putShadowRun({ cluster, kind, since_ms, reason }) {
    const isKnown = await changed(
      trx
        .updateTable('shadow_runs')
        .set((eb) => ({ since_ms, reason, ver: eb('ver', '+', 1) }))
        .where('cluster', '=', cluster)
        .where('kind', '=', kind),
    );
    if (isKnown) return;
    const row = { cluster, kind, since_ms, reason, ver: 1 };
    await retryIfTaken(trx.insertInto('shadow_runs').values(row).execute());
  },
  async putSetting(name, value) {
    const isKnown = await changed(
      trx
        .updateTable('settings')
        .set((eb) => ({ value, ver: eb('ver', '+', 1) }))
        .where('name', '=', name),
    );
    if (isKnown) return;
    await retryIfTaken(trx.insertInto('settings').values({ name, value, ver: 1 }).execute());
  },
});
