/**
 * What is true of a node or guest for longer than a sample: hardware, quorum, HA, storage, power,
 * limits. Guards, engine and backtests read these; `facts_history` keeps every change. A fact the
 * driver cannot learn is null, and a guard that needs it denies.
 */
import { z } from 'zod';
import { CommandKind } from './command.ts';
import { GuestId, NodeId } from './ids.ts';
import { nameLengthMax, tagLengthMax, tagsPerGuestMax, textLengthMax } from './limits.ts';
import { GuestKind } from './telemetry.ts';

const text = z.string().max(textLengthMax);
const textOrNull = text.nullable().default(null);
const count = z.int().min(0);
const countOrNull = count.nullable().default(null);
const flagOrNull = z.boolean().nullable().default(null);
const list = <T extends z.ZodType>(item: T, max: number) =>
  z.array(item).max(max).nullable().default(null);

export const MacAddress = z
  .string()
  .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/, 'use six lower-case hex pairs joined by colons');

export const Driver = z.object({
  name: z.enum(['memory', 'script', 'host', 'proxmox', 'proxmox-api', 'lxd']),
  version: z.string().max(64).nullable().default(null),
  /** True for the twin and the fake tools: such a daemon may only join a simulated cluster. */
  simulated: z.boolean(),
  /** Kinds this driver performs on this node; everything else is refused at PLANNED. */
  capabilities: z.array(CommandKind),
});

const NetworkLink = z.object({
  name: z.string().max(32),
  mac: MacAddress,
  /** IPv4 with prefix length, for the directed broadcast. */
  address: z.string().max(64).nullable().default(null),
  broadcast: z.string().max(64).nullable().default(null),
  /** `Wake-on: g` read fresh; null when unreadable. */
  wakeOnMagic: flagOrNull,
  driver: textOrNull,
});

const Quorum = z.object({
  quorate: z.boolean(),
  expectedVotes: count,
  totalVotes: count,
  quorumVotes: count,
  members: z.array(z.object({ node: NodeId, votes: count, online: z.boolean() })).max(4_096),
  qdevice: z
    .object({ votes: count, alive: z.boolean(), voting: z.boolean(), seenAgeMs: countOrNull })
    .nullable()
    .default(null),
});

const HighAvailability = z.object({
  managed: z.boolean(),
  lrmState: textOrNull,
  mode: textOrNull,
  watchdogOpen: flagOrNull,
  shutdownPolicy: textOrNull,
  services: z.array(z.object({ sid: text, state: text, node: NodeId })).max(2_048),
});

/** Ceph as this node sees it; only where a Ceph service runs on it. */
const Ceph = z.object({
  health: textOrNull,
  /** `ceph osd ok-to-stop` for all OSDs of this node, `ceph mon ok-to-stop` for its monitor. */
  osdsOkToStop: flagOrNull,
  monOkToStop: flagOrNull,
  /** The smallest min_size of all pools. */
  poolMinSize: countOrNull,
  monsTotal: countOrNull,
  monsInQuorum: countOrNull,
  hasMon: flagOrNull,
  /** `noout` is set for this host. */
  noout: flagOrNull,
});

const Storage = z.object({
  id: z.string().max(nameLengthMax),
  type: z.string().max(32).nullable().default(null),
  shared: z.boolean(),
  active: z.boolean(),
  usedBytes: z.number().min(0).nullable().default(null),
  totalBytes: z.number().min(0).nullable().default(null),
});

