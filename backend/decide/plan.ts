/**
 * What a decide round says: intents that leave nothing to choose, and a report that explains
 * them and everything that was not done. The dispatcher may drop an intent, never invent one.
 */
import type { Action, Target } from '../../broker/contract/command.ts';

/** A number that took part in a verdict, as stored and shown. */
export type Fact = { name: string; value: number | string | boolean | null; unit?: string };

export type Intent = {
  cluster: string;
  target: Target;
  /** Node that executes it. */
  executor: string;
  action: Action;
  rule: string;
  /** One sentence with its numbers. */
  reason: string;
  facts: Fact[];
  alternatives: { what: string; rejectedBecause: string }[];
  predicted: Fact[];
  /** By how much it wins over doing nothing, in the rule's own unit. */
  margin: Fact;
  /** Who ordered it: a step of what a person has asked for waits for no other approval. */
  orderedBy?: string;
};

/** As reasons and flips tell a time. */
export const secondsText = (ms: number): string => `${Math.round(ms / 1000)} s`;

/** A node or guest that was looked at and left alone. */
export type NonAction = {
  subject: { kind: 'node' | 'guest' | 'cluster'; id: string };
  rule: string;
  reason: string;
  /** The smallest change that would have flipped it, null when none is known. */
  flip: string | null;
  /** A change that was tried on the same inputs and did flip it; absent where none was found. */
  verified?: string;
};

export type Report = {
  summary: string;
  nonActions: NonAction[];
  /** Guests that the engine moved to and fro: it moves nothing in this cluster for a while. */
  oscillating?: string[];
  /** True when this round looked for nodes to empty or to put to sleep. */
  hasLookedToSave?: boolean;
  /** Nodes that are being emptied after this round; absent when it did not look at them. */
  draining?: readonly string[];
  /** Nodes that a person wanted empty and that are, and those whose guests are back. */
  emptied?: readonly string[];
  returned?: readonly string[];
};
export type Plan = { cluster: string; intents: Intent[]; report: Report };
