/**
 * What `pvesh get` answers about nodes, guests and tasks, in the spellings of PVE 8 and 9. Only
 * the fields we need; unknown rows and fields are left out, a known field in an unknown spelling
 * is an error: an answer that is not understood means "unknown", never "none". Pure.
 */
import { z } from 'zod';
import { Amount, Count, Flag, Numeric, Percent, tagsOf, Vmid } from './scalars.ts';

const text = z.string();
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((v) => v ?? null);

const ResourceGuest = z.object({
  type: z.literal(['qemu', 'lxc']),
  vmid: Vmid,
  node: text,
  status: text,
  name: optional(text),
  template: Flag.default(false),
  lock: optional(text),
  hastate: optional(text),
  uptime: optional(Amount),
  cpu: optional(Numeric),
  maxcpu: optional(Numeric),
  mem: optional(Amount),
  maxmem: optional(Amount),
  diskread: optional(Amount),
  diskwrite: optional(Amount),
  netin: optional(Amount),
  netout: optional(Amount),
  tags: text.optional().transform(tagsOf),
});
const ResourceNode = z.object({
  type: z.literal('node'),
  node: text,
  status: text,
  hastate: optional(text),
  uptime: optional(Amount),
  cpu: optional(Numeric),
  maxcpu: optional(Numeric),
  mem: optional(Amount),
  maxmem: optional(Amount),
  disk: optional(Amount),
  maxdisk: optional(Amount),
});
const ResourceStorage = z.object({
  type: z.literal('storage'),
  storage: text,
  node: text,
  status: text,
  shared: Flag.default(false),
  plugintype: optional(text),
  disk: optional(Amount),
  maxdisk: optional(Amount),
});
/** Pools, networks and whatever later versions list. */
const ResourceOther = z.object({ type: text }).transform(() => null);

const ResourceKnown = z.discriminatedUnion('type', [ResourceGuest, ResourceNode, ResourceStorage]);
type Known = z.infer<typeof ResourceKnown>;
const known = new Set(['qemu', 'lxc', 'node', 'storage']);

/** A row of a known type must be understood; falling through to "other" would hide a guest. */
const ResourceRow = z.unknown().transform((row, context) => {
  const type = z.object({ type: text }).safeParse(row);
  const schema = type.success && known.has(type.data.type) ? ResourceKnown : ResourceOther;
  const result = schema.safeParse(row);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  context.addIssue({ code: 'custom', message: issue?.message ?? 'invalid', path: issue?.path });
  return z.NEVER;
});

/** `/cluster/resources`. */
export const Resources = z.array(ResourceRow).transform((rows) => {
  const of = <T extends string>(...types: T[]) =>
    rows.filter((row): row is Known & { type: T } => types.some((type) => type === row?.type));
  return { guests: of('qemu', 'lxc'), nodes: of('node'), storages: of('storage') };
});
export type Resources = z.infer<typeof Resources>;

const StatusCluster = z.object({ type: z.literal('cluster'), name: text, quorate: Flag });
const StatusNode = z.object({
  type: z.literal('node'),
  name: text,
  nodeid: Count,
  online: Flag.default(false),
  local: Flag.default(false),
});

/** `/cluster/status`; a single node has no row of type cluster, and so no quorum to lose. */
export const ClusterStatus = z
  .array(z.discriminatedUnion('type', [StatusCluster, StatusNode]))
  .transform((rows) => ({
    cluster: rows.find((row) => row.type === 'cluster') ?? null,
    nodes: rows.filter((row) => row.type === 'node'),
  }));

/** `/nodes/{node}/status`; its `cpu` is 0 in a fresh process and therefore not read. */
export const NodeStatus = z.object({
  pveversion: text,
  kversion: optional(text),
  uptime: Amount,
  loadavg: z.array(Numeric).length(3),
  memory: z.object({ total: Amount, used: Amount }),
  cpuinfo: z.object({ cpus: Count, mhz: optional(Numeric), model: optional(text) }),
});
export type NodeStatus = z.infer<typeof NodeStatus>;

/** `/nodes/{node}/qemu` and `/lxc`; PVE 8 and stopped guests have no pressure. */
export const GuestList = z.array(
  z.object({
    vmid: Vmid,
    status: text,
    name: optional(text),
    lock: optional(text),
    template: Flag.default(false),
    uptime: optional(Amount),
    mem: optional(Amount),
    maxmem: optional(Amount),
    pressurecpusome: optional(Percent),
    pressureiosome: optional(Percent),
    pressurememorysome: optional(Percent),
    pressurememoryfull: optional(Percent),
  }),
);
export type GuestList = z.infer<typeof GuestList>;

/** `/nodes/{node}/{qemu|lxc}/{vmid}/status/current`. */
export const CurrentStatus = z.object({
  vmid: Vmid,
  status: text,
  /** Says `paused` of a VM whose `status` is `running`. */
  qmpstatus: optional(text),
  lock: optional(text),
  uptime: Amount.default(0),
  ha: z
    .object({ managed: Flag.default(false), state: optional(text) })
    .default({ managed: false, state: null }),
});
export type CurrentStatus = z.infer<typeof CurrentStatus>;

/** `/nodes/{node}/{qemu|lxc}/{vmid}/pending`. */
export const Pending = z.array(
  z.object({
    key: text,
    value: optional(z.union([text, z.number()]).transform(String)),
    pending: optional(z.union([text, z.number()]).transform(String)),
    /** 1 or, forced, 2: the key goes away at the next start. */
    delete: Numeric.optional().transform((value) => (value ?? 0) > 0),
  }),
);
export type Pending = z.infer<typeof Pending>;

/** `/nodes/{node}/tasks/{upid}/status`. */
export const TaskStatus = z.object({
  upid: text,
  status: z.enum(['running', 'stopped']),
  exitstatus: optional(text),
});
export type TaskStatus = z.infer<typeof TaskStatus>;

/** `/nodes/{node}/tasks`; only finished tasks have an end and a status. */
export const TaskList = z.array(
  z.object({ upid: text, type: text, id: text.default(''), starttime: Count }),
);

/** A task may end well and still have warned. */
export const isTaskOk = (exitStatus: string | null): boolean =>
  exitStatus === 'OK' || /^WARNINGS: \d+$/.test(exitStatus ?? '');
