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

/** A node sleeps by itself only where its guests leave by themselves, and where it is woken so. */
const sleepKinds = ['node.shutdown', 'guest.migrate', 'node.wake'] as const;

const automaticOf = (step: Step): CommandKind[] => {
  const autonomy = JSON.parse(step.cluster.autonomy) as Autonomy;
  return sleepKinds.filter((kind) => wishedLevel(autonomy, kind) === 'auto');
};

/** How sleep by itself stands: of all that it takes, what is automatic last. */
export async function watchStanding(step: Step): Promise<WatchStanding> {
  const { cluster } = step;
  const { shadowMs } = limitsOf(cluster);
  const standing = async (kind: CommandKind): Promise<WatchStanding> => {
    const run = await step.rows.shadowRun(cluster.id, kind);
    return {
      wished: wishedLevel(JSON.parse(cluster.autonomy) as Autonomy, 'node.shutdown'),
      level: await levelFor(step, kind),
      automaticAtMs: shadowMs === 0 ? null : (run?.since_ms ?? cluster.created_at_ms) + shadowMs,
      reason: run?.reason ?? null,
    };
  };
  let last = await standing('node.shutdown');
  for (const kind of automaticOf(step)) {
    const other = await standing(kind);
    if ((other.automaticAtMs ?? 0) > (last.automaticAtMs ?? 0)) last = other;
  }
  return last;
}

/** An administrator answers for it: the watch counts as over, until the next contradiction. */
export async function endWatch(step: Step, actor: string): Promise<void> {
  const { cluster, nowMs } = step;
  const { shadowMs } = limitsOf(cluster);
  if (shadowMs === 0) return;
  const reason = `ended before its time by ${actor}`;
  const since_ms = nowMs - shadowMs;
  for (const kind of new Set<CommandKind>(['node.shutdown', ...automaticOf(step)])) {
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
