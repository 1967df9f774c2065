/**
 * What can be wrong with a house: each of these hurts one thing, at the edge of the rule that
 * watches it. Grouped as SAFETY section 2 is.
 */
import type { Lie } from './lie.ts';
import { controlLies } from './lies-control.ts';
import { guestLies } from './lies-guest.ts';
import { powerLies } from './lies-power.ts';
import { quorumLies } from './lies-quorum.ts';

/** Quorum twice, since most of the danger is there. */
export const lies: readonly Lie[] = [
  ...quorumLies,
  ...quorumLies,
  ...powerLies,
  ...guestLies,
  ...controlLies,
];
