/**
 * The store of the full tier: Kysely over node:sqlite in memory, opened once and emptied for each
 * seed. Triggers write down every row as it is committed, inside the very transaction, so that
 * what was rolled back has never been.
 */
import { CompiledQuery, type Kysely, sql, type Transaction } from 'kysely';
import { administration } from '../../backend/store/sql/clusters.ts';
import { commandStore } from '../../backend/store/sql/command-rows.ts';
import { openDatabase } from '../../backend/store/sql/database.ts';
import type { Schema } from '../../backend/store/sql/schema.ts';
import { memoryLog } from '../support/log.ts';
import type { Change } from './ledger.ts';
import { columns, firstRows, type SimStore } from './store.ts';

type Table = Change['table'];

/** Changes of these that no judge and no loop could care about. */
const only: Partial<Record<Table, string>> = {
  leases: 'NEW.epoch <> OLD.epoch OR NEW.owner <> OLD.owner',
  nodes: 'NEW.desired <> OLD.desired OR NEW.boot_id IS NOT OLD.boot_id',
};

function triggersOf(table: Table): string[] {
  const values = columns[table].map((column) => `'${column}', NEW.${column}`).join(', ');
  const body = `INSERT INTO sim_log (tab, line) VALUES ('${table}', json_object(${values}));`;
  const when = only[table] === undefined ? '' : `WHEN ${only[table]} `;
  return [
    `CREATE TRIGGER sim_${table}_i AFTER INSERT ON ${table} BEGIN ${body} END`,
    `CREATE TRIGGER sim_${table}_u AFTER UPDATE ON ${table} ${when}BEGIN ${body} END`,
  ];
}

const outboxGone =
  'CREATE TRIGGER sim_outbox_d AFTER DELETE ON outbox BEGIN INSERT INTO sim_log (tab, line) ' +
  "VALUES ('outbox', json_object('id', OLD.id, 'due_at_ms', NULL)); END";

async function watch(db: Kysely<Schema>): Promise<void> {
  await sql.raw('CREATE TABLE sim_log (n INTEGER PRIMARY KEY, tab TEXT, line TEXT)').execute(db);
  for (const statement of [...(Object.keys(columns) as Table[]).flatMap(triggersOf), outboxGone]) {
    await sql.raw(statement).execute(db);
  }
}

type Logged = { tab: string; line: string };
const readLog: CompiledQuery<Logged> = CompiledQuery.raw(
  'SELECT tab, line FROM sim_log ORDER BY n',
);
const emptyLog = CompiledQuery.raw('DELETE FROM sim_log');

/** Rows written in this transaction so far, as they will be committed. */
async function takeChanges(trx: Transaction<Schema>): Promise<Change[]> {
  const { rows } = await trx.executeQuery(readLog);
  if (rows.length === 0) return [];
  await trx.executeQuery(emptyLog);
  return rows.map(({ tab, line }) => ({ table: tab, row: JSON.parse(line) as unknown }) as Change);
}

export async function openSqlStore(): Promise<SimStore> {
  let nowMs = () => 0;
  const database = await openDatabase({ file: ':memory:', nowMs: () => nowMs(), log: memoryLog() });
  const { db } = database;
  const tables = (await db.introspection.getTables()).map(({ name }) => name);
  await watch(db);
  const emptied = tables.filter((name) => !name.startsWith('kysely'));
  return {
    reads: commandStore(database).reads,
    transaction: (work, atCommit) =>
      commandStore({
        ...database,
        transaction: (inner) =>
          database.transaction(async (trx) => {
            const done = await inner(trx);
            atCommit(await takeChanges(trx));
            return done;
          }),
      }).transaction(work),
    read: async () => ({
      rows: await db.selectFrom('commands').selectAll().execute(),
      audit: await db.selectFrom('audit').selectAll().orderBy('chain').orderBy('seq').execute(),
    }),
    administration: () => administration(db),
    async begin(plans, clockMs) {
      nowMs = clockMs;
      const { clusters, nodes, proofs } = firstRows(plans, nowMs());
      return database.transaction(async (trx) => {
        for (const name of emptied) await sql.raw(`DELETE FROM "${name}"`).execute(trx);
        await sql.raw('DELETE FROM sim_log').execute(trx);
        await trx.insertInto('clusters').values(clusters).execute();
        await trx.insertInto('nodes').values(nodes).execute();
        if (proofs.length > 0) await trx.insertInto('wake_proofs').values(proofs).execute();
        return takeChanges(trx);
      });
    },
  };
}
