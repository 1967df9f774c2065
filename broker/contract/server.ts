/**
 * What the server says that must not be forged: its identity and HOLD (retained), the sync that
 * answers a hello, and grants. Each travels as `Signed`: Ed25519 over the UTF-8 bytes of the
 * string `signed`, which is parsed only after the check.
 */
import { z } from 'zod';
import { CommandKind, CommandState } from './command.ts';
import { MacAddress } from './facts.ts';
import { ClusterId, NodeId, Uuid } from './ids.ts';
import {
  nodesPerDaemonMax,
  openCommandsMax,
  sampleIntervalMaxMs,
  sampleIntervalMinMs,
} from './limits.ts';

/** First 16 hex digits of the SHA-256 of the raw 32-byte public key. */
export const KeyId = z.string().regex(/^[0-9a-f]{16}$/, 'use 16 lower-case hex digits');

export const Signed = z.strictObject({
  signed: z.string().max(65_536),
  keyId: KeyId,
  /** Base64 of the 64 signature bytes. */
  signature: z.base64().length(88),
});

/** Base64 of the raw 32-byte Ed25519 public key. */
export const ServerKey = z.strictObject({ keyId: KeyId, publicKey: z.base64().length(44) });

export const ServerContent = z.strictObject({
  v: z.literal(1),
  type: z.literal('server'),
  serverId: Uuid,
  keyIds: z.array(KeyId).min(1).max(2),
  hold: z.strictObject({ all: z.boolean(), clusters: z.array(ClusterId).max(4_096) }),
  /** Strictly grows with every change; an older one is ignored. */
  version: z.int().min(1),
});

/** Where a sleeping node can be woken from, should the backend be lost. */
export const WakeTable = z.strictObject({
  version: z.int().min(0),
  wakeAfterMs: z.int().min(1).nullable(),
  entries: z
    .array(
      z.strictObject({
        node: NodeId,
        macs: z.array(MacAddress).min(1).max(16),
        broadcasts: z.array(z.ipv4()).max(16),
      }),
    )
    .max(1_024),
});

export const SyncContent = z.strictObject({
  v: z.literal(1),
  type: z.literal('sync'),
  cluster: ClusterId,
  node: NodeId,
  /** The session it answers; a sync of another session is ignored. */
  session: Uuid,
  epoch: z.int().min(0),
  hold: z.boolean(),
  simulated: z.boolean(),
  storedIncarnation: z.int().min(0),
  storedSeq: z.int().min(0),
  intervalMs: z.int().min(sampleIntervalMinMs).max(sampleIntervalMaxMs),
  /** Every open command whose executor is this node. */
  commands: z
    .array(z.strictObject({ commandId: Uuid, kind: CommandKind, state: CommandState }))
    .max(openCommandsMax),
  wakeTable: WakeTable.nullable().default(null),
});

/** Everything up to (incarnation, storedSeq) is durable; the daemon may forget it. */
export const Receipt = z.strictObject({
  incarnation: z.int().min(0),
  storedSeq: z.int().min(0),
});

/** First message of a session opened with an enrolment token; it may say nothing else. */
export const Enrol = z.strictObject({
  daemonVersion: z.string().max(64),
  kernel: z.string().max(128).nullable().default(null),
});

/** The answer: the final credential, shown once, and whom to believe from now on. */
export const Enrolled = z.strictObject({
  daemon: z.string().max(63),
  /** 64 lower-case hex digits; the server keeps only its SHA-256. */
  secret: z.string().regex(/^[0-9a-f]{64}$/),
  serverId: Uuid,
  serverKeys: z.array(ServerKey).min(1).max(2),
  simulated: z.boolean(),
  /** Only for a daemon that speaks for more nodes than the one that was enrolled. */
  nodes: z.array(NodeId).min(2).max(nodesPerDaemonMax).optional(),
});

export type Signed = z.infer<typeof Signed>;
export type ServerKey = z.infer<typeof ServerKey>;
export type ServerContent = z.infer<typeof ServerContent>;
export type SyncContent = z.infer<typeof SyncContent>;
export type WakeTable = z.infer<typeof WakeTable>;
export type Receipt = z.infer<typeof Receipt>;
export type Enrol = z.infer<typeof Enrol>;
export type Enrolled = z.infer<typeof Enrolled>;
