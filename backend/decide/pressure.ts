/**
 * Relief of what is not cpu: memory in use, and the kernel's own word (PSI) that tasks wait for
 * memory or for disks. A node that was pressed for long enough sheds one guest a round, the one
 * that takes most of what is short for the smallest copy, to a node that has it to spare. Unknown
 * is neither pressed nor room.
 */
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { NodeRecord } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import { mayStand } from './constraints.ts';
import type { History } from './history.ts';
import { fits, type Model, nodeRole, plan, type Situation } from './model.ts';
import type { Intent, NonAction } from './plan.ts';
import { type Policy, scaledMs } from './policy.ts';
import type { Look } from './relieve.ts';
import { noRelief, type Relief } from './worth.ts';

type Resource = {
  key: 'memoryRatio' | 'memoryPressureRatio' | 'ioPressureRatio';
  /** As reasons say it. */
  what: string;
  of(node: NodeRecord): number | null;
  /** What a guest takes of it, in a unit of its own. */
  takes(guest: GuestSample): number;
  /** What must go of it, in that unit; where nobody can say, all that the guests take. */
  need(node: NodeRecord, over: number): number;
  /** From so much on a move is worth making, however much more must go. */
  worthMost: number;
};

const allOf =
  (takes: Resource['takes']): Resource['need'] =>
  ({ guests }) =>
    (guests ?? []).reduce((sum, guest) => sum + takes(guest), 0);

const gibibyte = 2 ** 30;

const memoryUsed = ({ memoryUsedBytes, memoryTotalBytes }: GuestSample): number =>
  memoryUsedBytes ?? memoryTotalBytes ?? 0;
const diskRate = ({ diskReadBytesPerSecond, diskWriteBytesPerSecond }: GuestSample): number =>
  (diskReadBytesPerSecond ?? 0) + (diskWriteBytesPerSecond ?? 0);

const resources: readonly Resource[] = [
  {
    key: 'memoryRatio',
    what: 'memory in use',
    of: ({ values }) =>
      typeof values?.memoryUsedBytes === 'number' && typeof values.memoryTotalBytes === 'number'
        ? values.memoryUsedBytes / values.memoryTotalBytes
        : null,
    takes: memoryUsed,
    need: ({ values }, over) => over * (values?.memoryTotalBytes ?? 0),
    worthMost: gibibyte,
  },
  {
    key: 'memoryPressureRatio',
    what: 'tasks waiting for memory',
    of: ({ values }) => values?.memoryPressureSomeAvg60Ratio ?? null,
    takes: memoryUsed,
    need: allOf(memoryUsed),
    worthMost: gibibyte,
  },
  {
    key: 'ioPressureRatio',
    what: 'tasks waiting for disks',
    of: ({ values }) => values?.ioPressureSomeAvg60Ratio ?? null,
    takes: diskRate,
    need: allOf(diskRate),
    worthMost: 10e6,
  },
];

/** A spell of one resource on one node. */
type PressKey = `${NodeKey} ${Resource['key']}`;
const pressKey = (node: NodeRecord, { key }: Resource): PressKey =>
  `${nodeKey(node.cluster, node.node)} ${key}`;

/** Begins and ends spells by the newest samples; a gap ends one. Changes `history` in place. */
export function observePressure(
  history: History,
  nodes: readonly NodeRecord[],
  policy: Policy,
  nowMs: number,
): void {
  for (const node of nodes) {
    const isAwake = nodeState(node, nowMs) === 'awake';
    for (const resource of resources) {
      const key = pressKey(node, resource);
      const value = isAwake ? resource.of(node) : null;
      const { above, clear } = policy.relieve[resource.key];
      const isPressed = history.pressedSinceMs.has(key);
      if (value === null || (isPressed && value < clear)) history.pressedSinceMs.delete(key);
      else if (!isPressed && value > above) history.pressedSinceMs.set(key, nowMs);
    }
  }
}

const percent = (ratio: number): string => `${Math.round(ratio * 100)} %`;
const round = (value: number): number => Math.round(value * 1000) / 1000;

/** Nodes that have a resource to spare, looked for once for all guests. */
type Choosing = { resource: Resource; roomy: readonly number[] };

const roomyOf = (model: Model, resource: Resource, { policy }: Situation): number[] =>
  model.nodes.flatMap((node, place) => {
    if (model.role[place] !== nodeRole.awake || model.draining[place]) return [];
    const value = resource.of(node);
    return value !== null && value < policy.relieve[resource.key].clear ? [place] : [];
  });

/** The roomiest node that has the resource to spare, and all else that the guest needs. */
function targetOf(
  model: Model,
  guest: number,
  { resource, roomy }: Choosing,
  look: Look,
): number | null {
  const { relieve } = look.situation.policy;
  const fillRatio = relieve.fillRatio ?? relieve.cpuRatio.clear;
  const from = model.nodeOf[guest]!;
  let best: number | null = null;
  let least = Infinity;
  for (const place of roomy) {
    const value = resource.of(model.nodes[place]!);
    if (place === from || value === null || value >= least) continue;
    if (!look.traffic.mayReceive(place)) continue;
    if (!fits(model, guest, place, { sigmas: relieve.sigmas, fillRatio })) continue;
    if (!mayStand(model, guest, place, false)) continue;
    best = place;
    least = value;
  }
  return best;
}

type Pressed = { place: number; resource: Resource; value: number; sinceMs: number };

type Choice = Pressed & { guest: number; to: number };

