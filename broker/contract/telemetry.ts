/**
 * One sample of one node and its guests. Unknown keys are stripped, so that a newer daemon can
 * speak to an older server. `guests: null` means the driver could not tell; `[]` means none.
 */
import { z } from 'zod';
import { GuestId, NodeId } from './ids.ts';
import {
  guestsPerNodeMax,
  nameLengthMax,
  sampleIntervalMaxMs,
  tagLengthMax,
  tagsPerGuestMax,
  textLengthMax,
} from './limits.ts';
import { guestMetrics, type Metric, nodeMetrics, type PowerSource } from './metrics.ts';

const valueOf = (metric: Metric) =>
  z.number().min(metric.min).max(metric.max).nullable().default(null);

type Values<M extends readonly Metric[]> = Record<M[number]['name'], number | null>;

const valuesOf = (metrics: readonly Metric[]): Record<string, ReturnType<typeof valueOf>> =>
  Object.fromEntries(metrics.map((metric) => [metric.name, valueOf(metric)]));

export const GuestKind = z.enum(['vm', 'container', 'process']);
export const GuestState = z.enum(['running', 'stopped', 'paused', 'suspended', 'unknown']);
const text = z.string().max(textLengthMax);

export const GuestSample = z.object({
  id: GuestId,
  kind: GuestKind,
  name: z.string().max(nameLengthMax),
  state: GuestState,
  tags: z.array(z.string().max(tagLengthMax)).max(tagsPerGuestMax).default([]),
  /** The hypervisor's own lock (backup, migrate, snapshot, ...), null when free. */
  lock: text.nullable().default(null),
  /** State of its HA resource, null when it is not HA-managed. */
  haState: text.nullable().default(null),
  ...valuesOf(guestMetrics),
});
export type GuestKind = z.infer<typeof GuestKind>;
export type GuestState = z.infer<typeof GuestState>;
export type GuestValues = Values<typeof guestMetrics>;
export type GuestSample = GuestValues & {
  id: string;
  kind: GuestKind;
  name: string;
  state: GuestState;
  tags: string[];
  lock: string | null;
  haState: string | null;
};

export const NodeSample = z.object(valuesOf(nodeMetrics));
export type NodeValues = Values<typeof nodeMetrics>;

const silenceOf = (metrics: readonly Metric[]): Record<string, null> =>
  Object.fromEntries(metrics.map(({ name }) => [name, null]));
/** Of a node or guest that measured nothing: unknown, never 0. */
export const silentNode: Readonly<NodeValues> = silenceOf(nodeMetrics) as NodeValues;
export const silentGuest: Readonly<GuestValues> = silenceOf(guestMetrics) as GuestValues;

export const Versions = z.object({
  daemon: z.string().max(64),
  hypervisor: z.string().max(64).nullable().default(null),
  kernel: z.string().max(128).nullable().default(null),
});

export const Telemetry = z.object({
  /** Persisted count of daemon starts; `seq` of the envelope counts within it, from 1. */
  incarnation: z
    .int()
    .min(1)
    .max(2 ** 32),
  sampledAtMs: z.int().min(0),
  intervalMs: z.int().min(1).max(sampleIntervalMaxMs),
  node: NodeSample,
  guests: z.array(GuestSample).max(guestsPerNodeMax).nullable(),
  versions: Versions,
  /** Cluster members this node sees in its membership now, itself included; null without one. */
  membersOnline: z.array(NodeId).max(4_096).nullable().default(null),
  /**
   * Up to here this daemon holds receipts for this incarnation, or nothing any more: none of it
   * comes again. So a server that has just started, and remembers less, does not wait for it.
   */
  confirmedSeq: z.int().min(0).optional(),
  /** Of some earlier moment, as the hypervisor kept it: stored, and never the present state. */
  backfilled: z.literal(true).optional(),
});
export type Telemetry = Omit<z.infer<typeof Telemetry>, 'node' | 'guests'> & {
  node: NodeValues;
  guests: GuestSample[] | null;
  /** Never on the wire: the server adds it to a sample that it gave watts to. */
  powerSource?: PowerSource;
};
