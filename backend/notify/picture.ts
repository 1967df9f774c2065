/** The picture of now that rules judge: from the fleet in memory and a few rows found by index. */
import type { Kysely } from 'kysely';
import { parseHold } from '../act/step.ts';
import { proofsMin } from '../act/wake-ways.ts';
import type { Fleet, NodeRecord } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import { holdSetting } from '../store/command-store.ts';
import { gaveUpAlarm } from '../store/sql/alarms.ts';
import type { Schema } from '../store/sql/schema.ts';
import type { CommandView, NodeView, Picture } from './rules.ts';

/** SAFETY W1: the youngest cycle counts for 30 days. */
const proofLastsMs = 30 * 86_400_000;
const failedWakeWithinMs = 86_400_000;
const commandsMax = 200;

const memoryOf = (record: NodeRecord): number =>
  (record.guests ?? [])
    .filter(({ state }) => state === 'running')
    .reduce((sum, guest) => sum + (guest.memoryTotalBytes ?? guest.memoryUsedBytes ?? 0), 0);

export const nodeViews = (fleet: Fleet, monotonicMs: number): NodeView[] =>
  [...fleet.nodes.values()].map((record) => ({
    cluster: record.cluster,
    node: record.node,
    state: nodeState(record, monotonicMs),
    desired: record.desired,
    simulated: fleet.clusters.get(record.cluster)?.simulated ?? false,
    memoryTotalBytes: record.values?.memoryTotalBytes ?? null,
    memoryUsedBytes: record.values?.memoryUsedBytes ?? null,
    guestsBytes: memoryOf(record),
  }));

type Db = Kysely<Schema>;

async function commandsIn(
  db: Db,
  state: string,
  narrow: { kind?: string; origin?: 'engine'; afterMs?: number } = {},
): Promise<CommandView[]> {
  const { kind, origin, afterMs } = narrow;
  const rows = await db
    .selectFrom('commands as c')
    .innerJoin('command_history as h', (join) =>
      join.onRef('h.command_id', '=', 'c.id').onRef('h.state', '=', 'c.state'),
    )
    .innerJoin('clusters as k', 'k.id', 'c.cluster')
    .select(['c.id', 'c.cluster', 'c.kind', 'c.target_id as target', 'c.state_reason as reason'])
    .select(({ fn }) => fn.min('h.at_ms').as('sinceMs'))
    .where('c.state', '=', state)
    .where('k.simulated', '=', 0)
    .$if(kind !== undefined, (query) => query.where('c.kind', '=', kind ?? ''))
    .$if(origin !== undefined, (query) => query.where('c.origin', '=', origin ?? 'engine'))
    .$if(afterMs !== undefined, (query) => query.where('c.planned_at_ms', '>', afterMs ?? 0))
    .groupBy(['c.id', 'c.cluster', 'c.kind', 'c.target_id', 'c.state_reason'])
    .orderBy('c.id', 'desc')
    .limit(commandsMax)
    .execute();
  return rows;
}

/** One for each node: a wake that went well since then has ended the trouble. */
async function failedWakes(db: Db, nowMs: number): Promise<CommandView[]> {
  const afterMs = nowMs - failedWakeWithinMs;
  const failed = await commandsIn(db, 'FAILED', { kind: 'node.wake', afterMs });
  const seen = new Set<string>();
  return failed.filter(({ cluster, target }) => {
    const key = `${cluster}/${target}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

async function holdsOf(db: Db): Promise<Picture['holds']> {
  const clusters = await db
    .selectFrom('clusters')
    .select(['id', 'hold_at_ms', 'hold_reason'])
    .where('hold', '=', 1)
    .execute();
  const setting = await db
    .selectFrom('settings')
    .select('value')
    .where('name', '=', holdSetting)
    .executeTakeFirst();
  const all = parseHold(setting?.value ?? null);
  return [
    ...clusters.map((row) => ({
      cluster: row.id,
      sinceMs: row.hold_at_ms ?? 0,
      reason: row.hold_reason,
    })),
    ...(all.all ? [{ cluster: null, sinceMs: all.atMs ?? 0, reason: all.reason }] : []),
  ];
}

async function proofsOf(db: Db, nowMs: number): Promise<Picture['proofs']> {
  const rows = await db
    .selectFrom('wake_proofs')
    .select(['cluster', 'node', 'waker', 'binding_hash'])
    .select(({ fn }) => [fn.countAll().as('count'), fn.max('woken_at_ms').as('youngest')])
    .where('succeeded', '=', 1)
    .where('woken_at_ms', '>', nowMs - proofLastsMs)
    .groupBy(['cluster', 'node', 'waker', 'binding_hash'])
    .execute();
  const ends = new Map<string, { cluster: string; node: string; endsAtMs: number }>();
  for (const { cluster, node, count, youngest } of rows) {
    if (Number(count) < proofsMin) continue;
    const key = `${cluster}/${node}`;
    const endsAtMs = Number(youngest) + proofLastsMs;
    ends.set(key, { cluster, node, endsAtMs: Math.max(endsAtMs, ends.get(key)?.endsAtMs ?? 0) });
  }
  return [...ends.values()];
}

const givenUpGuests = (db: Db) =>
  db
    .selectFrom('alarms')
    .select(['cluster', 'subject_id as guest', 'since_ms as sinceMs'])
    .where('rule', '=', gaveUpAlarm)
    .execute();

export type PictureDeps = {
  db: Db;
  fleet: () => Fleet;
  certificateEndsAtMs: () => number | null;
  backupProblem: () => string | null;
};

export async function takePicture(
  { db, fleet, certificateEndsAtMs, backupProblem }: PictureDeps,
  { nowMs, monotonicMs }: { nowMs: number; monotonicMs: number },
): Promise<Picture> {
  return {
    nowMs,
    nodes: nodeViews(fleet(), monotonicMs),
    indeterminate: await commandsIn(db, 'INDETERMINATE'),
    awaitingApproval: await commandsIn(db, 'PLANNED', { origin: 'engine' }),
    failedWakes: await failedWakes(db, nowMs),
    holds: await holdsOf(db),
    certificateEndsAtMs: certificateEndsAtMs(),
    proofs: await proofsOf(db, nowMs),
    backupProblem: backupProblem(),
    givenUp: await givenUpGuests(db),
  };
}
