/**
 * Birth, will and goodbye of a session, and how a node introduces itself. A will whose session
 * is not the node's current one is ignored, so a late will cannot mark a new session offline.
 */
import { z } from 'zod';
import { Driver, GuestFacts, NodeFacts } from './facts.ts';
import { Uuid } from './ids.ts';
import { guestsPerNodeMax, openCommandsMax } from './limits.ts';

const count = z.int().min(0);

/** What the daemon costs and how far behind it is, measured by itself. */
export const DaemonLoad = z.object({
  lagMs: z.number().min(0).nullable().default(null),
  queuedSamples: count,
  droppedSamples: count,
  cpuRatio: z.number().min(0).nullable().default(null),
  memoryBytes: count.nullable().default(null),
});

export const Presence = z.object({
  online: z.boolean(),
  reason: z.enum(['birth', 'alive', 'will', 'goodbye', 'shutdown']),
  load: DaemonLoad.nullable().default(null),
});

/** Where the executor's durable journal stands with a command the server may still care about. */
export const OpenCommand = z.object({
  commandId: Uuid,
  phase: z.enum(['received', 'started', 'finished', 'refused']),
  /** Number of the last report written for it. */
  n: count,
  /** The hypervisor's own task id (a UPID), once known. */
  handle: z.string().max(256).nullable().default(null),
});

export const Hello = z.object({
  incarnation: z
    .int()
    .min(1)
    .max(2 ** 32),
  /** The kernel's boot id of the node itself; null where a cluster API cannot tell. */
  bootId: Uuid.nullable(),
  journalId: Uuid,
  /** Highest epoch the executor has accepted; it refuses lower ones for ever. */
  maxEpoch: count,
  driver: Driver,
  facts: NodeFacts,
  guests: z.array(GuestFacts).max(guestsPerNodeMax).nullable().default(null),
  openCommands: z.array(OpenCommand).max(openCommandsMax).default([]),
  /** Version of the signed wake table it holds; null for none. */
  wakeTableVersion: count.nullable().default(null),
  /** True while the node-local HOLD file or policy stops every command. */
  localHold: z.boolean().default(false),
});

export type DaemonLoad = z.infer<typeof DaemonLoad>;
export type Presence = z.infer<typeof Presence>;
export type OpenCommand = z.infer<typeof OpenCommand>;
export type Hello = z.infer<typeof Hello>;
