/**
 * Channels, notices and deliveries in SQL. A notice is open once per key, whoever finds it; a
 * delivery is taken by one sender at a time and stays due until it is known to have arrived.
 */
import type { Insertable, Kysely, Selectable } from 'kysely';
import type { Change } from './accounts.ts';
import { audit } from './accounts.ts';
import { changed, type Database } from './database.ts';
import { UniqueViolation } from './errors.ts';
import type { NoticeActions, NoticeDeliveries, Notices, NotifyChannels, Schema } from './schema.ts';

export type ChannelRow = Selectable<NotifyChannels>;
export type NoticeRow = Selectable<Notices>;
export type DeliveryRow = Selectable<NoticeDeliveries>;
export type ActionRow = Selectable<NoticeActions>;
export type NoticeStore = ReturnType<typeof createNoticeStore>;

type Db = Kysely<Schema>;

const secretName = (channel: string): string => `notification/${channel}`;
/** How long what was told is kept. */
const keptMs = 90 * 86_400_000;

async function putSecret(db: Db, channel: string, sealed: string, nowMs: number): Promise<void> {
  const name = secretName(channel);
  await db.deleteFrom('secrets').where('name', '=', name).execute();
  await db.insertInto('secrets').values({ name, sealed, updated_at_ms: nowMs, ver: 1 }).execute();
}

const channelsOf = (database: Database) => ({
  channels: (): Promise<ChannelRow[]> =>
    database.db.selectFrom('notify_channels').selectAll().orderBy('name').execute(),

  channel: (id: string): Promise<ChannelRow | undefined> =>
    database.db.selectFrom('notify_channels').selectAll().where('id', '=', id).executeTakeFirst(),

  async secretOf(channel: string): Promise<{ name: string; sealed: string } | undefined> {
    const name = secretName(channel);
    const row = await database.db
      .selectFrom('secrets')
      .select('sealed')
      .where('name', '=', name)
      .executeTakeFirst();
    return row && { name, sealed: row.sealed };
  },

  nameOfSecret: secretName,

  /** False when the name is taken. `sealed` null leaves the secret that is there. */
  async putChannel(row: ChannelRow, sealed: string | null, by: Change): Promise<boolean> {
    try {
      await database.transaction(async (trx) => {
        await trx.deleteFrom('notify_channels').where('id', '=', row.id).execute();
        await trx.insertInto('notify_channels').values(row).execute();
        if (sealed !== null) await putSecret(trx, row.id, sealed, by.nowMs);
        const subject = `channel:${row.name}`;
        const detail = { kind: row.kind, enabled: row.is_enabled === 1 };
        await audit(trx, by, { action: 'notifications.channel', subject, detail });
      });
      return true;
    } catch (error) {
      if (error instanceof UniqueViolation) return false;
      throw error;
    }
  },

  removeChannel: (id: string, by: Change): Promise<boolean> =>
    database.transaction(async (trx) => {
      const gone = await trx.deleteFrom('notify_channels').where('id', '=', id).executeTakeFirst();
      if (gone.numDeletedRows === 0n) return false;
      await trx.deleteFrom('secrets').where('name', '=', secretName(id)).execute();
      await trx
        .updateTable('notify_channels')
        .set({ fallback_id: null })
        .where('fallback_id', '=', id)
        .execute();
      const waiting = trx.updateTable('notice_deliveries').set({ state: 'dropped' });
      await waiting.where('channel_id', '=', id).where('state', '=', 'waiting').execute();
      const entry = { action: 'notifications.channel-removed', subject: `channel:${id}` };
      await audit(trx, by, { ...entry, detail: {} });
      return true;
    }),
});

