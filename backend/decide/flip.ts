/**
 * The smallest change that would turn a refusal into an action, found by making it: candidates from
 * the least to the greatest are applied to the inputs and `decide` is asked again. What is named
 * has flipped the verdict; where nothing did, nothing is named. Pure.
 */
import { nodeKey } from '../../broker/contract/ids.ts';
import type { NodeRecord } from '../state/fleet.ts';
import { decide } from './decide.ts';
import { factorOf, type Situation } from './model.ts';
import type { NonAction, Plan } from './plan.ts';
import { scaledMs } from './policy.ts';

export type Change =
  | { what: 'later'; ms: number }
  | { what: 'moves-end' }
  | { what: 'free'; guests: string[] }
  | { what: 'room'; node: string; cpuUnits: number; memoryBytes: number }
  | { what: 'another-node'; like: string }
  | { what: 'unprotected'; node: string };

/** Bisection of room ends within this share of what a node has. */
const roomSteps = 6;
/** So that a report is never late: no more questions per refusal, and none to a big cluster. */
const questionsMax = 60;
const nodesMax = 16;

const ask = ({ cluster, nodes, policy, history, nowMs }: Situation): Plan =>
  decide({ cluster, nodes }, policy, history, nowMs);

const replaced = (situation: Situation, node: NodeRecord): Situation => ({
  ...situation,
  nodes: situation.nodes.map((one) => (one.node === node.node ? node : one)),
});

const find = ({ nodes }: Situation, name: string): NodeRecord | undefined =>
  nodes.find(({ node }) => node === name);

function later(situation: Situation, ms: number): Situation {
  const nodes = situation.nodes.map((node) => ({
    ...node,
    sampleAtMs: node.sampleAtMs === null ? null : node.sampleAtMs + ms,
    values: node.values && {
      ...node.values,
      uptimeMs: node.values.uptimeMs === null ? null : node.values.uptimeMs + ms,
    },
  }));
  return { ...situation, nodes, nowMs: situation.nowMs + ms };
}

/** The guests run, unlocked, untagged, undescribed, and as if they had never moved. */
function freed(situation: Situation, ids: readonly string[]): Situation {
  const { cluster, history } = situation;
  const nodes = situation.nodes.map((node) => {
    if (!node.guests?.some(({ id }) => ids.includes(id))) return node;
    const guests = node.guests.map((guest) =>
      ids.includes(guest.id)
        ? { ...guest, state: 'running' as const, lock: null, haState: null, tags: [] }
        : guest,
    );
    return { ...node, guests, guestFactsJson: null };
  });
  const lastMovedAtMs = new Map(history.lastMovedAtMs);
  for (const id of ids) lastMovedAtMs.delete(`${cluster.id}/${id}`);
  const moves = new Map(history.moves);
  const known = moves.get(cluster.id) ?? [];
  moves.set(
    cluster.id,
    known.filter(({ guest }) => !ids.includes(guest)),
  );
  return { ...situation, nodes, history: { ...history, lastMovedAtMs, moves } };
}

/** The node and its guests use less, each guest its share. */
function roomier(situation: Situation, { node, cpuUnits, memoryBytes }: Room): Situation {
  const record = find(situation, node);
  if (!record?.values) return situation;
  const { cpuRatio, cpuCount, memoryUsedBytes } = record.values;
  const capacity = (cpuCount ?? 0) * factorOf(record);
  if (cpuRatio === null || memoryUsedBytes === null || capacity <= 0) return situation;
  const values = {
    ...record.values,
    cpuRatio: Math.max(0, cpuRatio - cpuUnits / capacity),
    memoryUsedBytes: Math.max(0, memoryUsedBytes - memoryBytes),
  };
  const kept = cpuRatio > 0 ? values.cpuRatio / cpuRatio : 1;
  const guests =
    record.guests?.map((guest) => ({
      ...guest,
      cpuRatio: guest.cpuRatio === null ? null : guest.cpuRatio * kept,
    })) ?? null;
  return replaced(situation, { ...record, values, guests });
}

/** An empty node that is awake, of the same make. */
function joined(situation: Situation, like: string): Situation {
  const model = find(situation, like);
  if (!model?.values) return situation;
  const values = { ...model.values, cpuRatio: 0, memoryUsedBytes: 0 };
  const extra: NodeRecord = { ...model, node: `${like}-another`, values, guests: [] };
  return { ...situation, nodes: [...situation.nodes, { ...extra, guestFactsJson: null }] };
}

type Room = Extract<Change, { what: 'room' }>;

/** The inputs as they would be after a change. */
export function changed(situation: Situation, change: Change): Situation {
  if (change.what === 'later') return later(situation, change.ms);
  if (change.what === 'free') return freed(situation, change.guests);
  if (change.what === 'room') return roomier(situation, change);
  if (change.what === 'another-node') return joined(situation, change.like);
  if (change.what === 'moves-end') {
    const movesInFlight = new Map(situation.history.movesInFlight);
    movesInFlight.delete(situation.cluster.id);
    return { ...situation, history: { ...situation.history, movesInFlight } };
  }
  const node = find(situation, change.node);
  return node ? replaced(situation, { ...node, protected: false }) : situation;
}

/** Whether a plan does what a refusal refused. */
export function isFlipped(refusal: NonAction, plan: Plan): boolean {
  const { id } = refusal.subject;
  return plan.intents.some(({ rule, target, executor, action }) => {
    if (refusal.rule === 'save.sleep') return action.kind === 'node.shutdown' && target.id === id;
    if (action.kind !== 'guest.migrate') return false;
    return rule === refusal.rule && (executor === id || target.id === id);
  });
}

