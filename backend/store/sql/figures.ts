/** What `/metrics` asks of SQL: few rows, found by index, a few times a minute. */
import type { Kysely } from 'kysely';
import { commandStates, isTerminal } from '../../../broker/contract/command.ts';
import type { Schema } from './schema.ts';

/** How many commands are in each state that is not an end; a state without any counts 0. */
export async function openCommands(db: Kysely<Schema>): Promise<Record<string, number>> {
  const open = commandStates.filter((state) => !isTerminal(state));
  const rows = await db
    .selectFrom('commands')
    .select(({ fn }) => ['state', fn.countAll().as('count')])
    .where('state', 'in', open)
    .groupBy('state')
    .execute();
  const counts = new Map(rows.map(({ state, count }) => [state, Number(count)]));
  return Object.fromEntries(open.map((state) => [state, counts.get(state) ?? 0]));
}

export async function auditChains(db: Kysely<Schema>): Promise<string[]> {
  const rows = await db.selectFrom('audit_heads').select('chain').orderBy('chain').execute();
  return rows.map(({ chain }) => chain);
}
