/**
 * What an executor says of a command, and the server's answer. A report is repeated until a
 * verdict names its (commandId, n); the server may see each any number of times, in any order.
 */
import { z } from 'zod';
import { CommandState } from './command.ts';
import { Uuid } from './ids.ts';
import { guardFactsMax, leftMax, outputTailLengthMax, textLengthMax } from './limits.ts';

const text = z.string().max(textLengthMax);

const common = {
  commandId: Uuid,
  /** Counts the reports of this command in this journal, from 1. */
  n: z.int().min(1),
  journalId: Uuid,
  incarnation: z.int().min(1),
};

/** As the server keeps the inputs of its own guards. */
const NamedFact = z.strictObject({
  name: z.string().max(64),
  value: z.union([z.number(), z.string().max(textLengthMax), z.boolean(), z.null()]),
  unit: z.string().max(16).optional(),
});

/** true: seen to hold; false: seen not to hold, stably; null: could not be seen. */
const Observed = z.boolean().nullable();

export const Report = z.discriminatedUnion('step', [
  z.strictObject({ ...common, step: z.literal('accepted') }),
  z.strictObject({
    ...common,
    step: z.literal('started'),
    handle: z.string().max(256).nullable().default(null),
  }),
  z.strictObject({
    ...common,
    step: z.literal('heartbeat'),
    handle: z.string().max(256).nullable().default(null),
    progressRatio: z.number().min(0).max(1).nullable().default(null),
  }),
  z.strictObject({
    ...common,
    step: z.literal('finished'),
    /** The tool's own opinion; never proof. */
    exitCode: z.int().nullable().default(null),
    postcondition: Observed,
    detail: text.default(''),
    output: z.string().max(outputTailLengthMax).default(''),
    /** What a person must still do; absent when nothing is left. */
    left: z.array(text).min(1).max(leftMax).optional(),
  }),
  z.strictObject({
    ...common,
    step: z.literal('refused'),
    /** A durable tombstone stands in the journal: this id never started and never will. */
    code: z.string().regex(/^KR_[A-Z0-9_]{2,48}$/, 'use a KR_ code'),
    reason: text,
    wayOut: text.default(''),
    /** Absent unless a guard of the node refused it: which one, by which rule, and on what facts. */
    guard: z
      .strictObject({
        id: z.string().max(64),
        rule: z.string().max(16),
        facts: z.array(NamedFact).max(guardFactsMax),
      })
      .optional(),
  }),
  z.strictObject({
    ...common,
    step: z.literal('probed'),
    role: z.enum(['executor', 'witness']),
    /** Whether the journal holds STARTED; null when the witness has no journal of it. */
    started: z.boolean().nullable(),
    postcondition: Observed,
    detail: text.default(''),
  }),
]);

export const Verdict = z.strictObject({
  commandId: Uuid,
  n: z.int().min(1),
  state: CommandState,
  reason: text.nullable().default(null),
});

export type GuardFact = z.infer<typeof NamedFact>;
export type Report = z.infer<typeof Report>;
export type Verdict = z.infer<typeof Verdict>;
