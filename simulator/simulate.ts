/**
 * One run: a world, a fleet of real daemons against a real server, the stages of a plan, and the
 * figures. The generator is an open loop: daemons sample at their own times whatever the server
 * does, and latency counts from those times. Nothing here reaches into the server but its public
 * faces.
 */
import type { Clock, Log, NewId } from '../broker/contract/ports.ts';
import { type FilePort, memoryFiles, nodeFiles } from '../daemon/command/files.ts';
import { ApiError } from './api.ts';
import { type CommandOutcome, runCommands } from './commands.ts';
import { createFleet, type Fleet } from './fleet.ts';
import { type Measured, reportOf } from './figures.ts';
import type { OpenBreakable } from './line.ts';
import { type LiveWorld, liveWorld } from './live-world.ts';
import { runCommandRate } from './load/command-rate.ts';
import { createDriver, type Driver, pause } from './load/drive.ts';
import { playFaults } from './load/faults.ts';
import { type KneeSearch, nextLoad, stageOfLoad, type Tried } from './load/knee.ts';
import type { LoadPlan } from './load/plan.ts';
import type { Stage } from './load/profile.ts';
import { type StageFigures, stageOf } from './load/rows.ts';
import { firstNodesOf } from './load/stages.ts';
import { seededRandom, seedOf, seedOfName } from './prng.ts';
import { holdsStage, type Report } from './report.ts';
import type { Place } from './scenarios/scenario.ts';
import type { FleetTraffic, MakeExecutor } from './seat.ts';
import type { Held, Target } from './target.ts';
import { usageOf, watchPace } from './usage.ts';
import { buildFleetWorld } from './world/build.ts';
import type { EffectRecord } from './world/model.ts';

