/**
 * One run: a world, a fleet of real daemons against a real server, a scenario, and the figures.
 * The generator is an open loop: daemons sample at their own times whatever the server does, and
 * latency counts from those times. Nothing here reaches into the server but its public faces.
 */
import type { Clock, Log, NewId } from '../broker/contract/ports.ts';
import { type FilePort, memoryFiles, nodeFiles } from '../daemon/command/files.ts';
import { type Api, ApiError, createApi } from './api.ts';
import { type CommandOutcome, runCommands } from './commands.ts';
import type { Server } from './config.ts';
import { createFleet, type Fleet } from './fleet.ts';
import { type Measured, reportOf } from './figures.ts';
import type { OpenBreakable } from './line.ts';
import { type LiveWorld, liveWorld } from './live-world.ts';
import type { SimulationOptions } from './options.ts';
import type { Report } from './report.ts';
import { scenarios } from './scenarios/index.ts';
import type { Place, ScenarioEvent } from './scenarios/scenario.ts';
import type { FleetCredential, MakeExecutor } from './seat.ts';
import { usageOf, watchPace } from './usage.ts';
import { buildFleetWorld } from './world/build.ts';
import { type EffectRecord, findGuest, findNode, type World } from './world/model.ts';
import { crash, powerOn } from './world/node-effects.ts';

export type SimulationDeps = {
  server: Server;
  clock: Clock;
  newId: NewId;
  log: Log;
  /** Of this software. */
  version: string;
  makeExecutor: MakeExecutor;
  openClient: OpenBreakable;
  /** This process. */
  pid: number;
  onProgress: (line: string) => void;
  onEffect?: (record: EffectRecord) => void;
  /** Ends the run early, with its report. */
  signal: AbortSignal;
};

const connectMaxMs = 60_000;
/** Receipts come every 10 s; after a break what is missing is sent again, some per second. */
const settleMaxMs = 60_000;
const storedMaxMs = 30_000;
const lookEveryMs = 500;
/** From a daemon's sample to the server's answer, generously. */
const foldMaxMs = 1_000;

export const pause = (clock: Clock, delayMs: number): Promise<void> =>
  new Promise((resolve) => void clock.after(delayMs, () => resolve()));

/** Enrols every node of the world; the answer holds what each daemon signs in with. */
export async function enrolAll(api: Api, world: World): Promise<FleetCredential[]> {
  const all: FleetCredential[] = [];
  for (const { id, nodes } of world.clusters.values()) {
    const { credentials, serverId, serverKeys } = await api.enrol(
      id,
      nodes.map(({ spec }) => spec.node),
    );
    all.push(...credentials.map((one) => ({ ...one, cluster: id, serverId, serverKeys })));
  }
  return all;
}

/** Carries out what a scenario wants: in the world, or on the daemons' network. */
export function apply(live: LiveWorld, fleet: Fleet, event: ScenarioEvent): void {
  if (event.kind === 'drop') return fleet.drop(event.places);
  if (event.kind === 'restart') return fleet.restart(event.places);
  live.change((world) => {
    if (event.kind === 'load') {
      const guest = findGuest(world, event.cluster, event.guest);
      if (guest) guest.forcedRatio = event.ratio;
      return;
    }
    const node = findNode(world, event.cluster, event.node);
    if (!node) return;
    if (event.kind === 'crash') crash(world, node);
    else if (event.kind === 'power-on') powerOn(world, node, 'node.boot', null);
    else node.bootFailures = event.count;
  });
}

type Run = {
  options: SimulationOptions;
  deps: SimulationDeps;
  api: Api;
  live: LiveWorld;
  fleet: Fleet;
};

/** Waits for what may never come; false when it did not. */
async function waitFor(
  { deps }: Run,
  limitMs: number,
  isTrue: () => boolean | Promise<boolean>,
): Promise<boolean> {
  const { clock } = deps;
  const deadlineMs = clock.monotonicMs() + limitMs;
  while (!(await isTrue())) {
    if (clock.monotonicMs() >= deadlineMs) return false;
    await pause(clock, lookEveryMs);
  }
  return true;
}

async function playScenario(run: Run, durationMs: number): Promise<void> {
  const { options, deps, live, fleet } = run;
  const scenario = scenarios.get(options.scenario);
  const startMs = deps.clock.monotonicMs();
  for (let second = 0; second * 1000 < durationMs && !deps.signal.aborted; second += 1) {
    const waitMs = startMs + second * 1000 - deps.clock.monotonicMs();
    if (waitMs > 0) await pause(deps.clock, waitMs);
    const events = live.change((world) => scenario?.events(world, second * 1000) ?? []);
    for (const event of events) apply(live, fleet, event);
    const { samples, replayed } = fleet.counters();
    deps.onProgress(
      `${second} of ${durationMs / 1000} s: ${fleet.connected()} of ${fleet.running()} daemons ` +
        `connected, ${samples} samples, ${replayed} replayed, ${live.world.log.length} effect lines`,
    );
  }
  const restMs = startMs + durationMs - deps.clock.monotonicMs();
  if (restMs > 0 && !deps.signal.aborted) await pause(deps.clock, restMs);
}

