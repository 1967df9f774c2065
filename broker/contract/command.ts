/**
 * What may be asked of a node or guest, and the life of that wish. Values are absolute, never
 * relative: "cpuCount 4" may be repeated, "two more" may not. Commands are strict: an unknown
 * key is an error, never ignored.
 */
import { z } from 'zod';
import { ClusterId, GuestId, NodeId, Nonce, Uuid } from './ids.ts';
import { nameLengthMax, textLengthMax } from './limits.ts';

export const CommandKind = z.enum([
  'node.shutdown',
  'node.wake',
  'node.reboot',
  'node.drain',
  'node.restore',
  'guest.create',
  'guest.delete',
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.snapshot',
  'guest.migrate',
  'guest.scale',
]);
export type CommandKind = z.infer<typeof CommandKind>;

/**
 * An INDETERMINATE command of a repeatable kind releases its target, since doing it twice equals
 * doing it once; one of any other kind keeps it until it is resolved (SAFETY I7).
 */
export const repeatableKinds: ReadonlySet<CommandKind> = new Set([
  'node.wake',
  'guest.start',
  'guest.stop',
  'guest.scale',
]);

const timeoutMs = z.int().min(1_000).max(3_600_000);
const bytes = z
  .int()
  .min(1)
  .max(2 ** 50);
const mac = z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/, 'use aa:bb:cc:dd:ee:ff');

const NodeShutdown = z.strictObject({
  mode: z.enum(['poweroff', 'suspend']).default('poweroff'),
  /**
   * The node's own id, typed by a person: nobody need be able to wake it, they will switch it on
   * by hand. Counts from persons alone.
   */
  switchOnByHand: NodeId.optional(),
});
/** Empty from a person; the server resolves the target's addresses before the row is written. */
const NodeWake = z.strictObject({
  macs: z.array(mac).min(1).max(16).optional(),
  broadcasts: z.array(z.ipv4()).max(16).optional(),
  waker: z.enum(['wol', 'ipmi', 'redfish', 'plug', 'script']).optional(),
});
const Nothing = z.strictObject({});
const GuestStop = z.strictObject({
  /** False asks the guest to shut down cleanly; true cuts its power. */
  force: z.boolean().default(false),
  timeoutMs: timeoutMs.default(180_000),
});
const GuestMigrate = z.strictObject({
  targetNode: NodeId,
  /** False permits a restart on the way, for guests whose owner agreed. */
  online: z.boolean().default(true),
  withLocalDisks: z.boolean().default(false),
  bandwidthBytesPerSecond: bytes.optional(),
});
const GuestScale = z
  .strictObject({
    cpuCount: z.int().min(1).max(8_192).optional(),
    cpuLimit: z.number().min(0).max(8_192).optional(),
    cpuUnits: z.int().min(1).max(262_144).optional(),
    memoryBytes: bytes.optional(),
    balloonBytes: bytes.optional(),
  })
  .refine((args) => Object.keys(args).length > 0, {
    message: 'name at least one of cpuCount, cpuLimit, cpuUnits, memoryBytes, balloonBytes',
  });
const GuestSnapshot = z.strictObject({
  name: z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,39}$/, 'use 1 to 40 letters, digits, _ or -'),
});
const GuestCreate = z.strictObject({
  image: z.string().min(1).max(textLengthMax),
  kind: z.enum(['vm', 'container']),
  cpuCount: z.int().min(1).max(8_192),
  memoryBytes: bytes,
  diskBytes: bytes.optional(),
  start: z.boolean().default(true),
});

/** kind -> the schema of its `args`. */
export const commandArgs = {
  'node.shutdown': NodeShutdown,
  'node.wake': NodeWake,
  'node.reboot': Nothing,
  'node.drain': Nothing,
  'node.restore': Nothing,
  'guest.create': GuestCreate,
  'guest.delete': Nothing,
  'guest.start': Nothing,
  'guest.stop': GuestStop,
  'guest.restart': Nothing,
  'guest.snapshot': GuestSnapshot,
  'guest.migrate': GuestMigrate,
  'guest.scale': GuestScale,
} as const satisfies Record<CommandKind, z.ZodType>;

