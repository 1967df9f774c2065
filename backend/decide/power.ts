/**
 * Third and last rung where nodes change their power: wake the most efficient sleeping nodes when
 * nothing awake can take what a hot node must shed, and put a node to sleep that ran nothing for
 * a while. Waking is the cheap direction and needs no waiting; sleeping is never urgent.
 */
import { nodeKey } from '../../broker/contract/ids.ts';
import { type Model, nodeRole, type Situation } from './model.ts';
import type { Intent } from './plan.ts';
import { scaledMs } from './policy.ts';
import { secondsText } from './relieve.ts';

const awakeNodes = (model: Model): number[] =>
  model.nodes.map((_, place) => place).filter((place) => model.role[place] === nodeRole.awake);

/** As many nodes as the unmet units need, the most efficient first. */
export function wake(model: Model, unmetUnits: number, situation: Situation): Intent[] {
  const executor = awakeNodes(model)
    .map((place) => model.nodes[place]!.node)
    .sort()[0];
  if (unmetUnits <= 0 || executor === undefined) return [];
  const { relieve } = situation.policy;
  const fillRatio = relieve.fillRatio ?? relieve.cpuRatio.clear;
  const sleeping = model.nodes
    .map((_, place) => place)
    .filter((place) => model.role[place] === nodeRole.asleep)
    .sort((a, b) => model.wattsPerUnit[a]! - model.wattsPerUnit[b]! || a - b);
  const intents: Intent[] = [];
  let missing = unmetUnits;
  for (const place of sleeping) {
    if (missing <= 0) break;
    const { node } = model.nodes[place]!;
    const room = fillRatio * model.capacity[place]!;
    intents.push({
      cluster: situation.cluster.id,
      target: { kind: 'node', id: node },
      executor,
      action: { kind: 'node.wake', args: {} },
      rule: 'wake.shortage',
      reason: `${missing.toFixed(1)} cores of load fit on no awake node: ${node} wakes`,
      facts: [{ name: 'unmetUnits', value: Math.round(missing * 1000) / 1000, unit: 'count' }],
      alternatives: [],
      predicted: [{ name: 'roomUnits', value: Math.round(room * 1000) / 1000, unit: 'count' }],
      margin: { name: 'units', value: Math.round((room - missing) * 1000) / 1000, unit: 'count' },
    });
    missing -= room;
  }
  return intents;
}

/** One node at a time: the least efficient that has run nothing for long enough. */
export function sleep(model: Model, situation: Situation): Intent[] {
  const { cluster, policy, history, nowMs } = situation;
  if (policy.save.mode === 'off') return [];
  const awake = awakeNodes(model);
  if (awake.length <= policy.save.awakeMin) return [];
  const waitMs = scaledMs(policy.save.sleepAfterMs, cluster);
  const emptyMs = (place: number): number => {
    const since = history.emptySinceMs.get(nodeKey(cluster.id, model.nodes[place]!.node));
    return since === undefined ? -1 : nowMs - since;
  };
  const place = awake
    .filter((node) => model.guestsOf[node]!.length === 0 && model.arriving[node] === 0)
    .filter((node) => !model.nodes[node]!.protected && model.touched[node] === 0)
    .filter((node) => emptyMs(node) >= waitMs)
    .sort((a, b) => model.wattsPerUnit[b]! - model.wattsPerUnit[a]! || a - b)[0];
  if (place === undefined) return [];
  const { node, facts } = model.nodes[place]!;
  const watts = facts?.wattsIdle ?? null;
  return [
    {
      cluster: cluster.id,
      target: { kind: 'node', id: node },
      executor: node,
      action: { kind: 'node.shutdown', args: { mode: 'poweroff' } },
      rule: 'save.sleep',
      reason: `${node} has run no guest for ${secondsText(emptyMs(place))}: it goes to sleep`,
      facts: [{ name: 'emptyForMs', value: Math.round(emptyMs(place)), unit: 'milliseconds' }],
      alternatives: [],
      predicted: [{ name: 'savedWatts', value: watts, unit: 'watts' }],
      margin: { name: 'emptyForMs', value: Math.round(emptyMs(place) - waitMs), unit: 'ms' },
    },
  ];
}
