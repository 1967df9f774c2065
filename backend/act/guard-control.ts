/**
 * What events leave behind for the guards to read: a person's act pauses automation of its target
 * (SAFETY A1), a failed campaign or a cluster gone stale freezes it (B1, T1), and a wake that
 * failed quarantines its node (W3). Written in the step of the event itself; it denies nothing.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import { appendEntry } from '../audit/entry.ts';
import type { Commands } from '../store/sql/schema.ts';
import type { GuardFacts } from './guard.ts';
import { type Limits, limitsOf } from './guard-limits.ts';
import { isMostlyStale } from './guards-cluster.ts';
import { isPowerOff } from './lifecycle.ts';
import { type Context, type Step, timeScaleOf } from './step.ts';
import { watchAnew } from './watch.ts';

const campaignMin = 5;
const failedRatio = 0.1;
const campaignMs = 3_600_000;

type Ended = Pick<Commands, 'id' | 'kind' | 'state' | 'target_kind' | 'target_id'> &
  Pick<Commands, 'origin' | 'actor' | 'granted_at_ms' | 'started_at_ms'>;

/** Whoever takes a thing in hand has it for a while. */
export async function pauseAutomation(step: Step, row: Ended): Promise<void> {
  const { manualPauseMs } = limitsOf(step.cluster);
  const isManual = row.origin === 'person' || row.origin === 'token';
  if (!isManual || manualPauseMs === 0) return;
  const target = { cluster: step.cluster.id, kind: row.target_kind, id: row.target_id };
  const paused_until_ms = Math.round(step.nowMs + manualPauseMs);
  await step.rows.updateTarget(target, { paused_until_ms, paused_by: row.actor });
}

/** A freeze is only ever prolonged here; an administrator lifts it. */
async function freeze(step: Step, forMs: number, reason: string): Promise<void> {
  const untilMs = Math.round(step.nowMs + forMs);
  if (forMs === 0 || (step.cluster.frozen_until_ms ?? 0) >= untilMs) return;
  const isNew = (step.cluster.frozen_until_ms ?? 0) <= step.nowMs;
  const frozen = { frozen_until_ms: untilMs, frozen_reason: reason };
  await step.rows.updateCluster(step.cluster.id, frozen);
  step.cluster = { ...step.cluster, ...frozen };
  if (!isNew) return;
  step.context.log.warn({ cluster: step.cluster.id, untilMs, reason }, 'cluster frozen');
  await appendEntry(step.rows, {
    chain: step.cluster.id,
    actor: 'act',
    action: 'cluster.frozen',
    subject: `cluster:${step.cluster.id}`,
    phase: 'done',
    detail: { reason, untilMs },
    atMs: step.nowMs,
  });
}

/** Nobody is missed before every daemon had time to connect to a server that has just started. */
const missedAfterMs = 120_000;
/** How long a freeze outlasts what is written at once, so that it is not written each second. */
const renewEveryMs = 30_000;

export const isStorm = (context: Context, awake: GuardFacts['awake'], limits: Limits): boolean =>
  limits.freezeMs > 0 &&
  context.reach.listeningForMs() >= missedAfterMs &&
  isMostlyStale(awake, limits.staleNodesMin);

/** SAFETY T1: from the last moment of the storm on, the cluster is only observed for a while. */
export async function freezeByStorm(
  step: Step,
  awake: GuardFacts['awake'],
  limits: Limits,
): Promise<void> {
  const reason = `${awake.stale} of ${awake.expected} nodes that should be awake were not heard`;
  const leftMs = (step.cluster.frozen_until_ms ?? 0) - step.nowMs;
  if (leftMs < limits.freezeMs) await freeze(step, limits.freezeMs + renewEveryMs, reason);
}

export async function noteStaleness(step: Step, { awake, limits }: GuardFacts): Promise<void> {
  if (isStorm(step.context, awake, limits)) await freezeByStorm(step, awake, limits);
}

/** False where it is quarantined already, or the cluster knows no quarantine. */
export async function quarantineNode(step: Step, id: string): Promise<boolean> {
  const { wakeQuarantineMs } = limitsOf(step.cluster);
  const key = { cluster: step.cluster.id, id };
  const node = await step.rows.node(key);
  const isBarred = (node?.quarantined_until_ms ?? 0) > step.nowMs;
  if (!node || isBarred || wakeQuarantineMs === 0) return false;
  const quarantined_until_ms = Math.round(step.nowMs + wakeQuarantineMs);
  return step.rows.updateNode(key, { quarantined_until_ms });
}

async function judgeMigrations(step: Step, limits: Limits): Promise<void> {
  const rows = await step.rows.commandsOf(step.cluster.id, {
    kinds: ['guest.migrate'],
    states: ['SUCCEEDED', 'FAILED', 'INDETERMINATE'],
    grantedAfterMs: step.nowMs - campaignMs / timeScaleOf(step.cluster),
  });
  const failed = rows.filter(({ state }) => state !== 'SUCCEEDED').length;
  if (rows.length < campaignMin || failed < rows.length * failedRatio) return;
  await freeze(step, limits.abortFreezeMs, `${failed} of ${rows.length} migrations failed`);
}

/** Only what was granted can have failed; a refusal before that harmed nobody. */
export async function noteOutcome(step: Step, row: Ended): Promise<void> {
  const isBad = row.state === 'FAILED' || row.state === 'INDETERMINATE';
  if (!isBad || row.granted_at_ms === null) return;
  const limits = limitsOf(step.cluster);
  if (row.origin === 'engine') {
    await watchAnew(
      step,
      row.kind as CommandKind,
      `${row.kind} of ${row.target_id} is ${row.state}`,
    );
  }
  // One that stays in doubt has further ways to be tried by (again.ts).
  if (row.kind === 'node.wake' && row.state === 'FAILED' && row.started_at_ms !== null) {
    await quarantineNode(step, row.target_id);
  }
  if (row.kind === 'guest.migrate') await judgeMigrations(step, limits);
  if (row.state === 'FAILED' && (row.kind === 'node.wake' || isPowerOff(row.kind as CommandKind))) {
    await freeze(step, limits.abortFreezeMs, `${row.kind} of ${row.target_id} failed`);
  }
}
