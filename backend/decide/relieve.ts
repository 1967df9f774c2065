/**
 * One rule: a node whose cpu stayed above T for D sheds one guest to the least loaded node of its
 * cluster that can take it. Looks at cores, not at percent, since nodes differ in size.
 */
import { nodeKey } from '../../broker/contract/ids.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { ClusterRecord, NodeRecord } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import type { History } from './history.ts';
import type { Fact, Intent, NonAction } from './plan.ts';
import { type Policy, scaledMs } from './policy.ts';

const rule = 'relieve.cpuRatio';
/** A move must leave the target at least this much cooler than the source is now. */
const marginRatioMin = 0.1;
const immovable = /^(kr|plb)_(ignore|pin)/;

export type Situation = {
  cluster: ClusterRecord;
  nodes: readonly NodeRecord[];
  policy: Policy;
  history: History;
  nowMs: number;
};

type Load = { node: NodeRecord; cpuRatio: number; cores: number; memoryFreeBytes: number };
type Candidate = { guest: GuestSample; cores: number; memoryBytes: number };
type Choice = { candidate: Candidate; target: Load; sourceAfter: number; targetAfter: number };

const round = (value: number): number => Math.round(value * 1000) / 1000;
const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`;

function loadOf(node: NodeRecord, nowMs: number): Load | null {
  const { cpuRatio, cpuCount, memoryTotalBytes, memoryUsedBytes } = node.values ?? {};
  const isKnown =
    typeof cpuRatio === 'number' &&
    typeof cpuCount === 'number' &&
    typeof memoryTotalBytes === 'number' &&
    typeof memoryUsedBytes === 'number';
  if (!isKnown || nodeState(node, nowMs) !== 'awake') return null;
  return { node, cpuRatio, cores: cpuCount, memoryFreeBytes: memoryTotalBytes - memoryUsedBytes };
}

/** Why this guest may not be moved now, or null. */
function barrier(guest: GuestSample, { cluster, policy, history, nowMs }: Situation) {
  if (guest.state !== 'running') return `is ${guest.state}`;
  if (guest.lock !== null) return `is locked (${guest.lock})`;
  if (guest.haState !== null) return 'is HA-managed';
  if (guest.tags.some((tag) => immovable.test(tag))) return 'is tagged to stay';
  if (guest.cpuRatio === null || guest.cpuCount === null || guest.memoryTotalBytes === null) {
    return 'has no known load';
  }
  const movedAtMs = history.lastMovedAtMs.get(`${cluster.id}/${guest.id}`);
  const cooldownMs = scaledMs(policy.limits.guestCooldownMs, cluster);
  if (movedAtMs !== undefined && nowMs - movedAtMs < cooldownMs) {
    return `moved ${seconds(nowMs - movedAtMs)} ago, cooldown ${seconds(cooldownMs)}`;
  }
  return null;
}

const candidatesOf = (source: Load, situation: Situation): Candidate[] =>
  (source.node.guests ?? [])
    .filter((guest) => barrier(guest, situation) === null)
    .map((guest) => ({
      guest,
      cores: (guest.cpuRatio ?? 0) * (guest.cpuCount ?? 0),
      memoryBytes: guest.memoryTotalBytes ?? 0,
    }))
    .filter(({ cores }) => cores > 0);

/** The smallest guest that brings the source below the band, else the biggest that helps. */
function choose(source: Load, targets: readonly Load[], situation: Situation): Choice | null {
  const { clear } = situation.policy.relieve.cpuRatio;
  const choices = candidatesOf(source, situation).flatMap((candidate): Choice[] => {
    const target = targets.find(({ memoryFreeBytes }) => memoryFreeBytes > candidate.memoryBytes);
    if (!target) return [];
    const sourceAfter = source.cpuRatio - candidate.cores / source.cores;
    const targetAfter = target.cpuRatio + candidate.cores / target.cores;
    const pays = targetAfter < clear && targetAfter + marginRatioMin <= source.cpuRatio;
    return pays ? [{ candidate, target, sourceAfter, targetAfter }] : [];
  });
  const enough = choices
    .filter(({ sourceAfter }) => sourceAfter < clear)
    .sort((a, b) => a.candidate.cores - b.candidate.cores || compareIds(a, b))[0];
  const biggest = choices.sort(
    (a, b) => b.candidate.cores - a.candidate.cores || compareIds(a, b),
  )[0];
  return enough ?? biggest ?? null;
}

const compareIds = (a: Choice, b: Choice): number =>
  a.candidate.guest.id < b.candidate.guest.id ? -1 : 1;

function intentOf(source: Load, choice: Choice, targets: readonly Load[], s: Situation): Intent {
  const { candidate, target, sourceAfter, targetAfter } = choice;
  const { above } = s.policy.relieve.cpuRatio;
  const hotMs = s.nowMs - (s.history.hotSinceMs.get(nodeKey(s.cluster.id, source.node.node)) ?? 0);
  const facts: Fact[] = [
    { name: 'cpuRatio', value: round(source.cpuRatio), unit: 'ratio' },
    { name: 'above', value: above, unit: 'ratio' },
    { name: 'hotForMs', value: Math.round(hotMs), unit: 'milliseconds' },
    { name: 'guestCores', value: round(candidate.cores), unit: 'count' },
    { name: 'guestMemoryBytes', value: candidate.memoryBytes, unit: 'bytes' },
    { name: 'targetCpuRatio', value: round(target.cpuRatio), unit: 'ratio' },
  ];
  return {
    cluster: s.cluster.id,
    target: { kind: 'guest', id: candidate.guest.id },
    executor: source.node.node,
    action: {
      kind: 'guest.migrate',
      args: { targetNode: target.node.node, online: true, withLocalDisks: false },
    },
    rule,
    reason:
      `${source.node.node} has had cpu above ${above} for ${seconds(hotMs)} ` +
      `(now ${source.cpuRatio.toFixed(2)}): ${candidate.guest.name} ` +
      `(${candidate.cores.toFixed(1)} cores, ${gib(candidate.memoryBytes)}) moves to ` +
      `${target.node.node}, the least loaded that fits (${target.cpuRatio.toFixed(2)} -> ` +
      `${targetAfter.toFixed(2)}); ${source.node.node} falls to ${sourceAfter.toFixed(2)}`,
    facts,
    alternatives: targets
      .filter((other) => other !== target)
      .slice(0, 3)
      .map((other) => ({
        what: `to ${other.node.node}`,
        rejectedBecause:
          other.memoryFreeBytes <= candidate.memoryBytes
            ? `only ${gib(other.memoryFreeBytes)} memory free`
            : `more loaded (${other.cpuRatio.toFixed(2)})`,
      })),
    predicted: [
      { name: 'sourceCpuRatio', value: round(sourceAfter), unit: 'ratio' },
      { name: 'targetCpuRatio', value: round(targetAfter), unit: 'ratio' },
    ],
    margin: { name: 'cpuRatio', value: round(source.cpuRatio - targetAfter), unit: 'ratio' },
  };
}

const left = (node: string, reason: string, flip: string | null): NonAction => ({
  subject: { kind: 'node', id: node },
  rule,
  reason,
  flip,
});

/** Why no guest of a hot node can go anywhere, with the change that would help. */
function stuck(source: Load, targets: readonly Load[], situation: Situation): NonAction {
  const { node } = source.node;
  const hot = `cpu ${source.cpuRatio.toFixed(2)}`;
  if (targets.length === 0) return left(node, `${hot}, no other node is awake`, 'wake a node');
  const barriers = (source.node.guests ?? []).map(
    (guest) => [guest.name, barrier(guest, situation)] as const,
  );
  const barred = barriers.filter(([, why]) => why !== null);
  if (barred.length === barriers.length) {
    const list = barred.slice(0, 3).map(([name, why]) => `${name} ${why}`);
    const reason = list.length === 0 ? 'it runs no guest' : list.join('; ');
    return left(node, `${hot}, but ${reason}`, 'free one of its guests to move');
  }
  const coolest = targets[0];
  return left(
    node,
    `${hot}, but no guest fits elsewhere: least loaded is ${coolest?.node.node} ` +
      `(${coolest?.cpuRatio.toFixed(2)}, ${gib(coolest?.memoryFreeBytes ?? 0)} free)`,
    `more room on ${coolest?.node.node}, or another awake node`,
  );
}

export function relieve(situation: Situation): { intents: Intent[]; nonActions: NonAction[] } {
  const { cluster, nodes, policy, history, nowMs } = situation;
  const { forMs } = policy.relieve.cpuRatio;
  const waitMs = scaledMs(forMs, cluster);
  const loads = nodes
    .map((node) => loadOf(node, nowMs))
    .filter((load) => load !== null)
    .sort((a, b) => a.cpuRatio - b.cpuRatio || (a.node.node < b.node.node ? -1 : 1));
  const moves = [...(history.movesInFlight.get(cluster.id) ?? [])];
  const intents: Intent[] = [];
  const nonActions: NonAction[] = [];
  for (const source of loads.toReversed()) {
    const { node } = source.node;
    const since = history.hotSinceMs.get(nodeKey(cluster.id, node));
    if (since === undefined) continue;
    const hotMs = nowMs - since;
    const hot = `cpu ${source.cpuRatio.toFixed(2)}`;
    const busy = (name: string) =>
      moves.filter(({ fromNode, toNode }) => fromNode === name || toNode === name).length;
    if (hotMs < waitMs) {
      const rest = seconds(waitMs - hotMs);
      nonActions.push(left(node, `${hot} for only ${seconds(hotMs)}`, `${rest} more above`));
    } else if (moves.length >= policy.limits.migrationsPerCluster) {
      nonActions.push(left(node, `${hot}, ${moves.length} moves under way`, 'one of them ends'));
    } else if (busy(node) >= policy.limits.migrationsPerNode) {
      nonActions.push(left(node, `${hot}, a move is under way here`, 'that move ends'));
    } else {
      const targets = loads.filter(
        (load) => load !== source && busy(load.node.node) < policy.limits.migrationsPerNode,
      );
      const choice = choose(source, targets, situation);
      if (choice) {
        intents.push(intentOf(source, choice, targets, situation));
        const { guest } = choice.candidate;
        moves.push({
          guest: guest.id,
          fromNode: node,
          toNode: choice.target.node.node,
          atMs: nowMs,
        });
      } else {
        nonActions.push(stuck(source, targets, situation));
      }
    }
  }
  return { intents, nonActions };
}
