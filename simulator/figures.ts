/**
 * From what was measured to the report: differences between two looks at the server, quantiles,
 * energy, and the comparison of every command with the world's own log.
 */
import type { LinkCounters } from '../daemon/link/agent.ts';
import type { CommandOutcome } from './commands.ts';
import { compare } from './ground-truth.ts';
import { exactQuantile } from './histogram.ts';
import type { Tally } from './line.ts';
import type { LiveWorld } from './live-world.ts';
import { accountsOf } from './load/accounts.ts';
import type { FaultCounts } from './load/faults.ts';
import { kneeOf, type Tried } from './load/knee.ts';
import type { LoadPlan } from './load/plan.ts';
import type { Reading } from './load/reading.ts';
import { type Row, secondsOf, type StageFigures } from './load/rows.ts';
import { firstNodesOf } from './load/stages.ts';
import { byKind, invalidReasons, judge, latencyFigures, type Report } from './report.ts';
import { cpuBetween, type Usage } from './usage.ts';
import { settleEnergy } from './world/power.ts';

export type Measured = {
  durationMs: number;
  connected: number;
  connectMs: number;
  /** Before anybody connected, before and after the stages, and when all was still. */
  readingAtStart: Reading | null;
  readingBefore: Reading | null;
  readingAfter: Reading | null;
  readingAtEnd: Reading | null;
  usageBefore: { own: Usage | null; backend: Usage | null };
  usageAfter: { own: Usage | null; backend: Usage | null };
  lagP99Ms: number;
  stored: { samples: number; missing: number } | null;
  outcome: CommandOutcome | null;
  counters: LinkCounters;
  tally: Readonly<Tally>;
  faults: Readonly<FaultCounts>;
  stages: StageFigures[];
  /** The steps of the search for the knee. */
  tried: Tried[] | null;
  rows: readonly Row[];
};

function commandFigures(live: LiveWorld, outcome: CommandOutcome | null): Report['commands'] {
  if (outcome === null) return null;
  const { followed, refused, skipped } = outcome;
  const { violations, notTerminal, indeterminate } = compare(followed, live.world.log);
  const times = followed.flatMap(({ offerToStartedMs }) => offerToStartedMs ?? []);
  return {
    count: followed.length,
    refused,
    skipped,
    notTerminal,
    indeterminate,
    wrongEffects: violations,
    offerToStartedP50Ms: exactQuantile(times, 0.5),
    offerToStartedP99Ms: exactQuantile(times, 0.99),
    kinds: byKind(followed),
  };
}

function energyOf(live: LiveWorld): number {
  return live.change((world) => {
    let joules = 0;
    for (const node of world.nodes.values()) {
      settleEnergy(world, node, world.nowMs);
      joules += node.joules;
    }
    return Math.round(joules / 3_600) / 1000;
  });
}

function cpuFigures({ usageBefore, usageAfter, durationMs, lagP99Ms }: Measured) {
  const seconds = durationMs / 1000;
  const own = cpuBetween(usageBefore.own, usageAfter.own) ?? 0;
  const backend = cpuBetween(usageBefore.backend, usageAfter.backend);
  return {
    generator: {
      cpuSeconds: own,
      cpuRatio: own / seconds,
      rssPeakBytes: usageAfter.own?.rssPeakBytes ?? 0,
      lagP99Ms,
    },
    backend: {
      cpuSeconds: backend,
      cpuRatio: backend === null ? null : backend / seconds,
      rssPeakBytes: usageAfter.backend?.rssPeakBytes ?? null,
    },
  };
}

/** Figures of the whole test: a shard alone does not know them, and `merge` judges them. */
const ofAll: ReadonlySet<string> = new Set(['refused', 'duplicates', 'dropped', 'unaccounted']);

/** A shard sees the server's counters of all shards: only `merge` can draw up accounts then. */
function accountFigures({ shard }: LoadPlan, measured: Measured): Report['accounts'] {
  const { readingAtStart, readingAtEnd, tally, stored } = measured;
  if (shard) return null;
  return accountsOf({
    before: readingAtStart,
    after: readingAtEnd,
    sent: tally.handed,
    stored: stored?.samples ?? null,
    breaks: tally.breaks,
  });
}

function faultFigures({ tally, faults }: Measured): Report['faults'] {
  const { duplicated, malformed } = tally;
  return { ...faults, brokenLinks: tally.breaks, duplicates: duplicated, malformed };
}

export function reportOf(plan: LoadPlan, live: LiveWorld, measured: Measured): Report {
  const { stored, outcome, counters, tried } = measured;
  const { generator, backend } = cpuFigures(measured);
  const invalidBecause = invalidReasons(generator);
  // Holes are found by query; an end that is missing shows as too few in all.
  const lost = stored && Math.max(stored.missing, counters.samples - stored.samples, 0);
  const report = {
    name: plan.name,
    scenario: plan.scenario,
    seed: plan.seed,
    shard: plan.shard,
    nodes: plan.nodesMax,
    guestsPerNode: plan.guests.max,
    intervalMs: plan.stages[0]?.interval ?? 0,
    timeScale: plan.timeScale,
    durationMs: Math.round(measured.durationMs),
    isValid: invalidBecause.length === 0,
    invalidBecause,
    firstNodes: firstNodesOf(plan.stages),
    connectedNodes: measured.connected,
    connectMs: Math.round(measured.connectMs),
    samples: {
      taken: counters.samples,
      sent: counters.sent,
      replayed: counters.replayed,
      skippedBeats: counters.skippedBeats,
      dropped: counters.dropped,
      stored: stored?.samples ?? null,
      lost,
    },
    accounts: accountFigures(plan, measured),
    publishToStateMs: latencyFigures(measured.readingBefore, measured.readingAfter),
    rejectedMessages: counters.rejectedMessages,
    generator,
    backend,
    energyKilowattHours: energyOf(live),
    effects: live.world.log.filter(({ effect }) => effect === 'start').length,
    commands: commandFigures(live, outcome),
    faults: faultFigures(measured),
    stages: measured.stages,
    promises: plan.slo.map(({ text }) => text),
    knee: tried && { steps: tried, found: kneeOf(tried) },
  };
  const books = shardBooks(plan, measured);
  const promised = plan.knee
    ? []
    : plan.slo.filter(({ figure }) => !(plan.shard && ofAll.has(figure)));
  const seconds = secondsOf(measured.rows);
  return { ...report, ...(books && { books }), brokenPromises: judge(report, promised), seconds };
}

/** What `merge` needs of a shard besides. */
function shardBooks({ shard }: LoadPlan, measured: Measured): Report['books'] {
  if (!shard) return undefined;
  const { readingAtStart, readingBefore, readingAfter, readingAtEnd, tally } = measured;
  const look = (reading: Reading | null) =>
    reading && {
      ...reading,
      latency: [...reading.latency].map(([le, count]) => [le, count] as [number, number]),
    };
  return {
    atStart: look(readingAtStart),
    before: look(readingBefore),
    after: look(readingAfter),
    atEnd: look(readingAtEnd),
    sent: tally.handed,
    breaks: tally.breaks,
    followed: measured.outcome?.followed ?? [],
  };
}
