/**
 * What became of a decision, beside what it predicted: some minutes after all its commands have
 * ended, the same values are read from the newest samples and kept with it. Rows alone say what is
 * due, so a restart misses nothing younger than an hour. A value that nobody measured is null.
 */
import type { Kysely } from 'kysely';
import { type CommandState, isTerminal } from '../broker/contract/command.ts';
import type { Clock } from '../broker/contract/ports.ts';
import { nodeKey } from '../broker/contract/ids.ts';
import type { Fact, Intent, Plan } from './decide/plan.ts';
import { scaledMs } from './decide/policy.ts';
import type { Fleet } from './state/fleet.ts';
import { nodeState } from './state/node-state.ts';
import type { Schema } from './store/sql/schema.ts';

const settledAfterMs = 300_000;
const forgottenAfterMs = 3_600_000;
const lookEveryMs = 60_000;
const perLookMax = 64;

type Measured = {
  target: string;
  facts: { name: string; predicted: Fact['value']; value: Fact['value'] }[];
};

type Memory = { memoryUsedBytes: number | null; memoryTotalBytes: number | null };

function memoryRatioOf(of: Memory | null | undefined): number | null {
  const { memoryUsedBytes: used = null, memoryTotalBytes: total = null } = of ?? {};
  return used !== null && total ? used / total : null;
}

/** The newest value of what a rule predicts by that name; null where nobody measured it. */
function valueOf(fleet: Fleet, intent: Intent, name: string, nowMs: number): Fact['value'] {
  const { cluster, executor, action, target } = intent;
  const told = (node: string) => {
    const record = fleet.nodes.get(nodeKey(cluster, node));
    return record !== undefined && nodeState(record, nowMs) === 'awake' ? record.values : null;
  };
  const source = told(executor);
  const destination = action.kind === 'guest.migrate' ? told(action.args.targetNode) : null;
  const guest = fleet.guests.get(`${cluster}/${target.id}`);
  if (name === 'sourceCpuRatio') return source?.cpuRatio ?? null;
  if (name === 'targetCpuRatio') return destination?.cpuRatio ?? null;
  if (name === 'sourceMemoryRatio') return memoryRatioOf(source);
  if (name === 'targetMemoryRatio') return memoryRatioOf(destination);
  if (name === 'guestCpuRatio') return guest?.cpuRatio ?? null;
  if (name === 'guestMemoryRatio') return memoryRatioOf(guest);
  return name === 'state' ? (guest?.state ?? null) : null;
}

/** Of the intents whose command succeeded. */
export const measure = (
  fleet: Fleet,
  intents: readonly Intent[],
  succeeded: ReadonlySet<string>,
  nowMs: number,
): Measured[] =>
  intents
    .filter(({ target, predicted }) => succeeded.has(target.id) && predicted.length > 0)
    .map((intent) => ({
      target: intent.target.id,
      facts: intent.predicted.map(({ name, value }) => ({
        name,
        predicted: value,
        value: valueOf(fleet, intent, name, nowMs),
      })),
    }));

type Deps = {
  db: Kysely<Schema>;
  fleet: Fleet;
  clock: Clock;
  /** Once per decision whose effect was measured. */
  onMeasured?: (cluster: string, measured: readonly Measured[]) => void;
};

/** Of one predicted fact: sums of what was predicted and measured, how often, how often close. */
export type Effect = { predicted: number; measured: number; count: number; close: number };
const closeRatio = 0.1;

/** Counts measured facts by cluster and name since the start; what nobody measured counts not. */
export function createEffects() {
  const byName = new Map<string, Map<string, Effect>>();
  return {
    of: (): ReadonlyMap<string, ReadonlyMap<string, Effect>> => byName,
    note: (cluster: string, measured: readonly Measured[]): void => {
      for (const { name, predicted, value } of measured.flatMap(({ facts }) => facts)) {
        if (typeof predicted !== 'number' || typeof value !== 'number') continue;
        const ofCluster = byName.get(cluster) ?? new Map<string, Effect>();
        byName.set(cluster, ofCluster);
        const known = ofCluster.get(name) ?? { predicted: 0, measured: 0, count: 0, close: 0 };
        known.predicted += predicted;
        known.measured += value;
        known.count += 1;
        known.close += Number(Math.abs(value - predicted) <= closeRatio);
        ofCluster.set(name, known);
      }
    },
  };
}

export function createMeasurer({ db, fleet, clock, onMeasured }: Deps) {
  let lookedAtMs = -Infinity;

  async function keep({ id, cluster, plan }: { id: string; cluster: string; plan: string }) {
    const commands = await db
      .selectFrom('commands')
      .select(['target_id', 'state'])
      .where('cluster', '=', cluster)
      .where('decision_id', '=', id)
      .execute();
    if (commands.some(({ state }) => !isTerminal(state as CommandState))) return;
    const done = commands.filter(({ state }) => state === 'SUCCEEDED');
    const { intents = [] } = JSON.parse(plan) as Partial<Plan>;
    const succeeded = new Set(done.map(({ target_id }) => target_id));
    const found = measure(fleet, intents, succeeded, clock.monotonicMs());
    const { numUpdatedRows } = await db
      .updateTable('decisions')
      .set((eb) => ({ measured: JSON.stringify(found), ver: eb('ver', '+', 1) }))
      .where('id', '=', id)
      .where('measured', 'is', null)
      .executeTakeFirst();
    // Another backend may have been first; what is stored once counts once.
    if (numUpdatedRows > 0) onMeasured?.(cluster, found);
  }

  /** Once a minute; what has to settle for so long is measured then. */
  return async function look(clusters: readonly string[]): Promise<void> {
    if (clock.monotonicMs() - lookedAtMs < lookEveryMs || clusters.length === 0) return;
    lookedAtMs = clock.monotonicMs();
    const nowMs = clock.wallMs();
    const rows = await db
      .selectFrom('decisions')
      .select(['id', 'cluster', 'plan', 'at_ms'])
      .where('cluster', 'in', clusters)
      .where('at_ms', '>', nowMs - forgottenAfterMs)
      .where('outcome', 'in', ['acted', 'awaiting-approval'])
      .where('measured', 'is', null)
      .orderBy('at_ms')
      .limit(perLookMax)
      .execute();
    for (const row of rows) {
      const timeScale = fleet.clusters.get(row.cluster)?.timeScale ?? 1;
      if (nowMs - row.at_ms >= scaledMs(settledAfterMs, { timeScale })) await keep(row);
    }
  };
}
