/**
 * The loop, as one sentence: drain what arrived, reduce it into the state, decide on state, policy
 * and now, open the audit entries, dispatch the plan. It runs at its own pace: an arrival may wake
 * it early, never tell it what to do, and at most one tick runs.
 */
import type { Cancel, Clock, Log } from '../broker/contract/ports.ts';
import type { ClusterRecord, Fleet } from './state/fleet.ts';
import { factsChanges, type FactsChange } from './state/facts.ts';
import type { StateInput } from './state/inputs.ts';
import { reduce } from './state/reduce.ts';

const tickMs = 1_000;
/** A burst of arrivals is folded together; p99 of publish-to-state is this plus the fold. */
const wakeMs = 40;
const roundMs = 10_000;
/** Rows of facts written per tick, so that a first sight of 40,000 guests never blocks it. */
const factsPerTickMax = 2_000;

export type PipelineDeps = {
  fleet: Fleet;
  ingest: { drain(): StateInput[]; onArrival(listener: () => void): void };
  /** What SQL knows of clusters and nodes; once a tick. */
  administration(): Promise<StateInput & { kind: 'administration' }>;
  saveFacts(changes: readonly FactsChange[], atMs: number): Promise<void>;
  /** Once before the clusters of a round. */
  remember(clusters: readonly string[]): Promise<void>;
  /** Decides and acts for one cluster; only called for clusters whose lease we hold. */
  round(cluster: ClusterRecord, nowMs: number): Promise<void>;
  leads(cluster: string): boolean;
  /** Seconds from the intended sampling time to being part of the state. */
  onFolded(latencyMs: number): void;
  clock: Clock;
  log: Log;
};

export type Pipeline = { start(): void; stop(): Promise<void> };

/** Folds what arrived and remembers what of it is worth keeping for ever. */
function createFold(deps: PipelineDeps) {
  const { fleet, ingest, clock } = deps;
  let facts: FactsChange[] = [];
  return {
    run(): void {
      for (const input of ingest.drain()) {
        facts.push(...factsChanges(fleet, input));
        reduce(fleet, input);
        if (input.kind === 'telemetry') {
          deps.onFolded(clock.wallMs() - input.message.body.sampledAtMs);
        }
      }
    },
    dueFacts: (): readonly FactsChange[] => facts.slice(0, factsPerTickMax),
    factsSaved: (count: number): void => void (facts = facts.slice(count)),
  };
}

/** The slow half of a tick; each part fails alone, so a store that is down spoils no picture. */
function createTick(deps: PipelineDeps, fold: ReturnType<typeof createFold>) {
  const { fleet, clock, log } = deps;
  let lastRoundMs = -Infinity;

  async function saveFacts(): Promise<void> {
    const due = fold.dueFacts();
    if (due.length === 0) return;
    await deps.saveFacts(due, clock.wallMs());
    fold.factsSaved(due.length);
  }

  async function decideAll(nowMs: number): Promise<void> {
    if (nowMs - lastRoundMs < roundMs) return;
    lastRoundMs = nowMs;
    const led = [...fleet.clusters.values()].filter(({ id, hold }) => !hold && deps.leads(id));
    await deps.remember(led.map(({ id }) => id));
    for (const cluster of led) await deps.round(cluster, nowMs);
  }

  async function attempt(part: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      log.warn({ err: error, part }, 'part of a tick failed, the next tick tries again');
    }
  }

  return async function tick(): Promise<void> {
    fold.run();
    await attempt('administration', async () => reduce(fleet, await deps.administration()));
    await attempt('facts', saveFacts);
    await attempt('decide', () => decideAll(clock.monotonicMs()));
  };
}

export function createPipeline(deps: PipelineDeps): Pipeline {
  const { clock } = deps;
  const fold = createFold(deps);
  const tick = createTick(deps, fold);
  let cancelTick: Cancel = () => undefined;
  let cancelFold: Cancel | null = null;
  let running: Promise<void> = Promise.resolve();
  let isStopped = true;

  const loop = async (): Promise<void> => {
    running = tick();
    await running;
    if (!isStopped) cancelTick = clock.after(tickMs, loop);
  };

  deps.ingest.onArrival(() => {
    if (isStopped || cancelFold !== null) return;
    cancelFold = clock.after(wakeMs, () => {
      cancelFold = null;
      fold.run();
    });
  });

  return {
    start() {
      isStopped = false;
      cancelTick = clock.after(0, loop);
    },
    async stop() {
      isStopped = true;
      cancelTick();
      cancelFold?.();
      await running;
    },
  };
}
