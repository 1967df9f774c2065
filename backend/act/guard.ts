/**
 * The shape of a guard: what it may look at and what it may answer. Facts are plain data, so that
 * a stored verdict can be judged again. Pure.
 */
import type { CommandKind, CommandState } from '../../broker/contract/command.ts';
import type { Driver } from '../../broker/contract/facts.ts';
import type { Fact } from '../decide/plan.ts';

export type Phase = 'PLANNED' | 'GRANT';

/** What is known of one node now; null is unknown, never a default. */
export type NodeFact = {
  id: string;
  online: boolean;
  driver: Driver | null;
  protected: boolean;
  protectedReason: string | null;
  journalConfirmed: boolean;
  /** Guests its newest sample shows as not stopped. */
  runningGuests: number | null;
  /** Age of that sample by the server's monotonic clock, and what is still fresh. */
  sampleAgeMs: number | null;
  freshMs: number;
};

export type OtherCommand = { id: string; kind: CommandKind; state: CommandState; target: string };

export type GuardFacts = {
  kind: CommandKind;
  cluster: { id: string; simulated: boolean; hold: boolean };
  epoch: number;
  /** Highest epoch the executor ever accepted; 0 before it said so. */
  executorMaxEpoch: number;
  executor: NodeFact | null;
  target: { kind: 'node' | 'guest'; id: string };
  /** The node itself, for a command on a node. */
  targetNode: NodeFact | null;
  /** Where the guest was last seen, for a command on a guest. */
  guestNode: string | null;
  /** For a migration. */
  destination: { id: string; node: NodeFact | null } | null;
  /** For a wake: resolved addresses of the target. */
  wake: { macs: number } | null;
  /** Other commands of the cluster that are open and take a node away. */
  powerOffs: readonly OtherCommand[];
  powerOffsMax: number;
  /** The INDETERMINATE command that keeps this target, if one does. */
  unresolved: OtherCommand | null;
};

export type Denial = { rule: string; code: string; reason: string; wayOut: string };
export type Verdict = { facts: Fact[]; denial: Denial | null };

export type Guard = {
  id: string;
  appliesTo(kind: CommandKind): boolean;
  verdict(facts: GuardFacts): Verdict;
};

export type Says = { code: string; reason: string; wayOut: string };
/** A denial under its rule, or a pass; the inputs are kept either way. */
export const judged = (rule: string, facts: Fact[], says: Says | null): Verdict => ({
  facts,
  denial: says && { rule, ...says },
});

export type Evaluation = {
  phase: Phase;
  atMs: number;
  verdicts: ({ id: string } & Verdict)[];
};

export const denialOf = (evaluation: Evaluation): Denial | undefined =>
  evaluation.verdicts.find((verdict) => verdict.denial)?.denial ?? undefined;
