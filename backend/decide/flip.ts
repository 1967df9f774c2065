/**
 * The smallest change that would turn a refusal into an action, found by making it: candidates from
 * the least to the greatest are applied to the inputs and `decide` is asked again. What is named
 * has flipped the verdict; where nothing did, nothing is named. Pure.
 */
import { nodeKey } from '../../broker/contract/ids.ts';
import { type Change, changed, find } from './change.ts';
import { decide } from './decide.ts';
import { factorOf, type Situation } from './model.ts';
import type { NonAction, Plan } from './plan.ts';
import { scaledMs } from './policy.ts';

/** Bisection of room ends within this share of what a node has. */
const roomSteps = 6;
/** So that a report is never late: no more questions per refusal, and none to a big cluster. */
const questionsMax = 120;
const drainRule = 'save.drain';
const nodesMax = 16;

const ask = ({ cluster, nodes, policy, history, nowMs }: Situation): Plan =>
  decide({ cluster, nodes }, policy, history, nowMs);

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

/** The least share of which changes are enough, found by halving; null where all is not. */
function leastShare(flipsAt: (share: number) => boolean): number | null {
  if (!flipsAt(1)) return null;
  let [tooLittle, enough] = [0, 1];
  for (let step = 0; step < roomSteps; step += 1) {
    const middle = (tooLittle + enough) / 2;
    if (flipsAt(middle)) enough = middle;
    else tooLittle = middle;
  }
  return enough;
}

/** By how much the guests of a node must shrink to find homes elsewhere. */
function sizeFor(situation: Situation, node: string, flips: Try): Change[] | null {
  const record = find(situation, node);
  const guests = (record?.guests ?? []).filter(({ state }) => state !== 'stopped');
  if (!record || guests.length === 0) return null;
  const factor = factorOf(record);
  const units = guests.reduce(
    (sum, { cpuRatio, cpuCount }) => sum + (cpuRatio ?? 0) * (cpuCount ?? 0) * factor,
    0,
  );
  const bytes = guests.reduce((sum, { memoryTotalBytes }) => sum + (memoryTotalBytes ?? 0), 0);
  const part = (share: number): Change => ({
    what: 'smaller',
    node,
    share,
    cpuUnits: units * share,
    memoryBytes: Math.ceil(bytes * share),
  });
  const share = leastShare((one) => flips([part(one)]));
  return share === null ? null : [part(share)];
}

/** The least room on one other node that is enough. */
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
    const share = leastShare((one) => flips([part(one)]));
    if (share !== null) return [part(share)];
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
  const size = refusal.rule === drainRule ? sizeFor(situation, node, flips) : null;
  if (size) return size;
  if (single) return [single];
  return (
    together(situation, { node, candidates, flips }) ??
    (refusal.rule === drainRule ? beside(situation, { node, candidates, flips }) : null)
  );
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
    const more: Try = (changes) => flips([...base, ...changes]);
    const room = roomFor(situation, node, more) ?? sizeFor(situation, node, more);
    if (room) return [...base, ...room];
  }
  return null;
}

/** Another node in use beside it, and what its guests must then still lose, or be freed of. */
function beside(
  situation: Situation,
  { node, candidates, flips }: { node: string; candidates: readonly Change[]; flips: Try },
): Change[] | null {
  const others = candidates.filter(({ what }) => what === 'another-node');
  const free = candidates.findLast(({ what }) => what === 'free');
  for (const base of others.flatMap((one) => [[one], ...(free ? [[free, one]] : [])])) {
    const size = sizeFor(situation, node, (changes) => flips([...base, ...changes]));
    if (size) return [...base, ...size];
  }
  return null;
}
