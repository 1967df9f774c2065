/**
 * Sees an engine that works against itself: a guest that comes back to where the engine took it
 * from, again and again. Then nothing is moved in that cluster for a while, and it says so. What
 * people move is never held against the engine. Pure.
 */
import type { History, Move } from './history.ts';
import { scaledMs } from './policy.ts';

/** Within this time a return counts, and for this long nothing moves afterwards. */
const windowMs = 6 * 3_600_000;
const pauseMs = 3_600_000;
/** Returns of one guest, and of all guests of a cluster, that are too many. */
const returnsOfGuestMax = 2;
const returnsOfClusterMax = 6;
/** In a large cluster as many guests of a hundred, and returns of twenty guests, are usual. */
const guestsPerReturner = 50;
const guestsPerReturn = 20;

export type Oscillation = { guests: string[]; returns: number; untilMs: number };

/** Times that a guest came back to a node it had left. */
function returnsOf(moves: readonly Move[]): Move[] {
  const left = new Set<string>();
  return moves.filter(({ fromNode, toNode }) => {
    const isReturn = toNode !== null && left.has(toNode);
    left.add(fromNode);
    return isReturn;
  });
}

/**
 * What oscillates in a cluster now, null when nothing does.
 * @param guests how many run in it
 */
export function oscillationOf(
  cluster: { id: string; timeScale: number },
  { moves }: Pick<History, 'moves'>,
  { nowMs, guests }: { nowMs: number; guests: number },
): Oscillation | null {
  const span = scaledMs(windowMs, cluster);
  const byGuest = new Map<string, Move[]>();
  for (const move of moves.get(cluster.id) ?? []) {
    if (nowMs - move.atMs > span || move.byPerson === true || move.failed === true) continue;
    const own = byGuest.get(move.guest);
    if (own) own.push(move);
    else byGuest.set(move.guest, [move]);
  }
  const found = [...byGuest.entries()]
    .map(([guest, own]) => ({ guest, returns: own.length < 2 ? [] : returnsOf(own) }))
    .filter(({ returns }) => returns.length > 0);
  const returns = found.flatMap((one) => one.returns);
  const restless = found.filter((one) => one.returns.length >= returnsOfGuestMax).length;
  const isQuiet =
    restless < Math.max(1, guests / guestsPerReturner) &&
    returns.length < Math.max(returnsOfClusterMax, guests / guestsPerReturn);
  if (isQuiet) return null;
  const untilMs = Math.max(...returns.map(({ atMs }) => atMs)) + scaledMs(pauseMs, cluster);
  if (nowMs >= untilMs) return null;
  return { guests: found.map(({ guest }) => guest).sort(), returns: returns.length, untilMs };
}
