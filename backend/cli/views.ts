/** What the server answers, as far as client commands read it. More fields than these are kept. */
import { z } from 'zod';
import { commandStates } from '../../broker/contract/command.ts';

const orNull = z.number().nullable();

export const NodeRow = z.looseObject({
  id: z.string(),
  cluster: z.string(),
  state: z.string(),
  ageMs: orNull,
  cpuRatio: orNull,
  cpuCount: orNull,
  memoryUsedBytes: orNull,
  memoryTotalBytes: orNull,
  powerWatts: orNull,
  /** A server of an earlier version estimates nothing. */
  powerEstimatedWatts: orNull.default(null),
  guestCount: orNull,
});
export type NodeRow = z.infer<typeof NodeRow>;

export const GuestRow = z.looseObject({
  id: z.string(),
  cluster: z.string(),
  node: z.string(),
  name: z.string(),
  state: z.string(),
  cpuRatio: orNull,
  memoryUsedBytes: orNull,
  memoryTotalBytes: orNull,
});
export type GuestRow = z.infer<typeof GuestRow>;

export const ClusterRow = z.looseObject({
  id: z.string(),
  simulated: z.boolean(),
  hold: z.boolean(),
  autonomy: z.record(z.string(), z.string()),
  nodeCount: z.number(),
  guestCount: z.number(),
  nodeStates: z.record(z.string(), z.number()),
});

export const CommandRow = z.looseObject({
  id: z.string(),
  cluster: z.string(),
  kind: z.string(),
  target: z.object({ kind: z.enum(['node', 'guest']), id: z.string() }),
  node: z.string(),
  state: z.enum(commandStates),
  stateReason: z.string().nullable(),
  actor: z.string(),
  plannedAt: z.string(),
});
export type CommandRow = z.infer<typeof CommandRow>;

export const CommandDetail = CommandRow.extend({
  steps: z
    .array(
      z.looseObject({
        step: z.string(),
        node: z.string(),
        command: z.string().nullable(),
        state: z.string(),
        reason: z.string().nullable(),
      }),
    )
    .optional(),
  history: z.array(
    z.looseObject({ state: z.string(), at: z.string(), reason: z.string().optional() }),
  ),
});
export type CommandDetail = z.infer<typeof CommandDetail>;

export const Decision = z.looseObject({
  id: z.string(),
  cluster: z.string(),
  at: z.string(),
  outcome: z.string(),
  summary: z.string(),
  intents: z.array(
    z.looseObject({
      target: z.object({ id: z.string() }),
      reason: z.string(),
      rule: z.string(),
      alternatives: z
        .array(z.object({ what: z.string(), rejectedBecause: z.string() }))
        .default([]),
      predicted: z.array(z.looseObject({ name: z.string(), value: z.unknown() })).default([]),
      margin: z.looseObject({ name: z.string(), value: z.unknown() }).optional(),
    }),
  ),
  nonActions: z.array(
    z.looseObject({
      subject: z.object({ id: z.string() }),
      rule: z.string(),
      reason: z.string(),
      flip: z.string().nullable(),
      verified: z.string().optional(),
    }),
  ),
  /** What was measured some minutes after it, beside what it had predicted. */
  measured: z
    .array(
      z.looseObject({
        target: z.string(),
        facts: z.array(
          z.looseObject({ name: z.string(), predicted: z.unknown(), value: z.unknown() }),
        ),
      }),
    )
    .nullish(),
});

export const pageOf = <T extends z.ZodType>(item: T) =>
  z.looseObject({ items: z.array(item), total: z.number(), nextCursor: z.string().nullable() });
