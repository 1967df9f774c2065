/**
 * Binds the decide round to the stores: policies and migrations are read from SQL, the audit
 * entry is opened before a plan is dispatched and closed with the decision in one transaction.
 */
import { parse } from 'yaml';
import type { Clock, NewId } from '../broker/contract/ports.ts';
import type { Commands } from './act/commands.ts';
import { dispatch } from './act/dispatch.ts';
import { isPowerOff, isUnderWay } from './act/lifecycle.ts';
import { remembered } from './act/remembered.ts';
import { proofMaxAgeMs, proofsMin } from './act/wake-ways.ts';
import { appendAudit } from './audit/chain.ts';
import type { Foretold } from './decide/calibration.ts';
import { type Emptying, emptyingOf } from './decide/emptying.ts';
import type { Ordered } from './decide/deaths.ts';
import { emptyHistory, type History, type Move } from './decide/history.ts';
import type { Scaled } from './decide/sizing.ts';
import type { Plan } from './decide/plan.ts';
import type { PowerOff } from './decide/rest.ts';
import { Policy } from './decide/policy.ts';
import { needsProof, policyInForce } from './policy-in-force.ts';
import { createEffects, createMeasurer, type Effect } from './measure.ts';
import { createRecollection } from './recollection.ts';
import { createRound, type Decision, defaultPolicy } from './round.ts';
import type { ClusterRecord, Fleet } from './state/fleet.ts';
import type { Database } from './store/sql/database.ts';
import { insertDecision } from './store/sql/decisions.ts';
import { endEvacuation, restEvacuated } from './store/sql/evacuations.ts';
import { type Migration, recentMigrations } from './store/sql/moves.ts';
import { provenNodes } from './store/sql/proven.ts';
import { type RecentCommand, recentCommands } from './store/sql/recent-commands.ts';

export type DeciderDeps = {
  database: Database;
  fleet: Fleet;
  commands: Pick<Commands, 'submit' | 'rehearse' | 'lease'>;
  onDecision(decision: Decision): void;
  onOscillation(cluster: string): void;
  onRefusal(cluster: string, rule: string): void;
  clock: Clock;
  newId: NewId;
};

export type Decider = {
  /** Once before the clusters of a round are decided. */
  remember(clusters: readonly string[]): Promise<void>;
  round(cluster: ClusterRecord, nowMs: number): Promise<void>;
  /** Who would leave a node for a maintenance, and to where; null: there is no such node. */
  emptying(at: { cluster: string; node: string }): Emptying | null;
  /** How loads came beside what was foretold, by cluster. */
  foretold(): ReadonlyMap<string, Foretold>;
  /** What decisions promised beside what came, by cluster and fact. */
  effects(): ReadonlyMap<string, ReadonlyMap<string, Effect>>;
};

function append<T>(lists: Map<string, T[]>, cluster: string, one: T): void {
  const list = lists.get(cluster);
  if (list) list.push(one);
  else lists.set(cluster, [one]);
}

const failedStates: ReadonlySet<string> = new Set(['FAILED', 'EXPIRED', 'INDETERMINATE']);
const explaining: ReadonlySet<string> = new Set(['guest.stop', 'guest.restart']);

/** A start by a person ends the engine's row of attempts, as one that helped would. */
function recallOrders(
  history: History,
  commands: readonly RecentCommand[],
  offsetMs: number,
): void {
  const ordered = new Map<string, Ordered>();
  for (const { cluster, target, kind, state, byEngine, plannedAtMs } of commands) {
    const key = `${cluster}/${target}`;
    const known = ordered.get(key) ?? { startsAtMs: [], isStarting: false, otherAtMs: null };
    const atMs = plannedAtMs + offsetMs;
    if (explaining.has(kind)) ordered.set(key, { ...known, otherAtMs: atMs });
    if (kind !== 'guest.start') continue;
    const startsAtMs = byEngine ? [...known.startsAtMs, atMs] : [];
    const isStarting = known.isStarting || isUnderWay(state);
    ordered.set(key, { ...known, startsAtMs, isStarting });
  }
  history.deaths.ordered = ordered;
}

/** An uncertain change of size may be repeated, so nobody waits for its end. */
function recallScales(
  history: History,
  commands: readonly RecentCommand[],
  offsetMs: number,
): void {
  const scaled = new Map<string, Scaled>();
  for (const { cluster, target, kind, state, plannedAtMs } of commands) {
    if (kind !== 'guest.scale') continue;
    const key = `${cluster}/${target}`;
    scaled.set(key, {
      atMs: plannedAtMs + offsetMs,
      isOpen: isUnderWay(state),
      failures: failedStates.has(state) ? (scaled.get(key)?.failures ?? 0) + 1 : 0,
    });
  }
  history.scaled = scaled;
}

function recall(history: History, migrations: readonly Migration[], offsetMs: number): void {
  const inFlight = new Map<string, Move[]>();
  const moves = new Map<string, Move[]>();
  history.lastMovedAtMs.clear();
  for (const migration of migrations) {
    const { cluster, guest, fromNode, toNode, isOpen, byPerson, hasFailed } = migration;
    const atMs = migration.plannedAtMs + offsetMs;
    history.lastMovedAtMs.set(`${cluster}/${guest}`, atMs);
    const move: Move = { guest, fromNode, toNode, atMs, byPerson, failed: hasFailed };
    if (isOpen || migration.hasStarted) append(moves, cluster, move);
    if (isOpen) append(inFlight, cluster, move);
  }
  history.movesInFlight = inFlight;
  history.moves = moves;
  history.wallOffsetMs = -offsetMs;
}

