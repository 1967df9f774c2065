/**
 * The fleet as the API shows it: which fields, under which names. Pure. Built by hand, field by
 * field, so that nothing the state learns later leaks out by itself.
 */
import { z } from 'zod';
import type { GuestFacts } from '../../broker/contract/facts.ts';
import { guestMetrics, nodeMetrics, powerSources } from '../../broker/contract/metrics.ts';
import { GuestKind, GuestState } from '../../broker/contract/telemetry.ts';
import {
  type ClusterRecord,
  type Fleet,
  type GuestRecord,
  type NodeRecord,
  nodeStates,
} from '../state/fleet.ts';
import { nodeState, sampleAgeMs } from '../state/node-state.ts';
import { At, isoOf, isoOrNull } from './schemas.ts';

const numberOrNull = z.number().nullable();
const anything = z.record(z.string(), z.unknown());

const nodeFields = {
  id: z.string(),
  cluster: z.string(),
  state: z.enum(nodeStates),
  ageMs: numberOrNull,
  cpuRatio: numberOrNull,
  cpuCount: numberOrNull,
  memoryUsedBytes: numberOrNull,
  memoryTotalBytes: numberOrNull,
  powerWatts: numberOrNull,
  powerEstimatedWatts: numberOrNull,
  powerSource: z.enum(powerSources).nullable(),
  pressureRatio: numberOrNull.describe(
    'The largest share of the last 10 s in which somebody waited for cpu, disks or memory',
  ),
  temperatureCelsius: numberOrNull,
  uptimeMs: numberOrNull,
  guestCount: z.int().nullable(),
  driver: z.string().nullable(),
  online: z.boolean(),
  protected: z.boolean(),
  simulated: z.boolean(),
  localHold: z.boolean(),
  desired: z.enum(['awake', 'asleep']),
  evacuation: z
    .object({
      phase: z.enum(['evacuate', 'prove', 'return']),
      sleeps: z.boolean(),
      guests: z.array(z.string()),
    })
    .nullable()
    .describe('A person wants it emptied, or the guests that ran there back'),
};

export const NodeView = z.object(nodeFields);
export const NodeDetail = z.object({
  ...nodeFields,
  sampledAt: At.nullable(),
  intervalMs: z.int(),
  incarnation: z.int(),
  seq: z.int(),
  bootId: z.string().nullable(),
  metrics: z.record(z.string(), numberOrNull),
  capabilities: z.array(z.string()),
  versions: anything.nullable(),
  facts: anything.nullable(),
  load: anything.nullable(),
  membersOnline: z.array(z.string()).nullable(),
  guests: z.array(z.string()).nullable(),
});
export type NodeView = z.infer<typeof NodeView>;

/** A driver that names no source, as that of a simulated node, knows its machine. */
function powerSourceOf({ values, powerSource, facts }: NodeRecord): NodeView['powerSource'] {
  if (values === null) return null;
  if (values.powerWatts === null) return values.powerEstimatedWatts === null ? null : 'model';
  return powerSource ?? facts?.powerSource ?? 'driver';
}

function pressureOf(values: NodeRecord['values']): number | null {
  if (values === null) return null;
  const {
    cpuPressureSomeAvg10Ratio: cpu,
    ioPressureSomeAvg10Ratio: io,
    memoryPressureSomeAvg10Ratio: memory,
  } = values;
  const known = [cpu, io, memory].filter((value) => value !== null);
  return known.length === 0 ? null : Math.max(...known);
}

const evacuationView = ({ evacuation }: NodeRecord) =>
  evacuation
    ? { phase: evacuation.phase, sleeps: evacuation.sleeps, guests: [...evacuation.guests] }
    : null;

export function nodeView(record: NodeRecord, nowMs: number): NodeView {
  const { values } = record;
  return {
    id: record.node,
    cluster: record.cluster,
    state: nodeState(record, nowMs),
    ageMs: sampleAgeMs(record, nowMs),
    cpuRatio: values?.cpuRatio ?? null,
    cpuCount: values?.cpuCount ?? null,
    memoryUsedBytes: values?.memoryUsedBytes ?? null,
    memoryTotalBytes: values?.memoryTotalBytes ?? null,
    powerWatts: values?.powerWatts ?? null,
    powerEstimatedWatts: values?.powerEstimatedWatts ?? null,
    powerSource: powerSourceOf(record),
    pressureRatio: pressureOf(values),
    temperatureCelsius: values?.temperatureCelsius ?? null,
    uptimeMs: values?.uptimeMs ?? null,
    guestCount: record.guests?.length ?? null,
    driver: record.driver?.name ?? null,
    online: record.online,
    protected: record.protected,
    simulated: record.driver?.simulated ?? false,
    localHold: record.localHold,
    desired: record.desired,
    evacuation: evacuationView(record),
  };
}

