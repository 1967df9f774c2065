/**
 * The time after a start in which the picture is not whole yet: bounded, so that a node that never
 * comes back keeps no command waiting for ever. Pure.
 */
import type { GuardFacts } from './guard.ts';

/** Every daemon has reconnected long before. */
const settleMs = 120_000;

export const settlingCode = 'KR_SETTLING';

export const isSettling = ({ listeningForMs, limits, awake }: GuardFacts): boolean =>
  listeningForMs < limits.startupHoldMs || (listeningForMs < settleMs && awake.stale > 0);

/** Names what a command had waited for when its deadline passed. */
export const lateReason = (
  { state_reason }: { state_reason: string | null },
  usual: string,
): string =>
  state_reason?.startsWith(settlingCode)
    ? `${state_reason}; it did not come in time, send it again`
    : usual;