function recallPowerOffs(
  history: History,
  commands: readonly RecentCommand[],
  offsetMs: number,
): void {
  const powerOffs = new Map<string, PowerOff[]>();
  for (const { cluster, target, kind, plannedAtMs } of commands) {
    if (!isPowerOff(kind)) continue;
    append(powerOffs, cluster, { node: target, atMs: plannedAtMs + offsetMs });
  }
  history.powerOffs = powerOffs;
}

/** Changed seldom, read in every round. */
const policiesKept = 256;

function createPolicyReader(): (cluster: ClusterRecord) => Policy {
  const parsed = remembered(policiesKept, (yaml) => Policy.parse(parse(yaml)));
  const inForce = remembered(policiesKept, (_text, cluster: ClusterRecord) =>
    policyInForce(
      cluster.policyYaml === null ? defaultPolicy : parsed(cluster.policyYaml),
      cluster,
    ),
  );
  return (cluster) => {
    const { policyHash, simulated, limits, settings } = cluster;
    return inForce(`${policyHash} ${simulated} ${limits} ${settings}`, cluster);
  };
}

/** Nodes that are empty rest from now on, and what has its guests back is forgotten. */
const noteMaintenance = (
  database: Database,
  { cluster, report }: Plan,
  atMs: number,
): Promise<void> =>
  database.transaction(async (trx) => {
    const note = (action: string, node: string) =>
      appendAudit(trx, {
        chain: cluster,
        actor: 'engine',
        action,
        subject: `node:${node}`,
        phase: 'done',
        detail: {},
        atMs,
      });
    for (const node of report.emptied ?? []) {
      if (await restEvacuated(trx, { cluster, node })) await note('node.maintenance-begun', node);
    }
    for (const node of report.returned ?? []) {
      if (await endEvacuation(trx, { cluster, node })) await note('node.guests-returned', node);
    }
  });

type Foresight = Pick<DeciderDeps, 'fleet' | 'clock'> & {
  history: History;
  policyOf: (cluster: ClusterRecord) => Policy;
};

/** The engine's own targets, with all that it remembers, for a maintenance nobody has begun. */
const createForesight =
  ({ fleet, clock, history, policyOf }: Foresight): Decider['emptying'] =>
  ({ cluster: id, node }) => {
    const cluster = fleet.clusters.get(id);
    if (cluster === undefined) return null;
    const nodes = [...(fleet.nodesByCluster.get(id)?.values() ?? [])];
    const policy = policyOf(cluster);
    return emptyingOf({ cluster, nodes, policy, history, nowMs: clock.monotonicMs() }, node);
  };

export function createDecider(deps: DeciderDeps): Decider {
  const { database, fleet, commands, clock } = deps;
  const history = emptyHistory();
  const policyOf = createPolicyReader();
  const effects = createEffects();
  const lookBack = createMeasurer({ db: database.db, fleet, clock, onMeasured: effects.note });
  const recollect = createRecollection({ database, fleet, history, clock });
  const round = createRound({
    ...deps,
    history,
    policyOf,
    epochOf: (cluster) => commands.lease.epochOf(cluster) ?? 0,
    dispatch: (plan, decisionId) =>
      dispatch(plan, decisionId, {
        fleet,
        submit: (submission) => commands.submit(submission),
        rehearse: (submission) => commands.rehearse(submission),
        nowMs: clock.monotonicMs(),
      }),
    openAudit: async (plan, decisionId) => {
      const { seq } = await database.transaction((trx) =>
        appendAudit(trx, {
          chain: plan.cluster,
          actor: 'engine',
          action: 'decision',
          subject: `decision:${decisionId}`,
          phase: 'opened',
          detail: { intents: plan.intents.map(({ rule, reason }) => ({ rule, reason })) },
          atMs: clock.wallMs(),
        }),
      );
      return seq;
    },
    onMaintenance: (plan) => noteMaintenance(database, plan, clock.wallMs()),
    closeAudit: (decision, openedSeq) =>
      database.transaction(async (trx) => {
        await insertDecision(trx, decision);
        if (openedSeq === null) return;
        await appendAudit(trx, {
          chain: decision.cluster,
          actor: 'engine',
          action: 'decision',
          subject: `decision:${decision.id}`,
          phase: 'closed',
          openedSeq,
          detail: { outcome: decision.outcome },
          atMs: clock.wallMs(),
        });
      }),
  });
  return {
    round,
    emptying: createForesight({ fleet, clock, history, policyOf }),
    foretold: () => history.calibrations.foretold,
    effects: effects.of,
    async remember(clusters) {
      const nowMs = clock.wallMs();
      // SQL stamps are wall time, the engine's are monotonic; both are this server's own.
      const offsetMs = clock.monotonicMs() - nowMs;
      recall(history, await recentMigrations(database.db, clusters, nowMs), offsetMs);
      const recent = await recentCommands(database.db, clusters, nowMs);
      recallScales(history, recent, offsetMs);
      recallOrders(history, recent, offsetMs);
      recallPowerOffs(history, recent, offsetMs);
      history.proven = await provenNodes(database.db, {
        clusters: clusters.filter((id) => {
          const cluster = fleet.clusters.get(id);
          return cluster !== undefined && needsProof(cluster);
        }),
        sinceMs: nowMs - proofMaxAgeMs,
        proofsMin,
      });
      await recollect(clusters);
      await lookBack(clusters);
    },
  };
}
