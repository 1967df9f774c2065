/**
 * The rows people read: commands, decisions, audit. Only SELECTs, newest first; ids are UUIDv7,
 * so their order is the order of time. Scope is part of every WHERE, never a filter afterwards.
 */
import type { Database } from '../store/sql/database.ts';
import type { Audit, Commands, Decisions } from '../store/sql/schema.ts';
import { cursorOf, keyOf, type Page, type PageQuery } from './paging.ts';

export type Scope = {
  /** null = every cluster. */
  clusters: ReadonlySet<string> | null;
  cluster?: string | undefined;
};

/**
 * The clusters a query may touch: the named one, the account's, or null for all. No cluster has
 * the empty id, which stands for "none": SQL knows no empty list.
 */
function clustersIn({ clusters, cluster }: Scope): string[] | null {
  if (cluster !== undefined) return [cluster];
  if (clusters === null) return null;
  return clusters.size === 0 ? [''] : [...clusters];
}

/** What a SELECT of either table can do to become a page. */
type Pageable<R> = {
  where(column: 'id', operator: '<', value: string): Pageable<R>;
  orderBy(column: 'id', direction: 'desc'): Pageable<R>;
  limit(count: number): Pageable<R>;
  offset(count: number): Pageable<R>;
  execute(): Promise<R[]>;
};

/** Newest first; one row more than asked for tells whether another page follows. */
function newest<R>(query: Pageable<R>, { cursor, limit, offset }: PageQuery): Promise<R[]> {
  const from = cursor === undefined ? query : query.where('id', '<', keyOf(cursor));
  return from
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .offset(offset ?? 0)
    .execute();
}

function pageOfRows<R extends { id: string }, T>(
  rows: R[],
  { limit, total, view }: { limit: number; total: number; view: (row: R) => T },
): Page<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(view),
    total,
    nextCursor: last !== undefined && rows.length > limit ? cursorOf(last.id) : null,
  };
}

export type CommandRow = Commands;
export type DecisionRow = Decisions;
export type AuditRow = Audit;
export type Queries = ReturnType<typeof createQueries>;

type CommandFilter = Scope & {
  state?: string | undefined;
  kind?: string | undefined;
  target?: string | undefined;
};
type DecisionFilter = Scope & { outcome?: string | undefined };

type Db = Database['db'];

function commandQueries(db: Db) {
  const commandsIn = (filter: CommandFilter) => {
    const clusters = clustersIn(filter);
    return db
      .selectFrom('commands')
      .$if(clusters !== null, (query) => query.where('cluster', 'in', clusters ?? []))
      .$if(filter.state !== undefined, (query) => query.where('state', '=', filter.state ?? ''))
      .$if(filter.kind !== undefined, (query) => query.where('kind', '=', filter.kind ?? ''))
      .$if(filter.target !== undefined, (query) =>
        query.where('target_id', '=', filter.target ?? ''),
      );
  };
  return {
    async commands<T>(
      filter: CommandFilter,
      page: PageQuery,
      view: (row: CommandRow) => T,
    ): Promise<Page<T>> {
      const { total } = await commandsIn(filter)
        .select((eb) => eb.fn.countAll<number>().as('total'))
        .executeTakeFirstOrThrow();
      const rows = await newest(commandsIn(filter).selectAll(), page);
      return pageOfRows(rows, { limit: page.limit, total, view });
    },

    command: (id: string) =>
      db.selectFrom('commands').selectAll().where('id', '=', id).executeTakeFirst(),

    history: (commandId: string) =>
      db
        .selectFrom('command_history')
        .select(['state', 'at_ms', 'actor', 'reason'])
        .where('command_id', '=', commandId)
        .orderBy('ver')
        .execute(),

    /** The wakes that were sent for a start on this node, oldest first. */
    wakesOfPlan: ({ cluster, executor, id }: CommandRow) =>
      db
        .selectFrom('commands')
        .select(['id', 'state', 'state_reason'])
        .where('cluster', '=', cluster)
        .where('target_kind', '=', 'node')
        .where('target_id', '=', executor)
        .where('plan_id', '=', id)
        .where('kind', '=', 'node.wake')
        .orderBy('generation')
        .execute(),

    commandsOfDecision: (decisionId: string, cluster: string) =>
      db
        .selectFrom('commands')
        .select(['id', 'kind', 'state'])
        .where('cluster', '=', cluster)
        .where('decision_id', '=', decisionId)
        .orderBy('id')
        .execute(),
  };
}

function decisionQueries(db: Db) {
  const decisionsIn = (filter: DecisionFilter) => {
    const clusters = clustersIn(filter);
    const outcome = filter.outcome as 'acted';
    return db
      .selectFrom('decisions')
      .$if(clusters !== null, (query) => query.where('cluster', 'in', clusters ?? []))
      .$if(filter.outcome !== undefined, (query) => query.where('outcome', '=', outcome));
  };

  return {
    async decisions<T>(
      filter: DecisionFilter,
      page: PageQuery,
      view: (row: DecisionRow) => T,
    ): Promise<Page<T>> {
      const { total } = await decisionsIn(filter)
        .select((eb) => eb.fn.countAll<number>().as('total'))
        .executeTakeFirstOrThrow();
      const rows = await newest(decisionsIn(filter).selectAll(), page);
      return pageOfRows(rows, { limit: page.limit, total, view });
    },

    decision: (id: string) =>
      db.selectFrom('decisions').selectAll().where('id', '=', id).executeTakeFirst(),
  };
}

function otherQueries(db: Db) {
  return {
    /** Newest first; the cursor is the last seq seen. */
    async auditEntries(chain: string, page: PageQuery) {
      const before = page.cursor === undefined ? undefined : Number(keyOf(page.cursor));
      const { total } = await db
        .selectFrom('audit')
        .select((eb) => eb.fn.countAll<number>().as('total'))
        .where('chain', '=', chain)
        .executeTakeFirstOrThrow();
      const rows = await db
        .selectFrom('audit')
        .selectAll()
        .where('chain', '=', chain)
        .$if(before !== undefined, (query) => query.where('seq', '<', before ?? 0))
        .orderBy('seq', 'desc')
        .limit(page.limit + 1)
        .offset(page.offset ?? 0)
        .execute();
      return { rows, total: total };
    },

    /** Each with the nodes it speaks for; one whose credential was taken away has none. */
    async daemons(cluster: string) {
      const rows = await db
        .selectFrom('daemons')
        .select(['id', 'simulated', 'created_at_ms', 'revoked_at_ms'])
        .where('cluster', '=', cluster)
        .orderBy('id')
        .execute();
      const owned = await db
        .selectFrom('daemon_nodes')
        .select(['daemon', 'node'])
        .where('cluster', '=', cluster)
        .orderBy('node')
        .execute();
      const nodes = Map.groupBy(owned, ({ daemon }) => daemon);
      return rows.map((row) => ({
        ...row,
        nodes: (nodes.get(row.id) ?? []).map(({ node }) => node),
      }));
    },

    async clusterExists(id: string): Promise<boolean> {
      const row = await db
        .selectFrom('clusters')
        .select('id')
        .where('id', '=', id)
        .executeTakeFirst();
      return row !== undefined;
    },
  };
}

export const createQueries = ({ db }: Pick<Database, 'db'>) => ({
  ...commandQueries(db),
  ...decisionQueries(db),
  ...otherQueries(db),
});