export type CommandArgs<K extends CommandKind> = z.infer<(typeof commandArgs)[K]>;

/** A kind with its checked arguments. */
export type Action = { [K in CommandKind]: { kind: K; args: CommandArgs<K> } }[CommandKind];

export const Target = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('node'), id: NodeId }),
  z.strictObject({ kind: z.literal('guest'), id: GuestId }),
]);
export type Target = z.infer<typeof Target>;

export const commandStates = [
  'PLANNED',
  'QUEUED',
  'OFFERED',
  'GRANTED',
  'RUNNING',
  'VERIFYING',
  'CANCELLING',
  'INDETERMINATE',
  'SUCCEEDED',
  'FAILED',
  'REJECTED',
  'CANCELLED',
  'EXPIRED',
] as const;
export const CommandState = z.enum(commandStates);
export type CommandState = z.infer<typeof CommandState>;

const terminalStates: ReadonlySet<CommandState> = new Set([
  'SUCCEEDED',
  'FAILED',
  'REJECTED',
  'CANCELLED',
  'EXPIRED',
]);
export const isTerminal = (state: CommandState): boolean => terminalStates.has(state);

/** An idempotent hint that work waits; void `ttlMs` after receipt by the daemon's own clock. */
export const Offer = z.strictObject({
  commandId: Uuid,
  kind: CommandKind,
  target: Target,
  args: z.record(z.string().max(nameLengthMax), z.json()),
  generation: z.int().min(1),
  epoch: z.int().min(1),
  ttlMs: z.int().min(1),
});

/** The daemon asks to act. Its local guards have already looked once. */
export const Claim = z.strictObject({
  commandId: Uuid,
  nonce: Nonce,
  journalId: Uuid,
  incarnation: z.int().min(1),
  bootId: Uuid.nullable(),
  maxEpoch: z.int().min(0),
});

/**
 * What the node would refuse by its own look, and the server has let pass because it knows more:
 * the node wakes by a way that asks no network card; replicas on it may age while it sleeps; an
 * administrator has said that no vote need be spare.
 */
export const Allowance = z.enum(['no-magic-packet', 'aged-replicas', 'no-spare-vote']);
export type Allowance = z.infer<typeof Allowance>;

/**
 * What the server signs when it grants: everything the executor needs, nothing left to choose.
 * Travels as the string `signed` of `Signed`; parsed only after the signature was checked.
 */
export const GrantContent = z.strictObject({
  v: z.literal(1),
  type: z.literal('grant'),
  cluster: ClusterId,
  /** The executor, which alone may act. */
  node: NodeId,
  commandId: Uuid,
  kind: CommandKind,
  target: Target,
  args: z.record(z.string().max(nameLengthMax), z.json()),
  generation: z.int().min(1),
  epoch: z.int().min(1),
  nonce: Nonce,
  simulated: z.boolean(),
  /** The executor gives up waiting for the effect after this long; it never re-runs. */
  timeoutMs: z.int().min(1),
  /** Divides durations inside a simulated world; 1 everywhere else. */
  timeScale: z.number().positive().default(1),
  policyHash: z.string().max(64).nullable().default(null),
  /** Absent when there is none. */
  allows: z.array(Allowance).min(1).max(8).optional(),
});

/** The server asks an executor, or a witness, what is true now. */
export const Probe = z.strictObject({
  commandId: Uuid,
  kind: CommandKind,
  target: Target,
  args: z.record(z.string().max(nameLengthMax), z.json()),
  /** `executor` re-attaches and reads its journal; `witness` only looks at the world. */
  role: z.enum(['executor', 'witness']),
  /** Of a host without a cluster that was switched off: where a witness shall look for it. */
  addresses: z.array(z.ipv4()).min(1).max(8).optional(),
});

export type Offer = z.infer<typeof Offer>;
export type Claim = z.infer<typeof Claim>;
export type GrantContent = z.infer<typeof GrantContent>;
export type Probe = z.infer<typeof Probe>;
