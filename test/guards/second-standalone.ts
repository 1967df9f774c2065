/** Who has no quorum at all, for the second reading of SAFETY section 2. */
import type { Case } from './case.ts';
import { isKnown, target } from './second-words.ts';

/** Standalone hosts have no quorum: nobody has ever heard of one, and nothing hints at one. */
export const isStandalone = (question: Case): boolean =>
  isKnown(target(question)?.record.facts) &&
  question.nodes.every(
    ({ record }) =>
      !isKnown(record.facts?.quorum) && record.membersOnline === null && !record.facts?.ha?.managed,
  );