/** Shares of memory in use after the move; of waiting tasks nobody can say how many will be left. */
function predictedOf(model: Model, { place, resource, guest, to }: Choice): Intent['predicted'] {
  if (resource.key !== 'memoryRatio') return [];
  const after = (at: number, sign: number): number | null => {
    const { memoryUsedBytes: used = null, memoryTotalBytes: total = null } =
      model.nodes[at]!.values ?? {};
    if (used === null || !total) return null;
    return round((used + sign * memoryUsed(model.guests[guest]!)) / total);
  };
  return [
    { name: 'sourceMemoryRatio', value: after(place, -1), unit: 'ratio' },
    { name: 'targetMemoryRatio', value: after(to, 1), unit: 'ratio' },
  ];
}

function intentOf(model: Model, choice: Choice, s: Situation): Intent {
  const { place, resource, value, sinceMs, guest, to } = choice;
  const [from, where] = [model.nodes[place]!.node, model.nodes[to]!.node];
  const there = resource.of(model.nodes[to]!) ?? 0;
  const forMs = Math.round(s.nowMs - sinceMs);
  const { name } = model.guests[guest]!;
  return {
    cluster: s.cluster.id,
    target: { kind: 'guest', id: model.guests[guest]!.id },
    executor: from,
    action: {
      kind: 'guest.migrate',
      args: { targetNode: where, online: true, withLocalDisks: false },
    },
    rule: `relieve.${resource.key}`,
    reason:
      `${from} has had ${percent(value)} ${resource.what} for ${Math.round(forMs / 1000)} s: ` +
      `${name}, which takes most of it for its size, moves to ${where} (${percent(there)})`,
    facts: [
      { name: resource.key, value: round(value), unit: 'ratio' },
      { name: 'forMs', value: forMs, unit: 'milliseconds' },
      { name: 'guestMemoryBytes', value: model.memory[guest]!, unit: 'bytes' },
    ],
    alternatives: [],
    predicted: predictedOf(model, choice),
    margin: { name: resource.key, value: round(value - there), unit: 'ratio' },
  };
}

const stuck = (model: Model, { place, resource, value }: Pressed): NonAction => ({
  subject: { kind: 'node', id: model.nodes[place]!.node },
  rule: `relieve.${resource.key}`,
  reason: `${percent(value)} ${resource.what}, and none of its guests fits where there is less`,
  flip: 'another awake node with room',
});

/** What a guest must take of it at least for its move to be worth it. */
function leastOf({ resource, value }: Pressed, node: NodeRecord, policy: Policy): number {
  const over = Math.max(0, value - policy.relieve[resource.key].clear);
  return Math.min(resource.worthMost, policy.moves.worthRatio * resource.need(node, over));
}

/** The best of what is left, where none of it is worth a guest's disturbance. */
function tooLittle(model: Model, one: Pressed, guest: number, least: number): NonAction {
  const { place, resource, value } = one;
  const share = resource.takes(model.guests[guest]!) / least;
  return {
    subject: { kind: 'node', id: model.nodes[place]!.node },
    rule: `relieve.${resource.key}`,
    reason:
      `${percent(value)} ${resource.what}, but ${model.guests[guest]!.name}, which takes most of ` +
      `it, takes ${percent(share)} of what makes a move worth it`,
    flip: `a guest free to move that takes ${(1 / share).toFixed(1)} times as much`,
  };
}

/** One guest from each node that is pressed for long enough and not relieved by this plan yet. */
export function relievePressure(model: Model, look: Look): Relief {
  const { situation, traffic } = look;
  const { history, nowMs, policy, cluster } = situation;
  const relief = noRelief();
  const known = new Map<Resource, number[]>();
  const choosing = (resource: Resource): Choosing => {
    const roomy = known.get(resource) ?? roomyOf(model, resource, situation);
    known.set(resource, roomy);
    return { resource, roomy };
  };
  for (let place = 0; place < model.nodes.length; place += 1) {
    if (model.role[place] !== nodeRole.awake || model.touched[place]) continue;
    const node = model.nodes[place]!;
    const found = resources
      .map((resource): Pressed | null => {
        const sinceMs = history.pressedSinceMs.get(pressKey(node, resource));
        const value = resource.of(node);
        if (sinceMs === undefined || value === null) return null;
        const waitMs = scaledMs(policy.relieve[resource.key].forMs, cluster);
        return nowMs - sinceMs >= waitMs ? { place, resource, value, sinceMs } : null;
      })
      .find((one) => one !== null);
    if (!found || !traffic.maySend(place)) continue;
    const worth = (guest: number) =>
      found.resource.takes(model.guests[guest]!) / Math.max(1, Math.sqrt(model.memory[guest]!));
    const movable = model.guestsOf[place]!.filter((guest) => model.barrier[guest] === null)
      .filter((guest) => worth(guest) > 0)
      .sort((a, b) => worth(b) - worth(a) || a - b);
    const takes = (guest: number): number => found.resource.takes(model.guests[guest]!);
    const least = leastOf(found, node, policy);
    const most = movable.toSorted((a, b) => takes(b) - takes(a) || a - b)[0];
    if (most !== undefined && takes(most) < least) {
      relief.nonActions.push(tooLittle(model, found, most, least));
      continue;
    }
    const pair = movable
      .filter((guest) => takes(guest) >= least)
      .map((guest) => ({ guest, to: targetOf(model, guest, choosing(found.resource), look) }))
      .find(({ to }) => to !== null);
    if (!pair || pair.to === null) {
      relief.nonActions.push(stuck(model, found));
      // What has no room by memory needs another node, however little cpu it uses.
      const first = movable[0];
      if (first !== undefined) {
        const units = Math.max(0.1, model.counted[first]!);
        relief.unmetUnits += units;
        relief.wakeUnits += units;
      }
      continue;
    }
    relief.intents.push(intentOf(model, { ...found, guest: pair.guest, to: pair.to }, situation));
    traffic.note(place, pair.to);
    plan(model, pair.guest, pair.to);
  }
  return relief;
}
