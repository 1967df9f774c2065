/** The three answers to a look at the world, as every driver words them. Pure. */
import type { Observation } from './port.ts';

export const seen = (detail: string): Observation => ({ postcondition: true, detail });
export const unseen = (detail: string): Observation => ({ postcondition: null, detail });
export const judged = (holds: boolean, detail: string): Observation => ({
  postcondition: holds,
  detail,
});
