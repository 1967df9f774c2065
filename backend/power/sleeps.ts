/**
 * When nodes slept, and what that saved: from the commands that switched them off and woke them,
 * and from what was measured before. A sleep that is not over counts up to now; what nobody
 * measured stays unknown and is never guessed.
 */
import type { Kysely } from 'kysely';
import type { MetricsStore } from '../store/ports.ts';
import type { Schema } from '../store/sql/schema.ts';

export type NodeAt = { cluster: string; node: string };
export type PowerChange = NodeAt & { kind: string; atMs: number };
/** `onAtMs` null: it sleeps. */
export type Sleep = NodeAt & { offAtMs: number; onAtMs: number | null };
type Metrics = Pick<MetricsStore, 'range'>;

/**
 * What switched nodes off and on since, the oldest first.
 * @param of one node, simulated or not and its proofs aside; without it every real node
 */
export async function powerChanges(
  db: Kysely<Schema>,
  { sinceMs, of }: { sinceMs: number; of?: NodeAt },
): Promise<PowerChange[]> {
  const all = db
    .selectFrom('commands as c')
    .innerJoin('clusters as k', 'k.id', 'c.cluster')
    .leftJoin('wake_campaigns as w', 'w.id', 'c.plan_id')
    .select(['c.cluster', 'c.target_id', 'c.kind', 'c.finished_at_ms'])
    .where('c.state', '=', 'SUCCEEDED')
    .where('c.kind', 'in', ['node.shutdown', 'node.wake'])
    .where('c.planned_at_ms', '>', sinceMs)
    .orderBy('c.finished_at_ms');
  const wanted = of
    ? all
        .where('c.cluster', '=', of.cluster)
        .where('c.target_id', '=', of.node)
        .where('w.id', 'is', null)
    : all.where('k.simulated', '=', 0);
  return (await wanted.execute()).map((row) => ({
    cluster: row.cluster,
    node: row.target_id,
    kind: row.kind,
    atMs: row.finished_at_ms ?? 0,
  }));
}

/** From a shutdown to the next wake of the same node, by node and then by time. */
export function sleepSpans(changes: readonly PowerChange[]): Sleep[] {
  const byNode = Map.groupBy(changes, ({ cluster, node }) => `${cluster}/${node}`);
  return [...byNode.values()].flatMap((all) => {
    const spans: Sleep[] = [];
    for (const { cluster, node, kind, atMs } of all) {
      const last = spans.at(-1);
      const isAsleep = last?.onAtMs === null;
      // Off again without a wake of ours: a hand woke it, nobody knows when, so that nothing counts.
      if (isAsleep) last.onAtMs = kind === 'node.wake' ? atMs : last.offAtMs;
      if (kind === 'node.shutdown') spans.push({ cluster, node, offAtMs: atMs, onAtMs: null });
    }
    return spans;
  });
}

/** How long of the time since `fromMs` was slept. */
export const sleptWithin = (
  spans: readonly Sleep[],
  { fromMs, nowMs }: { fromMs: number; nowMs: number },
): number =>
  spans.reduce(
    (sum, { offAtMs, onAtMs }) => sum + Math.max(0, (onAtMs ?? nowMs) - Math.max(offAtMs, fromMs)),
    0,
  );

export type Drawn = { watts: number | null; isEstimated: boolean };

/** The mean draw from then until it was off; null where nothing told it. */
export async function drawnBefore(
  metrics: Metrics,
  { cluster, node, offAtMs }: NodeAt & { offAtMs: number },
  { fromMs, stepMs }: { fromMs: number; stepMs: number },
): Promise<Drawn> {
  const query = { cluster, node, entity: 'node', aggregate: 'mean', stepMs } as const;
  const names = ['powerWatts', 'powerEstimatedWatts'];
  const series = await metrics
    .range({ ...query, metrics: names, fromMs, toMs: offAtMs })
    .catch(() => []);
  for (const name of names) {
    const values = series
      .filter(({ metric }) => metric === name)
      .flatMap(({ points }) => points.flatMap(([, value]) => value ?? []));
    if (values.length === 0) continue;
    const watts = values.reduce((sum, value) => sum + value, 0) / values.length;
    return { watts, isEstimated: name === 'powerEstimatedWatts' };
  }
  return { watts: null, isEstimated: false };
}
