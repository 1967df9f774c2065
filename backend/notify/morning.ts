/** The one line of the morning: who slept, what that saved, what was refused. */
import type { Kysely } from 'kysely';
import type { MetricsStore } from '../store/ports.ts';
import type { Schema } from '../store/sql/schema.ts';

const dayMs = 86_400_000;
const hourMs = 3_600_000;

export type Night = {
  /** Of each node that slept in the last 24 hours, for how long, and what it drew before. */
  sleeps: readonly { node: string; sleptMs: number; watts: number | null }[];
  refused: number;
};

type Db = Kysely<Schema>;
type Metrics = Pick<MetricsStore, 'range'>;
type Change = { cluster: string; node: string; kind: string; atMs: number };

async function powerChanges(db: Db, nowMs: number): Promise<Change[]> {
  const rows = await db
    .selectFrom('commands as c')
    .innerJoin('clusters as k', 'k.id', 'c.cluster')
    .select(['c.cluster', 'c.target_id', 'c.kind', 'c.finished_at_ms'])
    .where('c.state', '=', 'SUCCEEDED')
    .where('c.kind', 'in', ['node.shutdown', 'node.wake'])
    .where('k.simulated', '=', 0)
    // One that went to sleep before the day began may have slept through all of it.
    .where('c.planned_at_ms', '>', nowMs - 7 * dayMs)
    .orderBy('c.finished_at_ms')
    .execute();
  return rows.map((row) => ({
    cluster: row.cluster,
    node: row.target_id,
    kind: row.kind,
    atMs: row.finished_at_ms ?? 0,
  }));
}

/** Asleep from a shutdown to the next wake, as far as it lies within the last 24 hours. */
export function sleepsOf(changes: readonly Change[], nowMs: number) {
  const sleeps: { cluster: string; node: string; offAtMs: number; sleptMs: number }[] = [];
  const byNode = Map.groupBy(changes, ({ cluster, node }) => `${cluster}/${node}`);
  for (const all of byNode.values()) {
    let sleptMs = 0;
    let offAtMs: number | null = null;
    let lastOffMs = 0;
    for (const { kind, atMs } of all) {
      if (kind === 'node.shutdown') offAtMs ??= atMs;
      if (kind !== 'node.wake' || offAtMs === null) continue;
      sleptMs += Math.max(0, atMs - Math.max(offAtMs, nowMs - dayMs));
      lastOffMs = offAtMs;
      offAtMs = null;
    }
    if (offAtMs !== null) {
      sleptMs += nowMs - Math.max(offAtMs, nowMs - dayMs);
      lastOffMs = offAtMs;
    }
    const [first] = all;
    if (!first || sleptMs <= 0) continue;
    sleeps.push({ cluster: first.cluster, node: first.node, offAtMs: lastOffMs, sleptMs });
  }
  return sleeps;
}

/** What it drew in the hour before it was switched off; null where nobody measured it. */
async function wattsBefore(
  metrics: Metrics,
  { cluster, node, offAtMs }: { cluster: string; node: string; offAtMs: number },
): Promise<number | null> {
  const range = { fromMs: offAtMs - hourMs, toMs: offAtMs, stepMs: hourMs };
  const query = { cluster, node, entity: 'node', metrics: ['powerWatts'], ...range } as const;
  const series = await metrics.range({ ...query, aggregate: 'mean' }).catch(() => []);
  const values = series.flatMap(({ points }) => points.map(([, value]) => value));
  return values.findLast((value) => value !== null) ?? null;
}

export async function lastNight(db: Db, metrics: Metrics, nowMs: number): Promise<Night> {
  const sleeps = sleepsOf(await powerChanges(db, nowMs), nowMs);
  const refused = await db
    .selectFrom('commands as c')
    .innerJoin('clusters as k', 'k.id', 'c.cluster')
    .select(({ fn }) => fn.countAll().as('count'))
    .where('c.state', '=', 'REJECTED')
    .where('c.origin', '=', 'engine')
    .where('k.simulated', '=', 0)
    .where('c.planned_at_ms', '>', nowMs - dayMs)
    .executeTakeFirstOrThrow();
  const told = sleeps.map(async (sleep) => ({
    node: sleep.node,
    sleptMs: sleep.sleptMs,
    watts: await wattsBefore(metrics, sleep),
  }));
  return { sleeps: await Promise.all(told), refused: Number(refused.count) };
}

const hours = (ms: number): string => {
  const minutes = Math.round(ms / 60_000);
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')}`;
};

/** null when there is nothing to tell. */
export function morningLine(
  { sleeps, refused }: Night,
  { pricePerKwh, currency }: { pricePerKwh: number | null; currency: string },
): string | null {
  if (sleeps.length === 0 && refused === 0) return null;
  const sleptMs = sleeps.reduce((sum, one) => sum + one.sleptMs, 0);
  const known = sleeps.filter(({ watts }) => watts !== null);
  const kwh = known.reduce((sum, { sleptMs: ms, watts }) => sum + ((watts ?? 0) * ms) / 3.6e9, 0);
  const money = pricePerKwh === null ? '' : ` (${(kwh * pricePerKwh).toFixed(2)} ${currency})`;
  const least = known.length < sleeps.length ? 'at least ' : '';
  const saved = known.length === 0 ? '' : `, ${least}${kwh.toFixed(1)} kWh${money} saved`;
  const nodes = `${sleeps.length} node${sleeps.length === 1 ? '' : 's'}`;
  return `Last night ${nodes} slept ${hours(sleptMs)}${saved}, ${refused} refused`;
}
