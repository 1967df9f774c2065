/** The one line of the morning: who slept, what that saved, what was refused. */
import type { Kysely } from 'kysely';
import type { MetricsStore } from '../store/ports.ts';
import type { Schema } from '../store/sql/schema.ts';
import { drawnBefore, powerChanges, type Sleep, sleepSpans, sleptWithin } from '../power/sleeps.ts';

const dayMs = 86_400_000;
const hourMs = 3_600_000;
const minuteMs = 60_000;

export type Night = {
  /** Of each node that slept in the last 24 hours, for how long, and what it drew before. */
  sleeps: readonly { node: string; sleptMs: number; watts: number | null }[];
  refused: number;
};

type Db = Kysely<Schema>;
type Metrics = Pick<MetricsStore, 'range'>;

/** How long each node slept within the last 24 hours, and when it last went to sleep. */
export function sleepsOf(spans: readonly Sleep[], nowMs: number) {
  const sleeps: { cluster: string; node: string; offAtMs: number; sleptMs: number }[] = [];
  for (const all of Map.groupBy(spans, ({ cluster, node }) => `${cluster}/${node}`).values()) {
    const sleptMs = sleptWithin(all, { fromMs: nowMs - dayMs, nowMs });
    const last = all.at(-1);
    if (!last || sleptMs <= 0) continue;
    sleeps.push({ cluster: last.cluster, node: last.node, offAtMs: last.offAtMs, sleptMs });
  }
  return sleeps;
}

export async function lastNight(db: Db, metrics: Metrics, nowMs: number): Promise<Night> {
  // One that went to sleep before the day began may have slept through all of it.
  const spans = sleepSpans(await powerChanges(db, { sinceMs: nowMs - 7 * dayMs }));
  const sleeps = sleepsOf(spans, nowMs);
  const refused = await db
    .selectFrom('commands as c')
    .innerJoin('clusters as k', 'k.id', 'c.cluster')
    .select(({ fn }) => fn.countAll().as('count'))
    .where('c.state', '=', 'REJECTED')
    .where('c.origin', '=', 'engine')
    .where('k.simulated', '=', 0)
    .where('c.planned_at_ms', '>', nowMs - dayMs)
    .executeTakeFirstOrThrow();
  const told = sleeps.map(async (sleep) => {
    const before = { fromMs: sleep.offAtMs - hourMs, stepMs: minuteMs };
    const { watts, isEstimated } = await drawnBefore(metrics, sleep, before);
    return { node: sleep.node, sleptMs: sleep.sleptMs, watts: isEstimated ? null : watts };
  });
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
