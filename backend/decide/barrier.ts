/**
 * Why a guest stays where it is, whatever its node needs: its own state, what people and hypervisor
 * hold it by, and how lately it moved. Pure.
 */
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import { boundReason } from './constraints.ts';
import type { GuestRule } from './guest-rules.ts';
import type { Situation } from './model.ts';
import { secondsText } from './plan.ts';
import { scaledMs } from './policy.ts';
import type { Recent } from './recent.ts';
import { refusalOf, targetsMax } from './refusals.ts';

/** Why this guest may not be moved now, or null. */
export function barrierOf(
  guest: GuestSample,
  situation: Situation,
  { rule, recent, isOrdered }: { rule: GuestRule | null; recent: Recent; isOrdered: boolean },
): string | null {
  const { cluster, policy, history, nowMs } = situation;
  const bound = boundReason(guest, rule);
  if (bound !== null) return bound;
  const refused = refusalOf(situation, 'guest', guest.id);
  if (refused && refused.targets.length >= targetsMax) {
    return `was refused by the guards ${secondsText(nowMs - refused.atMs)} ago`;
  }
  // What a person wants moved waits for no cooldown.
  if (isOrdered || history.lastMovedAtMs.size === 0) return null;
  if (recent.movesLeft(guest.id) <= 0) {
    return `has moved ${policy.limits.guestMovesPerDay} times within 24 h`;
  }
  const movedAtMs = history.lastMovedAtMs.get(`${cluster.id}/${guest.id}`);
  if (movedAtMs === undefined) return null;
  const backoff = 2 ** recent.failuresOf(guest.id);
  const cooldownMs = scaledMs(policy.limits.guestCooldownMs, cluster) * backoff;
  return nowMs - movedAtMs < cooldownMs
    ? `moved ${secondsText(nowMs - movedAtMs)} ago, cooldown ${secondsText(cooldownMs)}`
    : null;
}
