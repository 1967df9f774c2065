/**
 * State, policy, history and now -> Plan. Pure: the same inputs give the same plan, byte for
 * byte. Each rule answers intents and the reasons for what it left alone.
 */
import { nodeState } from '../state/node-state.ts';
import type { Intent, NonAction, Plan } from './plan.ts';
import { relieve, type Situation } from './relieve.ts';

function summaryOf(situation: Situation, intents: Intent[], left: NonAction[]): string {
  const first = intents[0];
  if (first) return first.reason;
  const held = left[0];
  if (held) return `${held.subject.id} is left alone: ${held.reason}`;
  const { above } = situation.policy.relieve.cpuRatio;
  const hottest = situation.nodes
    .filter((node) => nodeState(node, situation.nowMs) === 'awake')
    .map((node) => ({ node: node.node, cpu: node.values?.cpuRatio ?? null }))
    .filter(({ cpu }) => cpu !== null)
    .sort((a, b) => (b.cpu ?? 0) - (a.cpu ?? 0))[0];
  if (!hottest) return 'no node has a known load';
  return `no node has cpu above ${above}; highest is ${hottest.node} (${hottest.cpu?.toFixed(2)})`;
}

/** The plan of one cluster. `situation` is read only. */
export function decide(situation: Situation): Plan {
  const { intents, nonActions } = relieve(situation);
  const cluster = situation.cluster.id;
  const summary = summaryOf(situation, intents, nonActions);
  return { cluster, intents, report: { summary, nonActions } };
}
