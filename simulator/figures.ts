/**
 * From what was measured to the report: differences between two looks at the server, quantiles,
 * energy, and the comparison of every command with the world's own log.
 */
import type { LinkCounters } from '../daemon/link/agent.ts';
import type { CommandOutcome } from './commands.ts';
import { compare } from './ground-truth.ts';
import { between, bucketsOf, countOf, exactQuantile, quantileOf } from './histogram.ts';
import type { LiveWorld } from './live-world.ts';
import type { SimulationOptions } from './options.ts';
import { byKind, invalidReasons, judge, type Report } from './report.ts';
import { cpuBetween, type Usage } from './usage.ts';
import { settleEnergy } from './world/power.ts';

/** Seconds from the intended sampling time to being part of the server's state. */
const latencyMetric = 'kr_ingest_publish_to_state_seconds';

export type Measured = {
  durationMs: number;
  connected: number;
  connectMs: number;
  metricsBefore: string;
  metricsAfter: string;
  usageBefore: { own: Usage | null; backend: Usage | null };
  usageAfter: { own: Usage | null; backend: Usage | null };
  lagP99Ms: number;
  stored: { samples: number; missing: number } | null;
  outcome: CommandOutcome | null;
  counters: LinkCounters;
  /** Taken, and never covered by a receipt. */
  unconfirmed: number;
};

function latencyFigures({ metricsBefore, metricsAfter }: Measured): Report['publishToStateMs'] {
  const buckets = between(
    bucketsOf(metricsBefore, latencyMetric),
    bucketsOf(metricsAfter, latencyMetric),
  );
  const ms = (quantile: number): number | null => {
    const seconds = quantileOf(buckets, quantile);
    return seconds === null ? null : Math.round(seconds * 1e5) / 100;
  };
  return { count: countOf(buckets), p50: ms(0.5), p99: ms(0.99), max: ms(1) };
}

function commandFigures(live: LiveWorld, outcome: CommandOutcome | null): Report['commands'] {
  if (outcome === null) return null;
  const { followed, refused } = outcome;
  const { violations, notTerminal, indeterminate } = compare(followed, live.world.log);
  const times = followed.flatMap(({ offerToStartedMs }) => offerToStartedMs ?? []);
  return {
    count: followed.length,
    refused,
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

export function reportOf(options: SimulationOptions, live: LiveWorld, measured: Measured): Report {
  const { stored, outcome, counters } = measured;
  const { generator, backend } = cpuFigures(measured);
  const invalidBecause = invalidReasons(generator);
  const lost =
    stored === null
      ? null
      : // Holes are found by query; a missing end shows as unconfirmed, or as too few in all.
        stored.missing + Math.max(measured.unconfirmed, counters.samples - stored.samples, 0);
  const report = {
    scenario: options.scenario,
    seed: options.seed,
    nodes: options.nodes,
    guestsPerNode: options.guests,
    intervalMs: Math.round(options.interval * 1000),
    timeScale: options.timeScale,
    durationMs: Math.round(measured.durationMs),
    isValid: invalidBecause.length === 0,
    invalidBecause,
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
    publishToStateMs: latencyFigures(measured),
    rejectedMessages: counters.rejectedMessages,
    generator,
    backend,
    energyKilowattHours: energyOf(live),
    effects: live.world.log.filter(({ effect }) => effect === 'start').length,
    commands: commandFigures(live, outcome),
  };
  return { ...report, brokenPromises: judge(report, options.slo) };
}