const pick = (metrics: readonly { name: string }[], values: object) =>
  Object.fromEntries(
    metrics.map(({ name }) => [name, (values as Record<string, number | null>)[name] ?? null]),
  );

export function nodeDetail(record: NodeRecord, nowMs: number): z.infer<typeof NodeDetail> {
  return {
    ...nodeView(record, nowMs),
    sampledAt: isoOrNull(record.sampledAtWallMs),
    intervalMs: record.intervalMs,
    incarnation: record.incarnation,
    seq: record.seq,
    bootId: record.bootId,
    metrics: record.values === null ? {} : pick(nodeMetrics, record.values),
    capabilities: [...(record.driver?.capabilities ?? [])],
    versions: record.versions,
    facts: record.facts,
    load: record.load,
    membersOnline: record.membersOnline === null ? null : [...record.membersOnline],
    guests: record.guests === null ? null : record.guests.map((guest) => guest.id),
  };
}

const guestFields = {
  id: z.string(),
  cluster: z.string(),
  node: z.string(),
  name: z.string(),
  kind: GuestKind,
  state: GuestState,
  ageMs: z.number(),
  cpuRatio: numberOrNull,
  cpuCount: numberOrNull,
  memoryUsedBytes: numberOrNull,
  memoryTotalBytes: numberOrNull,
  tags: z.array(z.string()),
  lock: z.string().nullable(),
  haState: z.string().nullable(),
};

export const GuestView = z.object(guestFields);
export const GuestDetail = z.object({
  ...guestFields,
  metrics: z.record(z.string(), numberOrNull),
  facts: anything.nullable(),
});
export type GuestView = z.infer<typeof GuestView>;

export function guestView(guest: GuestRecord, nowMs: number): GuestView {
  return {
    id: guest.id,
    cluster: guest.cluster,
    node: guest.node,
    name: guest.name,
    kind: guest.kind,
    state: guest.state,
    ageMs: Math.max(0, nowMs - guest.sampleAtMs),
    cpuRatio: guest.cpuRatio,
    cpuCount: guest.cpuCount,
    memoryUsedBytes: guest.memoryUsedBytes,
    memoryTotalBytes: guest.memoryTotalBytes,
    tags: guest.tags,
    lock: guest.lock,
    haState: guest.haState,
  };
}

export function guestDetail(
  guest: GuestRecord,
  node: NodeRecord | undefined,
  nowMs: number,
): z.infer<typeof GuestDetail> {
  const known = JSON.parse(node?.guestFactsJson ?? '[]') as GuestFacts[];
  return {
    ...guestView(guest, nowMs),
    metrics: pick(guestMetrics, guest),
    facts: known.find(({ id }) => id === guest.id) ?? null,
  };
}

export const Autonomy = z.enum(['observe', 'recommend', 'approve', 'auto']);

export const ClusterView = z.object({
  id: z.string(),
  simulated: z.boolean(),
  timeScale: z.number(),
  hold: z.boolean(),
  frozen: z
    .object({ until: At, reason: z.string().nullable() })
    .nullable()
    .describe('Only observed until then: no power-off, nothing by the engine but wakes'),
  autonomy: z.record(z.string(), Autonomy),
  policyHash: z.string().nullable(),
  nodeCount: z.int(),
  guestCount: z.int(),
  nodeStates: z.record(z.string(), z.int()),
});
export type ClusterView = z.infer<typeof ClusterView>;

export function clusterView(
  cluster: ClusterRecord,
  fleet: Fleet,
  { nowMs, wallMs }: { nowMs: number; wallMs: number },
): z.infer<typeof ClusterView> {
  const states: Record<string, number> = {};
  let guestCount = 0;
  const nodes = fleet.nodesByCluster.get(cluster.id);
  for (const record of nodes?.values() ?? []) {
    const state = nodeState(record, nowMs);
    states[state] = (states[state] ?? 0) + 1;
    guestCount += record.guests?.length ?? 0;
  }
  return {
    id: cluster.id,
    simulated: cluster.simulated,
    timeScale: cluster.timeScale,
    hold: cluster.hold,
    frozen:
      (cluster.frozenUntilMs ?? 0) > wallMs
        ? { until: isoOf(cluster.frozenUntilMs ?? 0), reason: cluster.frozenReason ?? null }
        : null,
    autonomy: cluster.autonomy,
    policyHash: cluster.policyHash,
    nodeCount: nodes?.size ?? 0,
    guestCount,
    nodeStates: states,
  };
}