const noticesOf = (database: Database) => ({
  open: (): Promise<NoticeRow[]> =>
    database.db.selectFrom('notices').selectAll().where('open_key', 'is not', null).execute(),

  /** False when it is open already. */
  async insert(
    notice: NoticeRow,
    deliveries: readonly Insertable<NoticeDeliveries>[],
  ): Promise<boolean> {
    try {
      await database.transaction(async (trx) => {
        await trx.insertInto('notices').values(notice).execute();
        for (const row of deliveries)
          await trx.insertInto('notice_deliveries').values(row).execute();
      });
      return true;
    } catch (error) {
      if (error instanceof UniqueViolation) return false;
      throw error;
    }
  },

  /** What nobody has been told yet need not be told, nor that it is over. */
  resolve: (
    { id, ver }: NoticeRow,
    nowMs: number,
    recoveries: readonly Insertable<NoticeDeliveries>[],
  ): Promise<void> =>
    database.transaction(async (trx) => {
      const update = trx
        .updateTable('notices')
        .set({ open_key: null, resolved_at_ms: nowMs, ver: ver + 1 })
        .where('id', '=', id)
        .where('ver', '=', ver);
      if (!(await changed(update))) return;
      const untold = await trx
        .selectFrom('notice_deliveries')
        .select('channel_id')
        .where('notice_id', '=', id)
        .where('state', '=', 'waiting')
        .where('attempts', '=', 0)
        .execute();
      const channels = new Set(untold.map(({ channel_id: channel }) => channel));
      await trx
        .updateTable('notice_deliveries')
        .set({ state: 'dropped', ended_at_ms: nowMs })
        .where('notice_id', '=', id)
        .where('state', '=', 'waiting')
        .where('attempts', '=', 0)
        .execute();
      for (const row of recoveries.filter(({ channel_id: channel }) => !channels.has(channel))) {
        await trx.insertInto('notice_deliveries').values(row).execute();
      }
    }),

  history: (limit: number): Promise<NoticeRow[]> =>
    database.db
      .selectFrom('notices')
      .selectAll()
      .orderBy('opened_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(limit)
      .execute(),

  async prune(nowMs: number): Promise<void> {
    const { db } = database;
    await db
      .deleteFrom('notice_deliveries')
      .where('created_at_ms', '<', nowMs - keptMs)
      .where('state', '!=', 'waiting')
      .execute();
    await db
      .deleteFrom('notices')
      .where('opened_at_ms', '<', nowMs - keptMs)
      .where('open_key', 'is', null)
      .execute();
    await db
      .deleteFrom('notice_actions')
      .where('expires_at_ms', '<', nowMs - keptMs)
      .execute();
  },
});

const deliveriesOf = ({ db }: Database) => ({
  due: (nowMs: number, limit: number): Promise<DeliveryRow[]> =>
    db
      .selectFrom('notice_deliveries')
      .selectAll()
      .where('state', '=', 'waiting')
      .where('due_at_ms', '<=', nowMs)
      .orderBy('due_at_ms')
      .limit(limit)
      .execute(),

  notice: (id: string): Promise<NoticeRow | undefined> =>
    db.selectFrom('notices').selectAll().where('id', '=', id).executeTakeFirst(),

  /** False when another sender was faster, or it has changed meanwhile. */
  change: ({ id, ver }: DeliveryRow, patch: Partial<DeliveryRow>): Promise<boolean> =>
    changed(
      db
        .updateTable('notice_deliveries')
        .set({ ...patch, ver: ver + 1 })
        .where('id', '=', id)
        .where('ver', '=', ver),
    ),

  async addDelivery(row: Insertable<NoticeDeliveries>): Promise<void> {
    await db.insertInto('notice_deliveries').values(row).execute();
  },

  dead: (limit: number) =>
    db
      .selectFrom('notice_deliveries as d')
      .innerJoin('notices as n', 'n.id', 'd.notice_id')
      .leftJoin('notify_channels as c', 'c.id', 'd.channel_id')
      .selectAll('d')
      .select(['n.title', 'c.name as channel'])
      .where('d.state', '=', 'dead')
      .orderBy('d.created_at_ms', 'desc')
      .limit(limit)
      .execute(),

  /** Tried again from the start. */
  revive: (id: string, nowMs: number): Promise<boolean> =>
    changed(
      db
        .updateTable('notice_deliveries')
        .set((eb) => ({
          state: 'waiting',
          attempts: 0,
          due_at_ms: nowMs,
          ended_at_ms: null,
          ver: eb('ver', '+', 1),
        }))
        .where('id', '=', id)
        .where('state', '=', 'dead'),
    ),

  async addAction(row: ActionRow): Promise<void> {
    await db.insertInto('notice_actions').values(row).execute();
  },

  /** Once: whoever comes second gets nothing. */
  async useAction(tokenHash: string, nowMs: number): Promise<ActionRow | undefined> {
    const isFirst = await changed(
      db
        .updateTable('notice_actions')
        .set({ used_at_ms: nowMs })
        .where('token_hash', '=', tokenHash)
        .where('used_at_ms', 'is', null)
        .where('expires_at_ms', '>', nowMs),
    );
    if (!isFirst) return undefined;
    return db
      .selectFrom('notice_actions')
      .selectAll()
      .where('token_hash', '=', tokenHash)
      .executeTakeFirst();
  },
});

const settingName = 'notifications';

const settingsOf = (database: Database) => ({
  async settings(): Promise<string | null> {
    const row = await database.db
      .selectFrom('settings')
      .select('value')
      .where('name', '=', settingName)
      .executeTakeFirst();
    return row?.value ?? null;
  },
  putSettings: (value: string, by: Change): Promise<void> =>
    database.transaction(async (trx) => {
      await trx.deleteFrom('settings').where('name', '=', settingName).execute();
      await trx.insertInto('settings').values({ name: settingName, value, ver: 1 }).execute();
      const entry = { action: 'notifications.settings', subject: 'notifications' };
      await audit(trx, by, { ...entry, detail: {} });
    }),
});

export const createNoticeStore = (database: Database) => ({
  ...channelsOf(database),
  ...noticesOf(database),
  ...deliveriesOf(database),
  ...settingsOf(database),
});
