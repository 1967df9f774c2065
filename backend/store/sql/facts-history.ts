/**
 * What was true of a node or guest, since when: one row per change, none while nothing changes.
 * Backtests read it. Times of one entity strictly grow, also where the wall clock went back.
 */
import type { Kysely, Transaction } from 'kysely';
import type { FactsChange } from '../../state/facts.ts';
import { chunks } from './clusters.ts';
import type { FactsHistory, Schema } from './schema.ts';

export type FactsSubject = Pick<FactsHistory, 'cluster' | 'entity'> & { entityId: string };
export type FactsRow = { entityId: string; validFromMs: number; facts: object };

const rowOf = (row: FactsHistory): FactsRow => ({
  entityId: row.entity_id,
  validFromMs: row.valid_from_ms,
  facts: JSON.parse(row.facts) as object,
});

/** The newest row of each entity as it stood at `atMs`. */
const validAt = (
  db: Kysely<Schema>,
  { cluster, entity }: Pick<FactsHistory, 'cluster' | 'entity'>,
  entityIds: readonly string[] | null,
  atMs: number,
) =>
  db
    .selectFrom('facts_history as f')
    .selectAll()
    .where('cluster', '=', cluster)
    .where('entity', '=', entity)
    .$if(entityIds !== null, (rows) => rows.where('entity_id', 'in', entityIds ?? []))
    .where('valid_from_ms', '=', (eb) =>
      eb
        .selectFrom('facts_history as g')
        .select((g) => g.fn.max('g.valid_from_ms').as('newest'))
        .whereRef('g.cluster', '=', 'f.cluster')
        .whereRef('g.entity', '=', 'f.entity')
        .whereRef('g.entity_id', '=', 'f.entity_id')
        .where('g.valid_from_ms', '<=', atMs),
    )
    .orderBy('entity_id')
    .execute();

/** Writes those of `changes` that differ from what is stored; the last of one entity counts. */
export async function recordFacts(
  trx: Transaction<Schema>,
  changes: readonly FactsChange[],
  atMs: number,
): Promise<number> {
  const groups = new Map<string, Map<string, FactsChange>>();
  for (const change of changes) {
    const key = `${change.cluster}/${change.entity}`;
    const group = groups.get(key) ?? new Map<string, FactsChange>();
    groups.set(key, group.set(change.entityId, change));
  }
  let written = 0;
  for (const group of groups.values()) {
    for (const some of chunks([...group.values()])) {
      written += await recordSome(trx, some, atMs);
    }
  }
  return written;
}

async function recordSome(
  trx: Transaction<Schema>,
  changes: readonly FactsChange[],
  atMs: number,
): Promise<number> {
  const [first] = changes;
  if (!first) return 0;
  const ids = changes.map(({ entityId }) => entityId);
  const stored = await validAt(trx, first, ids, Number.MAX_SAFE_INTEGER);
  const newest = new Map(stored.map((row) => [row.entity_id, row]));
  const rows = changes.flatMap(({ cluster, entity, entityId, facts: value }) => {
    const before = newest.get(entityId);
    const facts = JSON.stringify(value);
    if (before?.facts === facts) return [];
    const valid_from_ms = Math.max(atMs, (before?.valid_from_ms ?? -1) + 1);
    return [{ cluster, entity, entity_id: entityId, valid_from_ms, facts }];
  });
  if (rows.length > 0) await trx.insertInto('facts_history').values(rows).execute();
  return rows.length;
}

/** Everything known of a cluster's nodes or guests at one moment. */
export async function factsAt(
  db: Kysely<Schema>,
  { cluster, entity, atMs }: Pick<FactsHistory, 'cluster' | 'entity'> & { atMs: number },
): Promise<FactsRow[]> {
  return (await validAt(db, { cluster, entity }, null, atMs)).map(rowOf);
}

/** One entity's changes in [fromMs, toMs), oldest first, after the one in force at `fromMs`. */
export async function factsBetween(
  db: Kysely<Schema>,
  { cluster, entity, entityId }: FactsSubject,
  { fromMs, toMs }: { fromMs: number; toMs: number },
): Promise<FactsRow[]> {
  const before = await validAt(db, { cluster, entity }, [entityId], fromMs);
  const later = await db
    .selectFrom('facts_history')
    .selectAll()
    .where('cluster', '=', cluster)
    .where('entity', '=', entity)
    .where('entity_id', '=', entityId)
    .where('valid_from_ms', '>', fromMs)
    .where('valid_from_ms', '<', toMs)
    .orderBy('valid_from_ms')
    .execute();
  return [...before, ...later].map(rowOf);
}

export type ClusterFacts = FactsRow & { entity: 'node' | 'guest' };

/** All nodes and guests of a cluster: as they stood at `fromMs`, then every change, oldest first. */
export async function clusterFacts(
  db: Kysely<Schema>,
  cluster: string,
  { fromMs, toMs }: { fromMs: number; toMs: number },
): Promise<ClusterFacts[]> {
  const before = [
    ...(await validAt(db, { cluster, entity: 'node' }, null, fromMs)),
    ...(await validAt(db, { cluster, entity: 'guest' }, null, fromMs)),
  ];
  const later = await db
    .selectFrom('facts_history')
    .selectAll()
    .where('cluster', '=', cluster)
    .where('entity', 'in', ['node', 'guest'])
    .where('valid_from_ms', '>', fromMs)
    .where('valid_from_ms', '<', toMs)
    .orderBy('valid_from_ms')
    .orderBy('entity_id')
    .execute();
  return [...before, ...later].map((row) => ({
    ...rowOf(row),
    entity: row.entity === 'node' ? 'node' : 'guest',
  }));
}
