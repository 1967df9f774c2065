/**
 * State, policy, history and now -> Plan. Pure: the same inputs give the same plan, byte for
 * byte. Each rule answers intents and the reasons for what it left alone.
 */
import { nodeState } from '../state/node-state.ts';
import type { Plan } from './plan.ts';
import { relieve, type Situation } from './relieve.ts';

function summaryOf(situation: Situation, plan: Omit<Plan, 'report'>, held: number): string {
  const first = plan.intents[0];
  if (first) return first.reason;
  const { above } = situation.policy.relieve.cpuRatio;
  const hottest = situation.nodes
    .filter((node) => nodeState(node, situation.nowMs) === 'awake')
    .map((node) => ({ node: node.node, cpu: node.values?.cpuRatio ?? null }))
    .filter(({ cpu }) => cpu !== null)
    .sort((a, b) => (b.cpu ?? 0) - (a.cpu ?? 0))[0];
  if (held > 0) return `${held} hot node(s) left alone`;
  if (!hottest) return 'no node has a known load';
  return `no node has cpu above ${above}; highest is ${hottest.node} (${hottest.cpu?.toFixed(2)})`;
}

/** The plan of one cluster. `situation` is read only. */
export function decide(situation: Situation): Plan {
  const { intents, nonActions } = relieve(situation);
  const cluster = situation.cluster.id;
  const summary = summaryOf(situation, { cluster, intents }, nonActions.length);
  return { cluster, intents, report: { summary, nonActions } };
}
