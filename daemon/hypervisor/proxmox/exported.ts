/**
 * `/cluster/metrics/export`: what pvestatd of each node measured every 10 s, kept by the node for
 * half an hour (PVE::PullMetric, 180 generations), as samples of the past. It has no pressure, no
 * temperature and no power; what it does not have stays null. Pure.
 */
import { z } from 'zod';
import { guestMetrics, nodeMetrics } from '../../../broker/contract/metrics.ts';
import type { GuestSample, GuestValues, NodeValues } from '../../../broker/contract/telemetry.ts';
import { ratePerSecond } from '../../sample/rates.ts';
import type { PastSample, PastSpan } from '../port.ts';
import { Count, Numeric } from './scalars.ts';

/** Between two rounds of pvestatd. */
export const exportStepMs = 10_000;
/** The subsystems of one round are stamped one after the other. */
const roundSpreadMs = 5_000;

export const ExportedPoints = z
  .object({
    data: z.array(
      z.object({ id: z.string(), metric: z.string(), timestamp: Count, value: Numeric.nullish() }),
    ),
  })
  .transform(({ data }) => data);
type ExportedPoint = z.infer<typeof ExportedPoints>[number];

/** One round earlier than wanted, since a rate takes two. Only points *after* it are answered. */
export const startTimeOf = ({ afterMs }: PastSpan): string =>
  String(Math.max(0, Math.floor((afterMs - exportStepMs) / 1_000) - 1));

type Round = { atMs: number; values: Map<string, number> };

/** By id, its rounds in order of time. */
function roundsOf(points: readonly ExportedPoint[]): Map<string, Round[]> {
  const byId = new Map<string, Map<number, Round>>();
  for (const { id, metric, timestamp, value } of points) {
    if (value === null || value === undefined) continue;
    const rounds = byId.get(id) ?? new Map<number, Round>();
    byId.set(id, rounds);
    const round = rounds.get(timestamp) ?? { atMs: timestamp * 1_000, values: new Map() };
    rounds.set(timestamp, round);
    round.values.set(metric, value);
  }
  const inOrder = (rounds: Map<number, Round>) =>
    [...rounds.values()].sort((a, b) => a.atMs - b.atMs);
  return new Map([...byId].map(([id, rounds]) => [id, inOrder(rounds)]));
}

type Look = { round: Round; before: Round | undefined };
type Values = Record<string, number | null>;

const told = ({ round }: Look, metric: string): number | null => round.values.get(metric) ?? null;

/** A counter of a guest begins at 0 with each start of it, which is no rate. */
function rateOf({ round, before }: Look, metric: string): number | null {
  const [now, then] = [round.values.get(metric), before?.values.get(metric)];
  if (now === undefined || then === undefined || !before) return null;
  const rate = ratePerSecond({ value: then }, { value: now }, round.atMs - before.atMs);
  return rate === null ? null : Math.round(rate);
}

function within(values: Values, metrics: readonly { name: string; min: number; max: number }[]) {
  return Object.fromEntries(
    metrics.map(({ name, min, max }) => {
      const value = values[name] ?? null;
      return [name, value !== null && value >= min && value <= max ? value : null];
    }),
  );
}

const inMs = (seconds: number | null): number | null =>
  seconds === null ? null : Math.round(seconds * 1_000);

const ratio = (value: number | null): number | null =>
  value === null ? null : Math.min(1, Math.max(0, Math.round(value * 1e4) / 1e4));

function nodeOf(look: Look, { hasRootDiskOnly }: Wanted): NodeValues {
  const values: Values = {
    cpuRatio: ratio(told(look, 'cpu_current')),
    cpuCount: told(look, 'cpu_max'),
    ioWaitRatio: ratio(told(look, 'cpu_iowait')),
    loadAverage1: told(look, 'cpu_avg1'),
    loadAverage5: told(look, 'cpu_avg5'),
    loadAverage15: told(look, 'cpu_avg15'),
    memoryUsedBytes: told(look, 'mem_used'),
    memoryTotalBytes: told(look, 'mem_total'),
    swapUsedBytes: told(look, 'swap_used'),
    swapTotalBytes: told(look, 'swap_total'),
    // Its root alone; a host daemon counts all local file systems, and a line must not jump.
    diskUsedBytes: hasRootDiskOnly ? told(look, 'disk_used') : null,
    diskTotalBytes: hasRootDiskOnly ? told(look, 'disk_total') : null,
    networkInBytesPerSecond: rateOf(look, 'net_in'),
    networkOutBytesPerSecond: rateOf(look, 'net_out'),
    uptimeMs: inMs(told(look, 'uptime')),
  };
  return within(values, nodeMetrics) as NodeValues;
}

function guestOf(id: string, look: Look): GuestSample {
  const [type, vmid = id] = id.split('/');
  const isRunning = told(look, 'cpu_current') !== null;
  const total = told(look, 'mem_total');
  const used = told(look, 'mem_used');
  const values: Values = {
    cpuRatio: ratio(told(look, 'cpu_current')),
    cpuCount: told(look, 'cpu_max'),
    // Without a balloon driver more than all of it may be told as used.
    memoryUsedBytes: used === null ? null : Math.min(used, total ?? used),
    memoryTotalBytes: total,
    diskReadBytesPerSecond: rateOf(look, 'disk_read'),
    diskWriteBytesPerSecond: rateOf(look, 'disk_write'),
    networkInBytesPerSecond: rateOf(look, 'net_in'),
    networkOutBytesPerSecond: rateOf(look, 'net_out'),
    uptimeMs: isRunning ? inMs(told(look, 'uptime')) : null,
  };
  return {
    id: vmid,
    kind: type === 'qemu' ? 'vm' : 'container',
    name: vmid,
    state: isRunning ? 'running' : 'stopped',
    tags: [],
    lock: null,
    haState: null,
    ...(within(values, guestMetrics) as GuestValues),
  };
}

function lookAt(rounds: readonly Round[], atMs: number): Look | undefined {
  const index = rounds.findIndex((round) => Math.abs(round.atMs - atMs) <= roundSpreadMs);
  const round = rounds[index];
  return round && { round, before: rounds[index - 1] };
}

type Wanted = { pveNode: string; span: PastSpan; hasRootDiskOnly: boolean };

/** Of one node and its guests, strictly inside the span; `points` may hold more than these. */
export function pastSamples(points: readonly ExportedPoint[], wanted: Wanted): PastSample[] {
  const { pveNode, span } = wanted;
  const rounds = roundsOf(points);
  const guests = [...rounds].filter(([id]) => /^(qemu|lxc)\/\d+$/.test(id));
  return (rounds.get(`node/${pveNode}`) ?? []).flatMap((round, index, all) => {
    const { atMs } = round;
    if (atMs <= span.afterMs || atMs >= span.beforeMs) return [];
    const before = all[index - 1];
    const present = guests.flatMap(([id, own]) => {
      const look = lookAt(own, atMs);
      return look ? [guestOf(id, look)] : [];
    });
    return [{ atMs, node: nodeOf({ round, before }, wanted), guests: present }];
  });
}
