/**
 * What a run does, whether it was written as a profile or as options of the command line: the
 * options alone make a profile of one stage. Everything behind this knows only plans.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { sampleIntervalMinMs } from '../../broker/contract/limits.ts';
import type { SimulationOptions } from '../options.ts';
import { seedOf } from '../prng.ts';
import type { Promised } from '../slo.ts';
import type { FleetLoad } from '../world/build.ts';
import { Knee, type Profile, promisesOf } from './profile.ts';
import { readProfile } from './profile-file.ts';
import { readRecordings } from './recordings.ts';
import { nodesMaxOf, partOf, type Shard } from './stages.ts';

export type LoadPlan = Omit<Profile, 'slo' | 'load' | 'knee'> & {
  slo: Promised[];
  load: FleetLoad;
  knee: NonNullable<Profile['knee']> | null;
  /** So many daemons can be connected at once; the world is made for all of them. */
  nodesMax: number;
  /** Below it nothing of this run samples. */
  intervalMinMs: number;
  shard: Shard | null;
  /** As a person would choose them, one after the other; instead of a rate of commands. */
  commandCount: number;
};

/** A profile that cannot be used; each line of the message is one problem. */
export class ProfileError extends Error {
  override readonly name = 'ProfileError';
  readonly code = 'KR_PROFILE';
}

function readFile(path: string): Profile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ProfileError(`--profile: ${path} cannot be read`, { cause });
  }
  const read = readProfile(text);
  if (read.ok) return read.profile;
  const lines = read.problems.map(
    ({ line, column, field, hint }) => `${path}:${line}:${column} ${field}: ${hint}`,
  );
  throw new ProfileError(lines.join('\n'));
}

async function loadOf({ load }: Profile, folder: string): Promise<FleetLoad> {
  const { shape, base, swing, trace, day } = load;
  return {
    ...(shape !== 'mixed' && shape !== 'trace' && { shape }),
    ...(base !== undefined && { base }),
    ...(swing !== undefined && { swing }),
    ...(trace !== undefined && { recordings: await readRecordings(resolve(folder, trace), day) }),
  };
}

const profileOf = (options: SimulationOptions): Profile => ({
  name: options.scenario,
  seed: options.seed,
  clusterPrefix: options.clusterPrefix,
  nodesPerCluster: options.nodesPerCluster,
  guests: { min: options.guests, max: options.guests },
  timeScale: options.timeScale,
  auto: options.auto,
  scenario: options.scenario,
  qos: 0,
  aligned: options.aligned,
  ...(options.connectRate !== undefined && { connectRate: options.connectRate }),
  stages: [
    {
      nodes: options.nodes,
      interval: Math.round(options.interval * 1_000),
      for: Math.round(options.minutes * 60_000),
      ramp: 0,
    },
  ],
  load: { shape: 'mixed' },
  faults: {},
  slo: [],
});

/** The part of one of several simulators: its own clusters, and its share of every number. */
function shardOf(plan: LoadPlan, shard: Shard): LoadPlan {
  const { stages, nodesMax, clusterPrefix, seed, connectRate, commands } = plan;
  const { index, count } = shard;
  return {
    ...plan,
    shard,
    seed: seedOf(seed, index),
    clusterPrefix: `${clusterPrefix}-s${index}`,
    stages: stages.map((stage) => ({ ...stage, nodes: partOf(stage.nodes, shard) })),
    // Parts differ by one from stage to stage, never by more.
    nodesMax: Math.ceil(nodesMax / count),
    ...(connectRate !== undefined && { connectRate: connectRate / count }),
    ...(commands && { commands: { ...commands, perMinute: commands.perMinute / count } }),
    commandCount: partOf(plan.commandCount, shard),
  };
}

/** What a real daemon goes down to, and what a bare broker may be given. */
const intervalMinMs = { daemons: sampleIntervalMinMs, broker: 10 } as const;

/** @throws ProfileError, RecordingError */
export async function planOf(options: SimulationOptions): Promise<LoadPlan> {
  const { profile: path, slo, findKnee, shard, given } = options;
  const profile = path === undefined ? profileOf(options) : readFile(path);
  const { load: _load, slo: _slo, knee, ...rest } = profile;
  const leastMs = intervalMinMs[options.brokerOnly ? 'broker' : 'daemons'];
  const tooShort = profile.stages.find(({ interval }) => interval < leastMs);
  if (tooShort) {
    const wayOut = 'use a longer one, or --broker-only';
    const what = `${tooShort.interval} ms is less than the ${leastMs} ms daemons go down to`;
    throw new ProfileError(`stages: interval: ${what}; ${wayOut}`);
  }
  const wanted = findKnee ? (knee ?? Knee.parse({})) : null;
  const grows = wanted?.vary === 'nodes' ? wanted.nodesMax : 0;
  const plan: LoadPlan = {
    ...rest,
    seed: given.has('seed') ? options.seed : rest.seed,
    clusterPrefix: given.has('clusterPrefix') ? options.clusterPrefix : rest.clusterPrefix,
    slo: [...promisesOf(profile), ...slo],
    load: await loadOf(profile, path === undefined ? '.' : dirname(path)),
    knee: wanted,
    nodesMax: Math.max(grows, nodesMaxOf(profile.stages), 1),
    intervalMinMs: leastMs,
    shard: null,
    commandCount: options.commands,
  };
  return shard ? shardOf(plan, shard) : plan;
}
