/**
 * Backtests as people ask for them: one runs at a time, the newest results are kept in memory, a
 * running one tells how far it is and can be cancelled. Nothing here touches a cluster: telemetry
 * and facts are read, no command is ever made.
 */
import type { Clock, Log, NewId } from '../../broker/contract/ports.ts';
import type { Policy } from '../decide/policy.ts';
import { policyInForce } from '../policy-in-force.ts';
import type { Refused } from '../refusal.ts';
import type { ClusterRecord, Fleet } from '../state/fleet.ts';
import type { MetricsStore } from '../store/ports.ts';
import type { FactsChange } from './reel.ts';
import { reelsOf, sourceOf, stretchesOf } from './load.ts';
import type { Outcome } from './outcome.ts';
import type { Setup } from './replay.ts';
import type { Player } from './runner.ts';

export type BacktestState = 'running' | 'done' | 'cancelled' | 'failed';
export type Backtest = {
  id: string;
  cluster: string;
  actor: string;
  state: BacktestState;
  startedAtMs: number;
  finishedAtMs: number | null;
  fromMs: number;
  toMs: number;
  /** Share of the time that is replayed. */
  progress: number;
  outcome: Outcome | null;
  problem: string | null;
};

export type BacktestOrder = {
  cluster: string;
  policy: Policy;
  fromMs: number;
  toMs: number;
  pricePerKwh: number | null;
  actor: string;
};

export type BacktestDeps = {
  fleet: () => Fleet;
  metrics: Pick<MetricsStore, 'range' | 'finestStepMs'>;
  /** What was true of a cluster's nodes and guests at a moment, and every change until another. */
  facts(cluster: string, span: { fromMs: number; toMs: number }): Promise<FactsChange[]>;
  player(setup: Setup): Player;
  /** Where an order names none. */
  pricePerKwh: number | null;
  clock: Clock;
  newId: NewId;
  log: Log;
};

export type Backtests = {
  start(order: BacktestOrder): { ok: true; backtest: Backtest } | Refused;
  get(id: string): Backtest | undefined;
  /** The newest first. */
  list(): Backtest[];
  cancel(id: string): Promise<Backtest | undefined>;
  stop(): Promise<void>;
};

const keptMax = 20;
const minuteMs = 60_000;
/** A scaled cluster lives an hour in a minute; its samples come every 5 s. */
const stepMinMs = 5_000;

const stepMsOf = ({ timeScale }: ClusterRecord): number =>
  Math.max(stepMinMs, Math.round(minuteMs / timeScale / stepMinMs) * stepMinMs);

const refused = (id: string): Refused => ({
  ok: false,
  refusal: {
    status: 409,
    code: 'KR_BACKTEST_RUNS',
    field: '',
    detail: `backtest ${id} runs, and only one does at a time`,
    wayOut: `wait for it, or DELETE /api/v1/backtests/${id}`,
  },
});

const begun = (order: BacktestOrder, id: string, startedAtMs: number): Backtest => ({
  id,
  cluster: order.cluster,
  actor: order.actor,
  state: 'running',
  startedAtMs,
  finishedAtMs: null,
  fromMs: order.fromMs,
  toMs: order.toMs,
  progress: 0,
  outcome: null,
  problem: null,
});

/** Hands stretch after stretch to the player; the next is read while one is played. */
async function play(
  deps: BacktestDeps,
  { backtest, order, player }: { backtest: Backtest; order: BacktestOrder; player: Player },
): Promise<void> {
  const { cluster, fromMs, toMs } = order;
  const record = deps.fleet().clusters.get(cluster);
  const nodes = deps.fleet().nodesByCluster.get(cluster)?.values() ?? [];
  let rows = 0;
  for (const node of nodes) rows += 1 + (node.guests?.length ?? 0);
  const span = { fromMs, toMs, stepMs: record ? stepMsOf(record) : minuteMs };
  const finest = (atMs: number): number => deps.metrics.finestStepMs(atMs);
  let playing: Promise<void> = Promise.resolve();
  for (const stretch of stretchesOf(span, rows, finest)) {
    const reels = await reelsOf(deps.metrics, cluster, stretch);
    await playing;
    if (backtest.state !== 'running') return;
    backtest.progress = (stretch.fromMs - fromMs) / (toMs - fromMs);
    playing = (async () => {
      for (const reel of reels) await player.play(reel, sourceOf(stretch, finest));
    })();
    playing.catch(() => undefined);
  }
  await playing;
  backtest.outcome = await player.end();
  backtest.progress = 1;
}

/** @param onPlayer hears of the thread as soon as it is there, so that it can be ended */
async function run(
  deps: BacktestDeps,
  { backtest, order }: { backtest: Backtest; order: BacktestOrder },
  onPlayer: (player: Player) => void,
): Promise<void> {
  const { cluster: id, policy, fromMs, toMs, pricePerKwh } = order;
  const cluster = deps.fleet().clusters.get(id) ?? { id, simulated: false, timeScale: 1 };
  const nodes = [...(deps.fleet().nodesByCluster.get(id)?.values() ?? [])];
  try {
    const facts = await deps.facts(id, { fromMs, toMs });
    if (backtest.state !== 'running') return;
    const player = deps.player({
      cluster: { id, simulated: cluster.simulated, timeScale: cluster.timeScale },
      policy: policyInForce(policy, cluster),
      facts,
      fromMs,
      toMs,
      protectedNodes: nodes.filter((node) => node.protected).map(({ node }) => node),
      pricePerKwh: pricePerKwh ?? deps.pricePerKwh,
    });
    onPlayer(player);
    await play(deps, { backtest, order, player });
    await player.stop();
    if (backtest.state === 'running') backtest.state = 'done';
  } catch (error) {
    if (backtest.state !== 'running') return;
    backtest.state = 'failed';
    backtest.problem = (error as Error).message;
    deps.log.warn({ err: error, cluster: id, backtest: backtest.id }, 'backtest failed');
  }
}

export function createBacktests(deps: BacktestDeps): Backtests {
  const { clock } = deps;
  const kept = new Map<string, Backtest>();
  let running: { id: string; player: Player | null; finished: Promise<void> } | null = null;

  return {
    start(order) {
      if (running) {
        return refused(running.id);
      }
      const id = deps.newId();
      const backtest = begun(order, id, clock.wallMs());
      kept.set(id, backtest);
      const [oldest] = kept.keys();
      if (kept.size > keptMax && oldest !== undefined) kept.delete(oldest);
      running = { id, player: null, finished: Promise.resolve() };
      running.finished = run(deps, { backtest, order }, (player) => {
        if (running) running.player = player;
      }).finally(() => {
        backtest.finishedAtMs = clock.wallMs();
        running = null;
      });
      return { ok: true, backtest };
    },
    get: (id) => kept.get(id),
    list: () => [...kept.values()].toReversed(),
    async cancel(id) {
      const backtest = kept.get(id);
      if (backtest?.state !== 'running' || running?.id !== id) return backtest;
      backtest.state = 'cancelled';
      const { player, finished } = running;
      await player?.stop();
      await finished;
      return backtest;
    },
    async stop() {
      if (running) await this.cancel(running.id);
    },
  };
}
