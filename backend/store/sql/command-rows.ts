/** Commands and their history in SQL, and the command store over either dialect. */
import type { Kysely, Transaction } from 'kysely';
import { activeStates, cancellableStates, openStates } from '../../act/lifecycle.ts';
import {
  briefColumns,
  type CommandReads,
  type CommandRows,
  type CommandStore,
} from '../command-store.ts';
import { auditRows } from './audit-rows.ts';
import { clusterRows, holdReads, leaseRows, nodeRows } from './command-rows-cluster.ts';
import { limiterRows, offerReads, outboxRows, targetRows } from './command-rows-queue.ts';
import { controlReads, controlRows } from './control-rows.ts';
import { changed, type Database, type Dialect } from './database.ts';
import type { Schema } from './schema.ts';

type Db = Kysely<Schema>;
type Trx = Transaction<Schema>;

const uncertain = ['VERIFYING', 'INDETERMINATE'];

const commandReads = (db: Db, dialect: Dialect): Pick<CommandReads, 'command' | 'dueCommands'> => ({
  command: (id) => db.selectFrom('commands').selectAll().where('id', '=', id).executeTakeFirst(),
  dueCommands: (held, max) =>
    db
      .selectFrom('commands')
      .select(['id', 'cluster'])
      .where('state', 'in', openStates)
      .where((eb) =>
        eb.or([
          eb('deadline_at_ms', '<=', dialect.nowMs()),
          eb('next_probe_at_ms', '<=', dialect.nowMs()),
          eb.and([eb('kind', '=', 'node.shutdown'), eb('state', 'in', activeStates)]),
          ...(held.length === 0
            ? []
            : [eb.and([eb('cluster', 'in', held), eb('state', 'in', cancellableStates)])]),
        ]),
      )
      .orderBy('planned_at_ms')
      .limit(max)
      .execute(),
});

type Lookups = Pick<
  CommandRows,
  'commandByKey' | 'commandsByIds' | 'commandsAt' | 'commandsOf' | 'history'
>;

const lookups = (trx: Trx): Lookups => ({
  commandByKey: (key) =>
    trx.selectFrom('commands').selectAll().where('idempotency_key', '=', key).executeTakeFirst(),
  commandsByIds: (cluster, ids) =>
    trx
      .selectFrom('commands')
      .selectAll()
      .where('cluster', '=', cluster)
      .where('id', 'in', ids)
      .orderBy('planned_at_ms')
      .execute(),
  commandsAt: ({ cluster, id }, states) =>
    trx
      .selectFrom('commands')
      .selectAll()
      .where('cluster', '=', cluster)
      .where('state', 'in', states)
      .where((eb) =>
        eb.or([
          eb('executor', '=', id),
          eb.and([eb('target_kind', '=', 'node'), eb('target_id', '=', id)]),
        ]),
      )
      .orderBy('planned_at_ms')
      .execute(),
  commandsOf(cluster, { states, kinds, target, grantedAfterMs, finishedAfterMs }) {
    let query = trx
      .selectFrom('commands')
      .select(briefColumns)
      .where('cluster', '=', cluster)
      .where('state', 'in', states);
    if (kinds) query = query.where('kind', 'in', kinds);
    if (target) {
      query = query.where('target_kind', '=', target.kind).where('target_id', '=', target.id);
    }
    if (grantedAfterMs !== undefined) query = query.where('granted_at_ms', '>', grantedAfterMs);
    if (finishedAfterMs !== undefined) {
      query = query.where('finished_at_ms', '>', finishedAfterMs);
    }
    return query.orderBy('planned_at_ms').execute();
  },
  history: (commandId, ver) =>
    trx
      .selectFrom('command_history')
      .selectAll()
      .where('command_id', '=', commandId)
      .where('ver', '=', ver)
      .executeTakeFirst(),
});

type Writes = Pick<
  CommandRows,
  'insertCommand' | 'updateCommand' | 'postponeDeadlines' | 'probeSoon' | 'insertHistory'
>;

const writes = (trx: Trx): Writes => ({
  async insertCommand(row) {
    await trx.insertInto('commands').values(row).execute();
  },
  updateCommand: ({ id, state, ver }, patch) =>
    changed(
      trx
        .updateTable('commands')
        .set({ ...patch, ver: ver + 1 })
        .where('id', '=', id)
        .where('state', '=', state)
        .where('ver', '=', ver),
    ),
  async postponeDeadlines(clusters, states, untilMs) {
    await trx
      .updateTable('commands')
      .set((eb) => ({ deadline_at_ms: untilMs, ver: eb('ver', '+', 1) }))
      .where('cluster', 'in', clusters)
      .where('state', 'in', states)
      .where('deadline_at_ms', '<', untilMs)
      .execute();
  },
  async probeSoon(clusters, nowMs, executor) {
    const all = trx
      .updateTable('commands')
      .set((eb) => ({ next_probe_at_ms: nowMs, ver: eb('ver', '+', 1) }))
      .where('cluster', 'in', clusters)
      .where('state', 'in', uncertain)
      .where('next_probe_at_ms', '>', nowMs);
    await (executor === undefined ? all : all.where('executor', '=', executor)).execute();
  },
  async insertHistory(line) {
    await trx.insertInto('command_history').values(line).execute();
  },
});

const readsOf = (db: Db, dialect: Dialect): CommandReads => ({
  ...commandReads(db, dialect),
  ...holdReads(db),
  ...offerReads(db, dialect),
  ...controlReads(db),
});

export const commandRows = (trx: Trx, dialect: Dialect): CommandRows => ({
  ...readsOf(trx, dialect),
  ...lookups(trx),
  ...writes(trx),
  ...clusterRows(trx, dialect),
  ...leaseRows(trx, dialect),
  ...nodeRows(trx),
  ...targetRows(trx),
  ...outboxRows(trx),
  ...limiterRows(trx),
  ...auditRows(trx),
  ...controlRows(trx),
});

export const commandStore = (
  database: Pick<Database, 'db' | 'dialect' | 'transaction'>,
): CommandStore => ({
  reads: readsOf(database.db, database.dialect),
  transaction: (work) => database.transaction((trx) => work(commandRows(trx, database.dialect))),
});