export const NodeFacts = z.object({
  cpuVendor: textOrNull,
  cpuModel: textOrNull,
  microcode: textOrNull,
  cpuCount: countOrNull,
  memoryBytes: z.number().min(0).nullable().default(null),
  /** Measured single-thread factor, 1.0 = the reference of docs/telemetry. */
  singleThreadFactor: z.number().positive().nullable().default(null),
  wattsIdle: z.number().min(0).nullable().default(null),
  wattsLoaded: z.number().min(0).nullable().default(null),
  /** What this daemon measures power by: an administrator's program, or the processor's counters. */
  powerSource: z.enum(['program', 'rapl']).nullable().default(null),
  biosVersion: textOrNull,
  kernel: textOrNull,
  hypervisorVersion: textOrNull,
  zone: textOrNull,
  rack: textOrNull,
  powerGroup: textOrNull,
  links: list(NetworkLink, 64),
  quorum: Quorum.nullable().default(null),
  ha: HighAvailability.nullable().default(null),
  storages: list(Storage, 256),
  /** Roles that make a node precious: gateway, dns, dhcp, nfs, ceph-osd, kernreaktor, ... */
  roles: list(z.string().max(64), 64),
  /** Things at work now that a power-off would cut: vzdump, scrub, apt, ssh-session, ... */
  busy: list(z.object({ what: z.string().max(64), detail: textOrNull }), 64),
  upsOnBattery: flagOrNull,
  runningGuests: countOrNull,
  maintenance: flagOrNull,
  protected: flagOrNull,
  /** DMI product UUID, lower case. */
  systemUuid: textOrNull,
  /** Whom this daemon can wake and by what, in its administrator's order; node null is the rest. */
  wakers: list(
    z.object({
      node: NodeId.nullable(),
      by: z.array(z.enum(['wol', 'ipmi', 'redfish', 'plug', 'script'])).max(8),
    }),
    1_024,
  ),
  /** Parts of Kernreaktor itself that this daemon found here; guest null is the host itself. */
  house: list(
    z.object({
      part: z.enum(['backend', 'mariadb', 'influxdb', 'broker', 'gateway']),
      guest: GuestId.nullable(),
      by: text,
    }),
    32,
  ),
  ceph: Ceph.nullable().default(null),
  /** Replication jobs whose source is this node. */
  replication: list(
    z.object({ guest: GuestId, target: NodeId, running: z.boolean(), failed: z.boolean() }),
    512,
  ),
  /** Measured medians; null until measured. */
  bootMs: countOrNull,
  migrationBytesPerSecond: z.number().positive().nullable().default(null),
  /** What settings of the daemon or of the hypervisor allow a migration; null: no limit is known. */
  migrationLimitBytesPerSecond: z.number().positive().nullable().default(null),
  clockOffsetMs: z.number().nullable().default(null),
});

export const GuestFacts = z.object({
  id: GuestId,
  kind: GuestKind,
  name: z.string().max(nameLengthMax),
  tags: z.array(z.string().max(tagLengthMax)).max(tagsPerGuestMax).default([]),
  lock: textOrNull,
  haState: textOrNull,
  /** True while the hypervisor's own balancer moves this guest. */
  ownedByHypervisorBalancer: flagOrNull,
  template: z.boolean().default(false),
  cpuType: textOrNull,
  cpuCount: countOrNull,
  cpuLimit: z.number().min(0).nullable().default(null),
  cpuUnits: countOrNull,
  memoryMaxBytes: z.number().min(0).nullable().default(null),
  balloonMinBytes: z.number().min(0).nullable().default(null),
  hotplug: list(z.string().max(32), 16),
  disks: list(
    z.object({
      volume: text,
      storage: z.string().max(nameLengthMax).nullable().default(null),
      sizeBytes: z.number().min(0).nullable().default(null),
      shared: z.boolean(),
    }),
    128,
  ),
  /** What binds it to this host: passthrough, local CD, virtiofs, snapshots. */
  localResources: list(text, 64),
  allowedNodes: list(NodeId, 4_096),
  /** The guest's owner agreed that a migration may restart it. */
  mayRestart: flagOrNull,
  /** Of a stopped guest: whether somebody asked its host for the stop. Absent where it runs. */
  stopAsked: z.boolean().nullable().optional(),
  /** Its own cards and board, by its configuration; what it calls itself may differ. */
  macs: list(MacAddress, 32),
  systemUuid: textOrNull,
});

export type Driver = z.infer<typeof Driver>;
export type NodeFacts = z.infer<typeof NodeFacts>;
export type GuestFacts = z.infer<typeof GuestFacts>;
