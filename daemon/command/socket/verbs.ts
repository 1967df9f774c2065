/**
 * Everything that agent and executor can say to each other: a closed list, each with its schema.
 * Invariant: whatever else arrives is no message. The agent asks and relays; only the executor
 * orders, and the sole order it gives is to send a wake.
 */
import { z } from 'zod';
import { Claim, Offer, Probe } from '../../../broker/contract/command.ts';
import { Driver, GuestFacts, MacAddress, NodeFacts } from '../../../broker/contract/facts.ts';
import { ClusterId, NodeId, Uuid } from '../../../broker/contract/ids.ts';
import { nodesPerDaemonMax, openCommandsMax } from '../../../broker/contract/limits.ts';
import { OpenCommand } from '../../../broker/contract/presence.ts';
import { Report, Verdict } from '../../../broker/contract/report.ts';
import { ServerKey, Signed } from '../../../broker/contract/server.ts';
import { Telemetry, Versions } from '../../../broker/contract/telemetry.ts';

const count = z.int().min(0);
const text = z.string().max(2_048);

/** A frame of the agent holds one packet of the broker; as JSON in JSON it may double. */
export const agentFrameBytesMax = 512 * 1024;
/** The facts of 500 guests with all their disks. */
export const executorFrameBytesMax = 4 * 2 ** 20;

const Delivered = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('sync'), node: NodeId, session: Uuid, body: Signed }),
  z.strictObject({ name: z.literal('offer'), node: NodeId, body: Offer }),
  z.strictObject({ name: z.literal('grant'), node: NodeId, body: Signed }),
  z.strictObject({
    name: z.literal('probe'),
    node: NodeId,
    body: Probe,
    reach: z.strictObject({ postcondition: z.boolean().nullable(), detail: text }).optional(),
  }),
  z.strictObject({ name: z.literal('verdict'), node: NodeId, body: Verdict }),
  z.strictObject({ name: z.literal('server'), body: Signed }),
]);

/** What an agent may ask; `greet` comes first on every connection. */
export const AgentAsk = z.discriminatedUnion('verb', [
  z.strictObject({
    verb: z.literal('greet'),
    /** Drawn once per agent process: another one begins a new count of samples. */
    run: Uuid,
    cluster: ClusterId,
    /** Believed at the very first greeting only, and from then on compared. */
    serverKeys: z.array(ServerKey).min(1).max(2),
  }),
  z.strictObject({ verb: z.literal('introduce'), node: NodeId }),
  z.strictObject({ verb: z.literal('deliver'), message: Delivered }),
  z.strictObject({ verb: z.literal('describe'), node: NodeId }),
  z.strictObject({ verb: z.literal('sample'), node: NodeId }),
  z.strictObject({
    verb: z.literal('history'),
    node: NodeId,
    span: z.strictObject({ afterMs: count, beforeMs: count }),
  }),
]);
export type AgentAsk = z.infer<typeof AgentAsk>;

export const AgentNote = z.strictObject({
  verb: z.literal('connected'),
  node: NodeId,
  online: z.boolean(),
});
export type AgentNote = z.infer<typeof AgentNote>;

export const remoteWakers = ['wol', 'redfish', 'plug'] as const;

/** What the executor may ask of the agent. */
export const ExecutorAsk = z.discriminatedUnion('verb', [
  z.strictObject({ verb: z.literal('goodbye'), node: NodeId }),
  z.strictObject({
    verb: z.literal('wake'),
    waker: z.enum(remoteWakers),
    request: z.strictObject({
      node: NodeId,
      macs: z.array(MacAddress).max(16),
      broadcasts: z.array(z.ipv4()).max(16),
      commandId: Uuid.optional(),
    }),
  }),
]);
export type ExecutorAsk = z.infer<typeof ExecutorAsk>;

export const ExecutorNote = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('claim'), node: NodeId, body: Claim }),
  z.strictObject({ name: z.literal('report'), node: NodeId, body: Report }),
  z.strictObject({ name: z.literal('changed'), node: NodeId }),
]);
export type ExecutorNote = z.infer<typeof ExecutorNote>;

/** The answers, by what was asked. */
export const Greeted = z.strictObject({
  nodes: z.array(NodeId).min(1).max(nodesPerDaemonMax),
  /** Another one than before: the executor was started anew. */
  incarnation: z.int().min(1),
});
export type Greeted = z.infer<typeof Greeted>;

export const Introduced = z.strictObject({
  journalId: Uuid,
  incarnation: z.int().min(1),
  maxEpoch: count,
  openCommands: z.array(OpenCommand).max(openCommandsMax),
  wakeTableVersion: count.nullable(),
  localHold: z.boolean(),
});

export const DeliveredAnswer = z
  .strictObject({ storedIncarnation: count, storedSeq: count, intervalMs: z.int().min(1) })
  .nullable();

export const Described = z.object({
  driver: Driver,
  bootId: Uuid.nullable(),
  facts: NodeFacts,
  guests: z.array(GuestFacts).nullable(),
});

export const Sampled = z.object({
  node: Telemetry.shape.node,
  guests: Telemetry.shape.guests,
  membersOnline: Telemetry.shape.membersOnline,
  versions: Versions,
});

const past = z.object({
  atMs: count,
  node: Telemetry.shape.node,
  guests: Telemetry.shape.guests,
});
/** Five minutes at 10 s, and some more. */
export const Remembered = z.array(past).max(1_000);

export const WakeAnswer = z.strictObject({ packets: count.max(1_000_000), detail: text });

const id = z
  .int()
  .min(1)
  .max(2 ** 31);

/** An answer, to either side's question. */
export const Answer = z.discriminatedUnion('ok', [
  z.strictObject({ re: id, ok: z.literal(true), value: z.unknown() }),
  z.strictObject({
    re: id,
    ok: z.literal(false),
    code: z.string().regex(/^KR_[A-Z0-9_]{2,48}$/),
    message: text,
  }),
]);
export type Answer = z.infer<typeof Answer>;

export const Question = z.strictObject({ id, ask: z.unknown() });
export const Note = z.strictObject({ note: z.unknown() });
