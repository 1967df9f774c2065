/**
 * Values of all nodes and guests from two questions every 10 s: `/cluster/resources` and
 * `/cluster/metrics/export`. Pressure, temperature and power are the host daemon's to give; here
 * they are null. A look that is too old is no sample, and a node that is off has none.
 */
import { guestMetrics, nodeMetrics } from '../../../broker/contract/metrics.ts';
import {
  type GuestSample,
  type GuestState,
  silentGuest,
  silentNode,
} from '../../../broker/contract/telemetry.ts';
import { type Counter, ratePerSecond } from '../../sample/rates.ts';
import type { HostSample, PastSample, PastSpan } from '../port.ts';
import { nodeIdOf } from '../proxmox/context.ts';
import { ExportedPoints, pastSamples, startTimeOf } from '../proxmox/exported.ts';
import { cleanTags } from '../proxmox/guest-config.ts';
import type { Look } from './cluster.ts';
import { awakeRow, type Context, type NodeRow } from './context.ts';

type GuestRow = Look['resources']['guests'][number];
const counted = ['diskread', 'diskwrite', 'netin', 'netout'] as const;
type Counted = (typeof counted)[number];
type Rates = Record<Counted, number | null>;

/** What is kept of a guest from one look to the next. */
type Kept = { atMs: number; counters: Partial<Record<Counted, Counter>>; rates: Rates };
export type Memory = Map<string, Kept>;

const sampleEveryMs = 10_000;
const meaninglessAfterMs = 30_000;

const noRates: Rates = { diskread: null, diskwrite: null, netin: null, netout: null };

/** Counters move once in 10 s, so a rate belongs to a look and not to a sample. */
function ratesOf(memory: Memory, row: GuestRow, atMs: number): Rates {
  const before = memory.get(row.vmid);
  if (before?.atMs === atMs) return before.rates;
  const counters = Object.fromEntries(
    counted.flatMap((name) => (row[name] === null ? [] : [[name, { value: row[name] }]])),
  ) as Kept['counters'];
  const elapsedMs = atMs - (before?.atMs ?? atMs);
  const rates = { ...noRates };
  for (const name of counted) {
    const rate = ratePerSecond(before?.counters[name], counters[name], elapsedMs);
    rates[name] = rate === null ? null : Math.round(rate);
  }
  memory.set(row.vmid, { atMs, counters, rates });
  return rates;
}

const stateOf = (status: string): GuestState =>
  status === 'running' || status === 'stopped' || status === 'paused' ? status : 'unknown';

/** One implausible value would make the server refuse the sample, so it becomes unknown here. */
function within<T extends Record<string, unknown>>(
  values: T,
  metrics: readonly { name: string; min: number; max: number }[],
): T {
  const checked: Record<string, unknown> = { ...values };
  for (const { name, min, max } of metrics) {
    const value = checked[name];
    if (typeof value === 'number' && !(value >= min && value <= max)) checked[name] = null;
  }
  return checked as T;
}

function guestSample(memory: Memory, row: GuestRow, atMs: number): GuestSample {
  const { vmid, type, name, lock, hastate, tags } = row;
  const state = stateOf(row.status);
  const head = {
    id: vmid,
    kind: type === 'qemu' ? ('vm' as const) : ('container' as const),
    name: (name ?? vmid).slice(0, 128),
    state,
    tags: cleanTags(tags.join(';')),
    lock,
    haState: hastate,
  };
  const size = { ...silentGuest, cpuCount: row.maxcpu, memoryTotalBytes: row.maxmem };
  if (state === 'stopped') {
    memory.delete(vmid);
    return { ...head, ...size };
  }
  const rates = ratesOf(memory, row, atMs);
  const values = {
    ...size,
    cpuRatio: row.cpu === null ? null : Math.min(1, Math.max(0, row.cpu)),
    // Without a balloon driver more than all of it may be told as used.
    memoryUsedBytes: row.mem === null ? null : Math.min(row.mem, row.maxmem ?? row.mem),
    uptimeMs: row.uptime === null ? null : Math.round(row.uptime * 1000),
    diskReadBytesPerSecond: rates.diskread,
    diskWriteBytesPerSecond: rates.diskwrite,
    networkInBytesPerSecond: rates.netin,
    networkOutBytesPerSecond: rates.netout,
  };
  return { ...head, ...within(values, guestMetrics) };
}

function nodeValues({ exported, votes }: Look, row: NodeRow): HostSample['node'] {
  const told = (metric: string): number | null =>
    exported?.get(`node/${row.node} ${metric}`)?.value ?? null;
  const values = {
    ...silentNode,
    cpuRatio: row.cpu,
    cpuCount: row.maxcpu,
    ioWaitRatio: told('cpu_iowait'),
    loadAverage1: told('cpu_avg1'),
    loadAverage5: told('cpu_avg5'),
    loadAverage15: told('cpu_avg15'),
    memoryUsedBytes: row.mem,
    memoryTotalBytes: row.maxmem,
    swapUsedBytes: told('swap_used'),
    swapTotalBytes: told('swap_total'),
    diskUsedBytes: row.disk,
    diskTotalBytes: row.maxdisk,
    uptimeMs: row.uptime === null ? null : Math.round(row.uptime * 1000),
    votes: votes?.find(({ node }) => node === row.node)?.quorum_votes ?? null,
  };
  return within(values, nodeMetrics);
}

function membersOnline({ status }: Look): string[] | null {
  if (status === null || status.cluster === null) return null;
  return status.nodes.filter(({ online }) => online).map(({ name }) => nodeIdOf(name));
}

/** @throws NodeAsleepError, PveApiError */
export async function sample(context: Context, memory: Memory, node: string): Promise<HostSample> {
  const { cluster, clock, daemonVersion } = context;
  const look = await cluster.look(sampleEveryMs);
  if (clock.monotonicMs() - look.atMs > meaninglessAfterMs) {
    throw new Error(`what the API told of ${node} is too old`);
  }
  const row = awakeRow(look, node);
  const guests = look.resources.guests.filter((guest) => guest.node === row.node);
  return {
    node: nodeValues(look, row),
    guests: guests.map((guest) => guestSample(memory, guest, look.atMs)),
    membersOnline: membersOnline(look),
    versions: { daemon: daemonVersion, hypervisor: null, kernel: null },
  };
}

/** By `node-list` the answer holds that node's own guests alone, wherever they are today. */
export async function history(
  { api, cluster }: Context,
  node: string,
  span: PastSpan,
): Promise<PastSample[]> {
  const { node: pveNode } = awakeRow(await cluster.look(sampleEveryMs), node);
  const params = { history: '1', 'start-time': startTimeOf(span), 'node-list': pveNode };
  const points = await api.get(ExportedPoints, '/cluster/metrics/export', { params });
  return pastSamples(points, { pveNode, span, hasRootDiskOnly: true });
}