async function sendCommands(run: Run): Promise<CommandOutcome | null> {
  const { options, deps, api, live } = run;
  if (options.commands === 0) return null;
  const clusters = [...live.world.clusters.values()].map(({ id, nodes }) => ({
    id,
    nodes: nodes.map(({ spec }) => spec.node),
  }));
  const { clock, newId, log, signal } = deps;
  return runCommands({
    api,
    clusters,
    count: options.commands,
    clock,
    newId,
    log,
    sampledWithinMs: options.interval * 1000 + foldMaxMs,
    isStopped: () => signal.aborted,
  });
}

const usages = ({ deps }: Run) => ({
  own: usageOf(deps.pid),
  backend: usageOf(deps.server.pid()),
});

/** What the store holds, once it holds everything or nothing more comes; null: nobody can tell. */
async function storedSamples(
  run: Run,
  sinceMs: number,
  taken: number,
): Promise<Measured['stored']> {
  let stored: Measured['stored'] = null;
  let isUnknown = false;
  await waitFor(run, storedMaxMs, async () => {
    try {
      stored = await run.api.missing(sinceMs);
      return stored.missing === 0 && stored.samples >= taken;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      isUnknown = error.code !== 'KR_UNREACHABLE';
      return isUnknown;
    }
  });
  if (isUnknown) run.deps.log.warn({}, 'the server does not say which samples are missing');
  return stored;
}

/** A server that is away for a moment has no metrics; an empty page counts as none. */
const metricsOf = ({ api, deps }: Run): Promise<string> =>
  api.metricsText().catch((error: unknown) => {
    deps.log.warn({ error }, 'the metrics of the server could not be read');
    return '';
  });

async function measure(run: Run): Promise<Measured> {
  const { options, deps, fleet } = run;
  const startWallMs = deps.clock.wallMs();
  deps.onProgress(`starting ${options.nodes} daemons`);
  const { connected, connectMs } = await fleet.start(connectMaxMs);
  deps.onProgress(`${connected} of ${options.nodes} connected in ${Math.round(connectMs)} ms`);
  const [metricsBefore, usageBefore] = [await metricsOf(run), usages(run)];
  const pace = watchPace();
  const startMs = deps.clock.monotonicMs();
  const [outcome] = await Promise.all([
    sendCommands(run),
    playScenario(run, Math.round(options.minutes * 60_000)),
  ]);
  const durationMs = deps.clock.monotonicMs() - startMs;
  const lagP99Ms = pace.lagP99Ms();
  pace.stop();
  const [metricsAfter, usageAfter] = [await metricsOf(run), usages(run)];
  deps.onProgress('waiting until the server has confirmed every sample');
  const counters = fleet.counters();
  fleet.endSampling();
  await waitFor(run, settleMaxMs, () => fleet.unconfirmed() === 0);
  const unconfirmed = fleet.unconfirmed();
  await fleet.stop();
  const { samples, sent, replayed } = fleet.counters();
  const stored = await storedSamples(run, startWallMs, samples);
  return {
    durationMs,
    connected,
    connectMs,
    metricsBefore,
    metricsAfter,
    usageBefore,
    usageAfter,
    lagP99Ms,
    stored,
    outcome,
    unconfirmed,
    // Skipped and dropped after the end of sampling say nothing.
    counters: { ...counters, samples, sent, replayed },
  };
}

/** Tells the server how much its engine may do here and how fast time goes. */
async function setUpClusters({ options, api, live }: Omit<Run, 'fleet'>): Promise<void> {
  const change = {
    ...(options.timeScale === 1 ? {} : { timeScale: options.timeScale }),
    ...(options.auto ? { autonomy: { 'guest.migrate': 'auto' } } : {}),
  };
  if (Object.keys(change).length === 0) return;
  for (const cluster of live.world.clusters.keys()) await api.changeCluster(cluster, change);
}

/** @throws ApiError when the server refuses or is not there. */
export async function runSimulation(
  options: SimulationOptions,
  deps: SimulationDeps,
): Promise<Report> {
  const { clock, server } = deps;
  const world = buildFleetWorld({
    ...options,
    guestsPerNode: options.guests,
    startMs: clock.wallMs(),
  });
  const live = liveWorld(world, clock);
  if (deps.onEffect) live.onEffect(deps.onEffect);
  const api = createApi(server);
  const disks: FilePort[] = [];
  const diskOf = ({ cluster, node }: Place): FilePort => {
    const { journalDir } = options;
    const disk =
      journalDir === undefined ? memoryFiles() : nodeFiles(`${journalDir}/${cluster}/${node}`);
    disks.push(disk);
    return disk;
  };
  try {
    const credentials = await enrolAll(api, world);
    await setUpClusters({ options, deps, api, live });
    const intervalMs = Math.round(options.interval * 1000);
    const { mqttUrl } = server;
    const fleet = createFleet({ ...deps, live, mqttUrl, intervalMs, credentials, diskOf });
    const run: Run = { options, deps, api, live, fleet };
    try {
      return reportOf(options, live, await measure(run));
    } finally {
      await fleet.stop();
    }
  } finally {
    live.stop();
    for (const disk of disks) await disk.close();
    await api.close();
  }
}
