/**
 * Nodes onto which moves failed again and again are avoided for a while: whatever is wrong with one
 * (a full storage, a bridge that is missing, a broken link) is not mended by the next guest. A move
 * that succeeds closes the breaker; until then it opens again for twice as long. Pure.
 */
import type { History } from './history.ts';
import type { Model, Situation } from './model.ts';
import type { NonAction } from './plan.ts';
import { scaledMs } from './policy.ts';

const failuresMin = 3;
const minute = 60_000;
const avoidedForMs = 30 * minute;
/** Of the last day no more are remembered; 30 min, 1 h, 2 h, ... */
const doublingsMax = 5;

export type Broken = { failures: number; lastAtMs: number; untilMs: number };
export type Breakers = ReadonlyMap<string, Broken>;

type At = { cluster: { id: string; timeScale: number }; history: History; nowMs: number };

/** By node, those that receive nothing now. */
export function breakersOf({ cluster, history, nowMs }: At): Breakers {
  const failed = new Map<string, { failures: number; lastAtMs: number }>();
  const open = new Set((history.movesInFlight.get(cluster.id) ?? []).map(({ guest }) => guest));
  // Oldest first: a success ends the row of failures before it.
  for (const move of history.moves.get(cluster.id) ?? []) {
    const { toNode, atMs, guest } = move;
    if (toNode === null) continue;
    const failures = (failed.get(toNode)?.failures ?? 0) + 1;
    if (move.failed) failed.set(toNode, { failures, lastAtMs: atMs });
    else if (!open.has(guest)) failed.delete(toNode);
  }
  const broken = new Map<string, Broken>();
  for (const [node, { failures, lastAtMs }] of failed) {
    if (failures < failuresMin) continue;
    const doublings = Math.min(failures - failuresMin, doublingsMax);
    const untilMs = lastAtMs + scaledMs(avoidedForMs * 2 ** doublings, cluster);
    if (untilMs > nowMs) broken.set(node, { failures, lastAtMs, untilMs });
  }
  return broken;
}

const seconds = (ms: number): string => `${Math.ceil(ms / 1000)} s`;

/** Says of each that nothing is moved there, and for how long. */
export const avoided = ({ nodes }: Model, breakers: Breakers, { nowMs }: Situation): NonAction[] =>
  nodes.flatMap(({ node }): NonAction[] => {
    const broken = breakers.get(node);
    if (!broken) return [];
    const { failures, lastAtMs, untilMs } = broken;
    return [
      {
        subject: { kind: 'node', id: node },
        rule: 'moves.breaker',
        reason:
          `receives no guest: ${failures} moves to it failed, the last ` +
          `${seconds(nowMs - lastAtMs)} ago`,
        flip: `${seconds(untilMs - nowMs)} more, or a move there by a person that succeeds`,
      },
    ];
  });
