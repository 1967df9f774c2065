/**
 * Tracks C and D: recorded days in the physical world. C runs the shipped policy `save-power` in
 * one cluster with the limits of the track; D runs it as shipped, guards and limiter at their
 * defaults, in clusters of their usual size, and once more without each guard that is asked about.
 */
import {
  type GuardLimits,
  Policy,
  withCeilings,
  withinGuards,
} from '../../backend/decide/policy.ts';
import { readBitbrains } from './bitbrains.ts';
import type { Bench } from './bench.ts';
import type { GuardGroup, Options, PolicyName } from './options.ts';
import { physicalBoundKwh } from './physical-bound.ts';
import { type Gate, physicalEngine, type PhysicalPolicy } from './physical-engine.ts';
import {
  alwaysOn,
  obeying,
  type PhysicalResult,
  playPhysical,
  startSeconds,
} from './physical-run.ts';
import { type PhysicalRules, physicalRules } from './physical-world.ts';
import type { ReplayPolicy } from './policy.ts';
import { physicalTable } from './report.ts';
import type { Day } from './run.ts';
import { bigHosts } from './specs.ts';

/** The gate of one run: the guards without some of them. */
export type GateMaker = (options: {
  track: 'C' | 'D';
  without: readonly GuardGroup[];
}) => Gate & { refusals: ReadonlyMap<string, number>; limits: GuardLimits | null };

/** Guests of the public PlanetLab days get a quarter of their nominal memory. */
const ramShare = 0.25;
const bigHostCount = 32;
/** Half of a link of 10 Gbit/s. */
const bigCopyMbPerSecond = 625;
const unlimited = 1_000_000;

type Recorded = {
  days: readonly string[];
  /** null for a month of Bitbrains. */
  recorded: ((name: string) => Promise<Day[]>) | null;
  /** What the engine plays. */
  engine: Policy;
};

const withLessRam = (day: Day): Day => ({
  ...day,
  trace: { ...day.trace, ramMb: day.trace.ramMb.map((mb) => mb * ramShare) },
});

/** `--days 3`, `--days 1-7`; all of the month without. */
async function monthOf(folder: string, days: readonly string[]): Promise<Day> {
  const [from = 1, to = from] = days[0]?.split('-').map(Number) ?? [1, 30];
  const trace = await readBitbrains(folder, from, to);
  const hosts = bigHosts(bigHostCount);
  const placement = Int32Array.from(
    { length: trace.guestCount },
    (_, guest) => guest % hosts.count,
  );
  return { trace, order: 'sorted', hosts, placement };
}

/** The policy under the concurrency of the track. */
function limitedTo(
  track: 'C' | 'D',
  engine: Policy,
  { without, guards }: { without: readonly GuardGroup[]; guards: GuardLimits | null },
): Policy {
  // Track D is what real machines get.
  const real = track === 'D' ? withCeilings(engine) : engine;
  const given = track === 'D' && guards ? withinGuards(real, guards) : real;
  const limits = { ...given.limits };
  if (track === 'C' || without.includes('commands-at-once')) {
    limits.migrationsPerCluster = physicalRules.movesAtOnce;
    if (track === 'D') limits.commandsAtOnce = physicalRules.movesAtOnce;
    limits.migrationsPerHour = unlimited;
    limits.migrationsPerNodePerHour = unlimited;
  }
  if (without.includes('moves') || without.includes('all')) {
    limits.guestMovesPerDay = unlimited;
    limits.guestCooldownMs = 0;
    limits.pairCooldownMs = 0;
  }
  return Policy.parse({ ...given, limits });
}

type Variant = { policy: PhysicalPolicy; gate: ReturnType<GateMaker> | null };

type Means = { engine: Policy; gateOf: GateMaker };

function enginesOf(options: Options, hosts: number, { engine, gateOf }: Means): Variant[] {
  const track = options.track === 'D' ? 'D' : 'C';
  const clusterSize = track === 'D' ? options.clusterSize : hosts;
  const leftOut: (readonly GuardGroup[])[] = [[], ...options.without.map((one) => [one])];
  return leftOut.map((without) => {
    const gate = gateOf({ track, without });
    const name = without.length === 0 ? 'kernreaktor' : `kernreaktor without ${without.join()}`;
    const hasQuorum = track === 'D' && !without.includes('quorum') && !without.includes('all');
    const policy = limitedTo(track, engine, { without, guards: gate.limits });
    return { policy: physicalEngine({ policy, gate, clusterSize, hasQuorum }, name), gate };
  });
}

function variantsOf(
  options: Options,
  hosts: number,
  means: Means,
  makers: Record<PolicyName, (engine: Policy) => ReplayPolicy>,
): Variant[] {
  const others = options.policies.filter((name) => name !== 'kernreaktor');
  const isAsked = options.policies.includes('kernreaktor');
  const theirs = others.map((name) => {
    const gate = null;
    return { policy: obeying(makers[name](Policy.parse({}))), gate };
  });
  return [
    { policy: alwaysOn, gate: null },
    ...(isAsked ? enginesOf(options, hosts, means) : []),
    ...theirs,
  ];
}

export async function runPhysical(
  options: Options,
  { days, recorded, engine }: Recorded,
  bench: Bench,
  makers: Record<PolicyName, (engine: Policy) => ReplayPolicy>,
): Promise<PhysicalResult[]> {
  const results: PhysicalResult[] = [];
  const played: Day[] =
    recorded === null
      ? [await monthOf(options.trace, days)]
      : (await Promise.all(days.map(recorded))).flat().map(withLessRam);
  const rules: PhysicalRules = {
    ...physicalRules,
    bootSeconds: options.boot,
    ...(recorded === null && { copyMbPerSecond: bigCopyMbPerSecond }),
  };
  const means = { engine, gateOf: bench.gateOf };
  for (const day of played) {
    const { trace, hosts } = day;
    const startSteps = Math.floor(startSeconds / trace.stepSeconds);
    const bound = {
      boundKwh: physicalBoundKwh(trace, hosts, rules.bootSeconds),
      settledBoundKwh: physicalBoundKwh(trace, hosts, rules.bootSeconds, startSteps),
      days: (trace.steps * trace.stepSeconds) / 86_400,
    };
    const ofDay: PhysicalResult[] = [];
    for (const { policy, gate } of variantsOf(options, hosts.count, means, makers)) {
      ofDay.push({ ...(await playPhysical(day, policy, rules, bench.elapsedMs)), ...bound });
      const refusals = [...(gate?.refusals ?? [])].toSorted((a, b) => b[1] - a[1]);
      if (refusals.length > 0) {
        const list = refusals.map(([code, count]) => `${code} ${count}`).join(', ');
        bench.say(`${trace.name} ${policy.name}: refused ${list}`);
      }
    }
    bench.say(`${physicalTable(ofDay)}\n`);
    results.push(...ofDay);
  }
  return results;
}
