/** Targets, outbox and limiter of the command store, in SQL. */
import type { Kysely, Transaction } from 'kysely';
import type { CommandReads, CommandRows, TargetKey } from '../command-store.ts';
import { inserted } from './command-rows-cluster.ts';
import { changed, type Dialect } from './database.ts';
import type { Schema } from './schema.ts';

type Db = Kysely<Schema>;
type Trx = Transaction<Schema>;

type TargetRows = Pick<CommandRows, 'target' | 'nextGeneration' | 'updateTarget'>;

const untouched = { active_command: null, paused_until_ms: null, paused_by: null };

export function targetRows(trx: Trx): TargetRows {
  const updateOf = ({ cluster, kind, id }: TargetKey) =>
    trx
      .updateTable('targets')
      .where('cluster', '=', cluster)
      .where('kind', '=', kind)
      .where('id', '=', id);
  const generationOf = ({ cluster, kind, id }: TargetKey) =>
    trx
      .selectFrom('targets')
      .select('generation')
      .where('cluster', '=', cluster)
      .where('kind', '=', kind)
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
  return {
    async target({ cluster, kind, id }) {
      const row = await trx
        .selectFrom('targets')
        .leftJoin('commands', 'commands.id', 'targets.active_command')
        .selectAll('targets')
        .select(['commands.kind as active_kind', 'commands.state as active_state'])
        .where('targets.cluster', '=', cluster)
        .where('targets.kind', '=', kind)
        .where('targets.id', '=', id)
        .executeTakeFirst();
      if (!row) return undefined;
      const { active_kind, active_state, ...target } = row;
      const { active_command } = target;
      const isActive = active_command !== null && active_kind !== null && active_state !== null;
      const active = isActive
        ? { id: active_command, kind: active_kind, state: active_state }
        : null;
      return { ...target, active };
    },
    async nextGeneration(key) {
      const hasRow = await changed(
        updateOf(key).set((eb) => ({
          generation: eb('generation', '+', 1),
          ver: eb('ver', '+', 1),
        })),
      );
      if (hasRow) return (await generationOf(key)).generation;
      const { cluster, kind, id } = key;
      await trx
        .insertInto('targets')
        .values({ cluster, kind, id, ...untouched, generation: 1, ver: 1 })
        .execute();
      return 1;
    },
    updateTarget(key, patch, expected) {
      const update = updateOf(key).set((eb) => ({ ...patch, ver: eb('ver', '+', 1) }));
      if (expected === undefined) return changed(update);
      return changed(
        'ver' in expected
          ? update.where('ver', '=', expected.ver)
          : update.where('active_command', '=', expected.active_command),
      );
    },
  };
}

export const offerReads = (db: Db, dialect: Dialect): Pick<CommandReads, 'dueOffers'> => ({
  dueOffers: (max) =>
    db
      .selectFrom('outbox')
      .innerJoin('commands', 'commands.id', 'outbox.command_id')
      .innerJoin('targets', (join) =>
        join
          .onRef('targets.cluster', '=', 'commands.cluster')
          .onRef('targets.kind', '=', 'commands.target_kind')
          .onRef('targets.id', '=', 'commands.target_id'),
      )
      .select(['outbox.id', 'outbox.cluster', 'outbox.command_id', 'outbox.node'])
      .select('outbox.attempts')
      .where('outbox.due_at_ms', '<=', dialect.nowMs())
      .where('commands.state', 'in', ['QUEUED', 'OFFERED'])
      // A wake may pass an uncertain power-off of its target; the grant looks closely.
      .where((eb) =>
        eb.or([eb('targets.active_command', 'is', null), eb('commands.kind', '=', 'node.wake')]),
      )
      .where((eb) =>
        eb.not(
          eb.exists(
            eb
              .selectFrom('commands as earlier')
              .select('earlier.id')
              .whereRef('earlier.cluster', '=', 'commands.cluster')
              .whereRef('earlier.target_kind', '=', 'commands.target_kind')
              .whereRef('earlier.target_id', '=', 'commands.target_id')
              .whereRef('earlier.generation', '<', 'commands.generation')
              .where('earlier.state', 'in', ['QUEUED', 'OFFERED']),
          ),
        ),
      )
      .orderBy('outbox.due_at_ms')
      .limit(max)
      .execute(),
});

type OutboxRows = Pick<CommandRows, 'insertOutbox' | 'noteOffered' | 'dropOutbox' | 'offerSoon'>;

export const outboxRows = (trx: Trx): OutboxRows => ({
  async insertOutbox(line) {
    await trx.insertInto('outbox').values(line).execute();
  },
  async noteOffered(id, { dueAtMs, publishedAtMs }) {
    await trx
      .updateTable('outbox')
      .set((eb) => ({
        attempts: eb('attempts', '+', 1),
        due_at_ms: dueAtMs,
        published_at_ms: publishedAtMs,
        ver: eb('ver', '+', 1),
      }))
      .where('id', '=', id)
      .execute();
  },
  async dropOutbox(commandId) {
    await trx.deleteFrom('outbox').where('command_id', '=', commandId).execute();
  },
  async offerSoon({ cluster, id }, nowMs) {
    await trx
      .updateTable('outbox')
      .set((eb) => ({ due_at_ms: nowMs, ver: eb('ver', '+', 1) }))
      .where('cluster', '=', cluster)
      .where('node', '=', id)
      .where('due_at_ms', '>', nowMs)
      .execute();
  },
});

type LimiterRows = Pick<CommandRows, 'limiterSlots' | 'takeSlot' | 'forgetSlots'>;

export const limiterRows = (trx: Trx): LimiterRows => ({
  limiterSlots: (cluster, buckets) =>
    trx
      .selectFrom('limiter')
      .selectAll()
      .where('cluster', '=', cluster)
      .where('bucket', 'in', buckets)
      .execute(),
  takeSlot({ cluster, bucket, ver }, atMs) {
    const taken = { tokens: 0, updated_at_ms: atMs };
    if (ver === null) {
      const row = { cluster, bucket, ...taken, ver: 1 };
      return inserted(trx.insertInto('limiter').values(row).execute());
    }
    return changed(
      trx
        .updateTable('limiter')
        .set({ ...taken, ver: ver + 1 })
        .where('cluster', '=', cluster)
        .where('bucket', '=', bucket)
        .where('ver', '=', ver),
    );
  },
  async forgetSlots(cluster, beforeMs) {
    await trx
      .deleteFrom('limiter')
      .where('cluster', '=', cluster)
      .where('updated_at_ms', '<', beforeMs)
      .execute();
  },
});