export type SimulationDeps = {
  target: Target;
  clock: Clock;
  newId: NewId;
  log: Log;
  /** Of this software. */
  version: string;
  makeExecutor: MakeExecutor;
  openClient: OpenBreakable;
  /** The CA that the broker's certificate must come from. */
  caSha256: string | null;
  /** Keeps the journals of the daemons there instead of in memory. */
  journalDir: string | undefined;
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

type Run = {
  plan: LoadPlan;
  deps: SimulationDeps;
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

async function sendCommands(run: Run, isOver: () => boolean): Promise<CommandOutcome | null> {
  const { plan, deps, live, fleet } = run;
  const { api } = deps.target;
  if (!api || (plan.commandCount === 0 && !plan.commands)) return null;
  const clusters = [...live.world.clusters.values()].map(({ id, nodes }) => ({
    id,
    nodes: nodes.map(({ spec }) => spec.node),
  }));
  const { clock, newId, log, signal } = deps;
  const asking = { api, clock, newId, log };
  if (plan.commands) {
    const { perMinute, mix } = plan.commands;
    const random = seededRandom(seedOfName(plan.seed, 'commands'));
    const inUse = () =>
      clusters.slice(0, Math.max(1, Math.ceil(fleet.wanted() / plan.nodesPerCluster)));
    return runCommandRate({
      ...asking,
      perMinute,
      mix,
      clusters: inUse,
      random,
      isStopped: isOver,
    });
  }
  return runCommands({
    ...asking,
    clusters,
    count: plan.commandCount,
    sampledWithinMs: (plan.stages[0]?.interval ?? 0) + foldMaxMs,
    isStopped: () => signal.aborted,
  });
}

const usages = ({ deps }: Run) => ({
  own: usageOf(deps.pid),
  backend: usageOf(deps.target.pid()),
});

/** What the store holds, once it holds everything or nothing more comes; null: nobody can tell. */
async function storedSamples(run: Run, sinceMs: number, taken: number): Promise<Held | null> {
  let stored: Held | null = null;
  await waitFor(run, storedMaxMs, async () => {
    try {
      stored = await run.deps.target.stored(sinceMs);
      if (stored === null || stored.isFinal === true) return true;
      return stored.missing === 0 && stored.samples >= taken;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return false;
    }
  });
  return stored;
}

/** Steps of growing load until one breaks a promise, then closer; answers what was tried. */
async function findKnee(run: Run, driver: Driver, search: KneeSearch) {
  const { plan, deps } = run;
  const [{ nodes, interval: intervalMs }] = plan.stages as [Stage];
  const tried: Tried[] = [];
  const steps: StageFigures[] = [];
  for (let index = 0; !deps.signal.aborted; index += 1) {
    const load = nextLoad({ nodes, intervalMs }, tried, search);
    if (!load) break;
    const stage = stageOfLoad(load, search);
    await driver.stage(index, stage);
    await driver.settle();
    const figures = stageOf(driver.rows, index, stage);
    const holds = holdsStage(figures, plan.slo);
    tried.push({ load, holds });
    steps.push(figures);
    deps.onProgress(
      `${load.nodes} nodes at ${load.intervalMs} ms: ${figures.sentPerSecond ?? 0}/s, ` +
        `p99 ${figures.publishToStateMs.p99 ?? 'unknown'} ms, ${holds ? 'holds' : 'breaks'}`,
    );
  }
  return { steps, tried };
}

async function goThrough(run: Run, driver: Driver): Promise<Pick<Measured, 'stages' | 'tried'>> {
  const { plan, deps } = run;
  if (plan.knee) {
    const search = { ...plan.knee, intervalMinMs: plan.intervalMinMs };
    const { steps, tried } = await findKnee(run, driver, search);
    return { stages: steps, tried };
  }
  for (const [index, stage] of plan.stages.entries()) {
    if (!deps.signal.aborted) await driver.stage(index, stage);
  }
  await driver.settle();
  const stages = plan.stages.map((stage, index) => stageOf(driver.rows, index, stage));
  return { stages, tried: null };
}

async function measure(run: Run): Promise<Measured> {
  const { plan, deps, live, fleet } = run;
  const { clock, target, signal, onProgress, pid } = deps;
  const startWallMs = clock.wallMs();
  const first = firstNodesOf(plan.stages);
  fleet.resize(first);
  const readingAtStart = await target.read();
  onProgress(`starting ${first} daemons`);
  const { connected, connectMs } = await fleet.start(connectMaxMs);
  onProgress(`${connected} of ${first} connected in ${Math.round(connectMs)} ms`);
  const pace = watchPace();
  const faultRandom = seededRandom(seedOfName(plan.seed, 'faults'));
  const faults = playFaults(plan.faults, fleet, faultRandom);
  const { scenario } = plan;
  const parts = { clock, live, fleet, target, faults, pace, scenario, pid, signal, onProgress };
  const driver = createDriver(parts);
  const [readingBefore, usageBefore] = [await target.read(), usages(run)];
  const startMs = clock.monotonicMs();
  let isOver = false;
  const commands = sendCommands(run, () => isOver || signal.aborted);
  const { stages, tried } = await goThrough(run, driver).finally(() => (isOver = true));
  const outcome = await commands;
  const durationMs = clock.monotonicMs() - startMs;
  const lagP99Ms = pace.lagP99Ms();
  pace.stop();
  faults.stop();
  const [readingAfter, usageAfter] = [await target.read(), usages(run)];
  onProgress('waiting until the server has confirmed every sample');
  const counters = fleet.counters();
  fleet.endSampling();
  await waitFor(run, settleMaxMs, () => fleet.unconfirmed() === 0);
  await fleet.stop();
  const { samples, sent, replayed } = fleet.counters();
  const skewMs = plan.faults.clockSkew?.by ?? 0;
  const stored = await storedSamples(run, startWallMs - skewMs, samples);
  return {
    durationMs,
    connected,
    connectMs,
    readingAtStart,
    readingBefore,
    readingAfter,
    readingAtEnd: await target.read(),
    usageBefore,
    usageAfter,
    lagP99Ms,
    stored,
    outcome,
    // Skipped and dropped after the end of sampling say nothing.
    counters: { ...counters, samples, sent, replayed },
    tally: fleet.tally(),
    faults: faults.counts(),
    stages,
    tried,
    rows: driver.rows,
  };
}

/** Half of the chosen nodes are ahead, half behind; the same for one seed. */
function skewOf({ seed, faults: { clockSkew } }: LoadPlan, { cluster, node }: Place): number {
  if (!clockSkew) return 0;
  const draw = seededRandom(seedOf(seedOfName(seed, `${cluster}/${node}`), 77));
  if (draw.ratio() >= clockSkew.ratio) return 0;
  return draw.ratio() < 0.5 ? -clockSkew.by : clockSkew.by;
}

const trafficOf = (plan: LoadPlan): FleetTraffic => ({
  qos: plan.qos,
  isAligned: plan.aligned,
  malformedRatio: plan.faults.malformed ?? 0,
  duplicateRatio: plan.faults.duplicates ?? 0,
  skewMsOf: (place) => skewOf(plan, place),
  connectRate: plan.connectRate ?? null,
});

/** @throws ApiError when the server refuses or is not there. */
export async function runSimulation(plan: LoadPlan, deps: SimulationDeps): Promise<Report> {
  const { clock, target } = deps;
  const world = buildFleetWorld({
    ...plan,
    nodes: plan.nodesMax,
    guestsPerNode: plan.guests,
    startMs: clock.wallMs(),
  });
  const live = liveWorld(world, clock);
  if (deps.onEffect) live.onEffect(deps.onEffect);
  const disks: FilePort[] = [];
  const diskOf = ({ cluster, node }: Place): FilePort => {
    const { journalDir } = deps;
    const disk =
      journalDir === undefined ? memoryFiles() : nodeFiles(`${journalDir}/${cluster}/${node}`);
    disks.push(disk);
    return disk;
  };
  try {
    const credentials = await target.enrol(world);
    const fleet = createFleet(
      {
        ...deps,
        live,
        mqttUrl: target.mqttUrl,
        intervalMs: plan.stages[0]?.interval ?? 0,
        credentials,
        diskOf,
        load: trafficOf(plan),
      },
      target.makeSeat,
    );
    const run: Run = { plan, deps, live, fleet };
    try {
      return reportOf(plan, live, await measure(run));
    } finally {
      await fleet.stop();
    }
  } finally {
    live.stop();
    for (const disk of disks) await disk.close();
    await target.close();
  }
}
