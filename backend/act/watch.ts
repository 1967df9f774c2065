/**
 * The watch over the engine (SAFETY A1), in rows: since when it proposed nothing of a kind that a
 * guard had to stop or that failed. Written in the step that found out; until it has stood long
 * enough, `auto` is `approve` (autonomy.ts).
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import { appendEntry } from '../audit/entry.ts';
import {
  type Autonomy,
  type AutonomyLevel,
  isContradiction,
  levelNow,
  wishedLevel,
} from './autonomy.ts';
import type { Denial } from './guard.ts';
import { limitsOf } from './guard-limits.ts';
import type { Step } from './step.ts';

/** A cluster's engine is watched from the first day. */
export async function levelFor(step: Step, kind: CommandKind): Promise<AutonomyLevel> {
  const { cluster, nowMs } = step;
  const wished = wishedLevel(JSON.parse(cluster.autonomy) as Autonomy, kind);
  const { shadowMs } = limitsOf(cluster);
  if (wished !== 'auto' || shadowMs === 0) return wished;
  const run = await step.rows.shadowRun(cluster.id, kind);
  return levelNow(wished, { sinceMs: run?.since_ms ?? cluster.created_at_ms, shadowMs, nowMs });
}

export type WatchStanding = {
  wished: AutonomyLevel;
  /** What counts now. */
  level: AutonomyLevel;
  /** When `auto` means auto, were it wished; null: at once, in a world without shadow days. */
  automaticAtMs: number | null;
  /** What began the watch: a contradiction, or null with the cluster itself. */
  reason: string | null;
};

export async function watchStanding(step: Step, kind: CommandKind): Promise<WatchStanding> {
  const { cluster } = step;
  const { shadowMs } = limitsOf(cluster);
  const run = await step.rows.shadowRun(cluster.id, kind);
  return {
    wished: wishedLevel(JSON.parse(cluster.autonomy) as Autonomy, kind),
    level: await levelFor(step, kind),
    automaticAtMs: shadowMs === 0 ? null : (run?.since_ms ?? cluster.created_at_ms) + shadowMs,
    reason: run?.reason ?? null,
  };
}

/** An administrator answers for it: the watch counts as over, until the next contradiction. */
export async function endWatch(step: Step, kind: CommandKind, actor: string): Promise<void> {
  const { cluster, nowMs } = step;
  const { shadowMs } = limitsOf(cluster);
  if (shadowMs === 0) return;
  const reason = `ended before its time by ${actor}`;
  const since_ms = nowMs - shadowMs;
  await step.rows.putShadowRun({ cluster: cluster.id, kind, since_ms, reason });
  await appendEntry(step.rows, {
    chain: cluster.id,
    actor,
    action: 'autonomy.watch-ended',
    subject: `kind:${kind}`,
    phase: 'done',
    detail: { reason },
    atMs: nowMs,
  });
}

/** From now on it has to be watched anew; a world without shadow days has no watch. */
export async function watchAnew(step: Step, kind: CommandKind, reason: string): Promise<void> {
  const { cluster, nowMs } = step;
  if (limitsOf(cluster).shadowMs === 0) return;
  await step.rows.putShadowRun({ cluster: cluster.id, kind, since_ms: nowMs, reason });
  await appendEntry(step.rows, {
    chain: cluster.id,
    actor: 'act',
    action: 'autonomy.watched-anew',
    subject: `kind:${kind}`,
    phase: 'done',
    detail: { reason },
    atMs: nowMs,
  });
}

/** What guards said of the engine's proposal, where that speaks against its judgement. */
export async function noteDenial(
  step: Step,
  { kind, origin }: { kind: CommandKind; origin: string },
  denial: Denial | undefined,
): Promise<void> {
  if (origin !== 'engine' || !denial || !isContradiction(denial)) return;
  await watchAnew(step, kind, `${denial.code}: ${denial.reason}`);
}
