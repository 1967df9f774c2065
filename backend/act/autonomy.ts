/**
 * How much the engine may do by itself (SAFETY A1): what an administrator wished, and `auto` only
 * once the engine has been watched for long enough without a contradiction. What it proposed and a
 * guard had to stop, and what failed or stayed uncertain, begins the watch anew; until it is over,
 * `auto` means `approve`. Pure.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { Denial } from './guard.ts';

export const autonomyLevels = ['observe', 'recommend', 'approve', 'auto'] as const;
export type AutonomyLevel = (typeof autonomyLevels)[number];
export type Autonomy = Readonly<Record<string, AutonomyLevel>>;

/** Unknown means nothing may be done. */
export const wishedLevel = (autonomy: Autonomy, kind: CommandKind): AutonomyLevel =>
  autonomy[kind] ?? autonomy['default'] ?? 'observe';

export type Watch = {
  /** Since when the engine is watched in this kind without a contradiction. */
  sinceMs: number;
  /** For how long it has to be. */
  shadowMs: number;
  nowMs: number;
};

export function levelNow(
  wished: AutonomyLevel,
  { sinceMs, shadowMs, nowMs }: Watch,
): AutonomyLevel {
  return wished === 'auto' && nowMs - sinceMs < shadowMs ? 'approve' : wished;
}

/**
 * Denials that say nothing against the engine's judgement: the moment was not right, or somebody
 * else decided otherwise. Every other denial contradicts it.
 */
const circumstances: ReadonlySet<string> = new Set([
  'KR_HOLD',
  'KR_LOCAL_HOLD',
  'KR_FROZEN',
  'KR_STARTING',
  'KR_SNAPSHOT',
  'KR_PAUSED',
  'KR_KEPT_AWAKE',
  'KR_WINDOW',
  'KR_WINDOW_UNKNOWN',
  'KR_COMMANDS_AT_ONCE',
  'KR_LIMITER',
  'KR_EXECUTOR_OFFLINE',
  'KR_TARGET_UNRESOLVED',
  'KR_WAKE_UNPROVEN',
  'KR_WAKE_TABLE',
  'KR_OWN_HOUSE',
  // A backup, scrub or login, a member that came or went, a host that has just booted: all pass.
  'KR_BUSY',
  'KR_LOCKED',
  'KR_ON_BATTERY',
  'KR_MEMBERSHIP_UNSTABLE',
  'KR_UP_TOO_SHORT',
]);
export const isContradiction = ({ code }: Denial): boolean => !circumstances.has(code);
