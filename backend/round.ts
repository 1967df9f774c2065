/**
 * One decide round of one cluster: observe, decide, open the audit entry, dispatch, close it, and
 * keep the decision. A round that finds the same reasons as before keeps nothing, so that silence
 * costs no rows.
 */
import { createHash } from 'node:crypto';
import type { Clock, NewId } from '../broker/contract/ports.ts';
import type { Dispatched } from './act/dispatch.ts';
import { decide } from './decide/decide.ts';
import { type History, observe, record } from './decide/history.ts';
import type { Situation } from './decide/model.ts';
import { flipText } from './decide/change.ts';
import { smallestFlip } from './decide/flip.ts';
import type { NonAction, Plan } from './decide/plan.ts';
import { Policy } from './decide/policy.ts';
import { noteRefusal } from './decide/refusals.ts';
import type { ClusterRecord, Fleet } from './state/fleet.ts';
import type { Decisions } from './store/sql/schema.ts';

export type Decision = Omit<Decisions, 'ver' | 'measured'>;

export type RoundDeps = {
  fleet: Fleet;
  history: History;
  /** The active policy of a cluster, checked when it was stored. */
  policyOf(cluster: ClusterRecord): Policy;
  epochOf(cluster: string): number;
  dispatch(plan: Plan, decisionId: string): Promise<Dispatched[]>;
  /** Opens the audit entry of a plan and answers its place in the chain. */
  openAudit(plan: Plan, decisionId: string): Promise<number>;
  /** Closes it and keeps the decision, in one transaction. */
  closeAudit(decision: Decision, openedSeq: number | null): Promise<void>;
  /** A maintenance has come to its next step: nodes are empty, or have their guests back. */
  onMaintenance(plan: Plan): Promise<void>;
  onDecision(decision: Decision): void;
  /** The engine has just stopped itself in a cluster. */
  onOscillation(cluster: string): void;
  /** A refusal that was not there in the round before. */
  onRefusal(cluster: string, rule: string): void;
  clock: Clock;
  newId: NewId;
};

export const defaultPolicy: Policy = Policy.parse({});

function outcomeOf(results: readonly Dispatched[]): Decision['outcome'] {
  const submitted = results.filter((result) => result.outcome === 'submitted');
  if (submitted.some((result) => result.state !== 'PLANNED')) return 'acted';
  if (submitted.length > 0) return 'awaiting-approval';
  if (results.some((result) => result.outcome === 'shown')) return 'recommended';
  return results.length > 0 ? 'dropped' : 'nothing';
}

/** Denied by the guards, or overtaken by the world: the next round tries something else. */
const isRefused = (result: Dispatched): boolean =>
  result.outcome === 'dropped' || (result.outcome === 'submitted' && result.state === 'REJECTED');

const codeOf = (result: Dispatched): string | undefined =>
  result.outcome === 'submitted' ? result.deniedBy : undefined;

/** What the rule saw, so that the same inputs can be recognised and replayed. */
const inputsOf = ({ nodes, policy, nowMs }: Situation): string =>
  JSON.stringify({
    policy,
    nowMs,
    nodes: nodes.map((node) => [node.node, node.seq, node.incarnation, node.values, node.guests]),
  });

/** Reasons without their numbers: what must change before a non-action is worth a new row. */
const signature = (plan: Plan): string =>
  [
    ...plan.intents.map(({ rule, target, executor }) => `${rule} ${target.id} ${executor}`),
    ...plan.report.nonActions.map(({ subject, reason }) => `${subject.id} ${reason}`),
  ]
    .join('|')
    .replaceAll(/\d+(\.\d+)?/g, '#');

/** An unchanged finding is kept again after this long, so that a long one stays visible. */
const repeatMs: Record<Decision['outcome'], number> = {
  acted: 0,
  'awaiting-approval': 0,
  recommended: 300_000,
  dropped: 30_000,
  nothing: 300_000,
};

/** Refusals of one decision for which a change is looked for and tried. */
const flipsMax = 4;

const withFlips = ({ report }: Plan, situation: Situation): NonAction[] =>
  report.nonActions.map((refusal, at) => {
    const changes = at < flipsMax ? smallestFlip(refusal, situation) : null;
    return changes === null ? refusal : { ...refusal, verified: flipText(changes) };
  });

type Kept = { signature: string; outcome: Decision['outcome']; atMs: number };

/** Tells of what a report says for the first time. */
function createNews(deps: Pick<RoundDeps, 'onOscillation' | 'onRefusal'>) {
  const oscillating = new Set<string>();
  const refused = new Map<string, ReadonlySet<string>>();
  return ({ cluster, report }: Plan): void => {
    if (!report.oscillating) oscillating.delete(cluster);
    else if (!oscillating.has(cluster)) {
      oscillating.add(cluster);
      deps.onOscillation(cluster);
    }
    const before = refused.get(cluster);
    const now = new Map(
      report.nonActions.map(({ rule, subject }) => [`${rule} ${subject.id}`, rule]),
    );
    for (const [key, rule] of now) if (!before?.has(key)) deps.onRefusal(cluster, rule);
    refused.set(cluster, new Set(now.keys()));
  };
}

export function createRound(deps: RoundDeps) {
  const lastKept = new Map<string, Kept>();
  const tellNews = createNews(deps);

  return async function round(cluster: ClusterRecord, nowMs: number): Promise<void> {
    const nodes = [...(deps.fleet.nodesByCluster.get(cluster.id)?.values() ?? [])];
    const policy = deps.policyOf(cluster);
    observe(deps.history, { cluster, nodes }, policy, nowMs);
    const situation: Situation = { cluster, nodes, policy, history: deps.history, nowMs };
    const plan = decide({ cluster, nodes }, policy, deps.history, nowMs);
    record(deps.history, plan, nowMs);
    tellNews(plan);
    if (plan.report.emptied || plan.report.returned) await deps.onMaintenance(plan);
    const found = signature(plan);
    const last = lastKept.get(cluster.id);
    const isRepeat = last?.signature === found && nowMs - last.atMs < repeatMs[last.outcome];
    if (found === '') lastKept.delete(cluster.id);
    if (found === '' || isRepeat) return;
    const report = { ...plan.report, nonActions: withFlips(plan, situation) };
    const id = deps.newId();
    const openedSeq = plan.intents.length > 0 ? await deps.openAudit(plan, id) : null;
    const results = await deps.dispatch(plan, id);
    for (const result of results) {
      if (isRefused(result)) {
        noteRefusal(deps.history, result.intent, { nowMs, code: codeOf(result) });
      }
    }
    const decision: Decision = {
      id,
      cluster: cluster.id,
      at_ms: deps.clock.wallMs(),
      epoch: deps.epochOf(cluster.id),
      policy_hash: cluster.policyHash,
      inputs_hash: createHash('sha256').update(inputsOf(situation)).digest('hex'),
      intents: plan.intents.length,
      outcome: outcomeOf(results),
      summary: plan.report.summary,
      plan: JSON.stringify({ intents: plan.intents, results: results.map(outline) }),
      report: JSON.stringify(report),
    };
    await deps.closeAudit(decision, openedSeq);
    lastKept.set(cluster.id, { signature: found, outcome: decision.outcome, atMs: nowMs });
    deps.onDecision(decision);
  };
}

/** A result without its intent, which stands beside it already. */
const outline = ({ intent, ...result }: Dispatched) => ({ target: intent.target.id, ...result });