/** How long until waits of a node are over, those that are not yet. */
function waitsOf(situation: Situation, node: string): number[] {
  const { cluster, policy, history, nowMs } = situation;
  const key = nodeKey(cluster.id, node);
  const rest = (since: number | undefined, waitMs: number): number =>
    since === undefined ? 0 : scaledMs(waitMs, cluster) - (nowMs - since);
  const waits = [
    rest(history.hotSinceMs.get(key), policy.relieve.cpuRatio.forMs),
    rest(history.emptySinceMs.get(key), policy.save.sleepAfterMs),
  ];
  for (const guest of find(situation, node)?.guests ?? []) {
    const movedAtMs = history.lastMovedAtMs.get(`${cluster.id}/${guest.id}`);
    waits.push(rest(movedAtMs, policy.limits.guestCooldownMs));
  }
  return [...new Set(waits.filter((ms) => ms > 0).map(Math.ceil))].sort((a, b) => a - b);
}

function candidatesOf(situation: Situation, node: string): Change[] {
  const record = find(situation, node);
  const guests = (record?.guests ?? []).map(({ id }) => id);
  const alike = situation.nodes.filter(({ values }) => values !== null).map((one) => one.node);
  return [
    ...waitsOf(situation, node).map((ms): Change => ({ what: 'later', ms })),
    { what: 'moves-end' },
    ...guests.map((id): Change => ({ what: 'free', guests: [id] })),
    ...(guests.length > 1 ? [{ what: 'free' as const, guests }] : []),
    ...(record?.protected ? [{ what: 'unprotected' as const, node }] : []),
    ...[...new Set([node, ...alike.slice(0, 2)])].map((like): Change => ({
      what: 'another-node',
      like,
    })),
  ];
}

type Try = (changes: readonly Change[]) => boolean;

/** The least room on one other node that is enough, found by halving. */
function roomFor(situation: Situation, node: string, flips: Try): Change[] | null {
  for (const other of situation.nodes) {
    const { cpuRatio = null, cpuCount = null, memoryUsedBytes = null } = other.values ?? {};
    if (other.node === node || cpuRatio === null || memoryUsedBytes === null) continue;
    const units = cpuRatio * (cpuCount ?? 0) * factorOf(other);
    const part = (share: number): Change => ({
      what: 'room',
      node: other.node,
      cpuUnits: units * share,
      memoryBytes: Math.ceil(memoryUsedBytes * share),
    });
    if (!flips([part(1)])) continue;
    let [tooLittle, enough] = [0, 1];
    for (let step = 0; step < roomSteps; step += 1) {
      const middle = (tooLittle + enough) / 2;
      if (flips([part(middle)])) enough = middle;
      else tooLittle = middle;
    }
    return [part(enough)];
  }
  return null;
}

/** The change, or changes that are needed together; null when none is known. */
export function smallestFlip(refusal: NonAction, situation: Situation): Change[] | null {
  if (refusal.subject.kind !== 'node' || situation.nodes.length > nodesMax) return null;
  const node = refusal.subject.id;
  let questions = 0;
  const flips: Try = (changes) => {
    questions += 1;
    if (questions > questionsMax) return false;
    return isFlipped(refusal, ask(changes.reduce(changed, situation)));
  };
  const candidates = candidatesOf(situation, node);
  const [waits, others] = [
    candidates.filter(({ what }) => what === 'later'),
    candidates.filter(({ what }) => what !== 'later'),
  ];
  const single = waits.find((one) => flips([one])) ?? others.find((one) => flips([one]));
  if (single && single.what !== 'another-node') return [single];
  const room = roomFor(situation, node, flips);
  if (room) return room;
  if (single) return [single];
  return together(situation, { node, candidates, flips });
}

/** Two or three changes that are needed at once: a wait, freedom of all guests, and room. */
function together(
  situation: Situation,
  { node, candidates, flips }: { node: string; candidates: readonly Change[]; flips: Try },
): Change[] | null {
  const last = candidates.findLast(({ what }) => what === 'later');
  const free = candidates.filter(({ what }) => what === 'free');
  const wait = last ? [last] : [];
  const bases = [wait, ...free.map((one) => [one]), ...free.map((one) => [...wait, one])];
  for (const base of bases.filter(({ length }) => length > 0)) {
    const rest = candidates.filter(({ what }) => what !== 'later' && what !== 'free');
    const found = [[], ...rest.map((one) => [one])].find((more) => flips([...base, ...more]));
    if (found) return [...base, ...found];
    const room = roomFor(situation, node, (changes) => flips([...base, ...changes]));
    if (room) return [...base, ...room];
  }
  return null;
}

const cores = (units: number): string => `${units.toFixed(1)} cores`;
const megabytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MB`;

function textOf(change: Change): string {
  if (change.what === 'later') return `${Math.ceil(change.ms / 1000)} s more like this`;
  if (change.what === 'moves-end') return 'the moves under way end';
  if (change.what === 'free') return `${change.guests.join(', ')} free to move`;
  if (change.what === 'another-node') return `another node like ${change.like} awake`;
  if (change.what === 'unprotected') return `${change.node} not protected`;
  const { node, cpuUnits, memoryBytes } = change;
  return `${node} using ${cores(cpuUnits)} and ${megabytes(memoryBytes)} less`;
}

export const flipText = (changes: readonly Change[]): string => changes.map(textOf).join(', and ');
