/**
 * Proxmox VE, seen and driven from the host itself by its own tools. Steady sampling reads files
 * and starts no process; `pvesh` is asked once a minute at most, and about a command; a quorum
 * device, where there is one, every 20 s by a small program. It speaks for the one node it runs on.
 */
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import type { GuestSample, GuestState } from '../../../broker/contract/telemetry.ts';
import { filesBelow } from '../../sample/files.ts';
import { parseNetDev } from '../../sample/parse.ts';
import type { Sampler } from '../../sample/sampler.ts';
import type { HostSample, Hypervisor, PastSample, PastSpan } from '../port.ts';
import { type Context, nodeIdOf, pveNodeOf } from './context.ts';
import { describe, deviceVote } from './describe.ts';
import { attach, perform } from './effects.ts';
import { ExportedPoints, pastSamples, startTimeOf } from './exported.ts';
import { type GuestReading, sampleGuest } from './guest-sampling.ts';
import { createHostFiles, type LocalGuest } from './host-files.ts';
import { findTask } from './lost-task.ts';
import { endMaintenance, leftByOthers } from './maintenance.ts';
import { observeNode } from './node-effects.ts';
import { type Looking, observe } from './observe.ts';
import type { Members } from './pmxcfs.ts';
import { createSlowAnswers, type Slow } from './slow-answers.ts';
import { createToolbox, hostTools, type ToolPaths } from './toolbox.ts';

export type ProxmoxOptions = {
  node: string;
  sampler: Sampler;
  daemonVersion: string;
  clock: Clock;
  log: Log;
  /** Instead of those of the host. */
  tools?: ToolPaths;
  /** True for the fake tools: such a daemon may only join a simulated cluster. */
  simulated?: boolean;
  /** Where etc, proc, sys and var lie; `/` unless the host's own lie elsewhere. */
  root?: string;
  /** The program that enters the host's namespaces, for a daemon in a container. */
  nsenter?: string | null;
  /** Where what its acting tools print goes. */
  outputFolder: string;
  /** For migrations that name no limit; null leaves it to datacenter.cfg. */
  migrationBytesPerSecond?: number | null;
};

/** What is kept from one sample to the next. */
type Kept = {
  readings: Map<string, GuestReading>;
  /** When a guest was first seen to run; not known for those that ran before this process. */
  bornAtMs: Map<string, number>;
  hasSampled: boolean;
};
/** The values behind `pvesh` are themselves up to 10 s old. */
const pvestatdMs = 15_000;

async function stateOf(
  { host }: Context,
  { type, vmid }: LocalGuest,
  slow: Slow | null,
): Promise<GuestState> {
  const isAlive = await host.isAlive(type, vmid);
  if (isAlive !== null) return isAlive ? 'running' : 'stopped';
  const status = slow?.resources?.guests.find((row) => row.vmid === vmid)?.status;
  return status === 'running' || status === 'stopped' ? status : 'unknown';
}

/** The last uptime that was told, grown by the time since; one told of an earlier life is null. */
function uptimeOf(slow: Slow | null, vmid: string, at: { nowMs: number; bornAtMs: number }) {
  const seconds = slow?.resources?.guests.find((row) => row.vmid === vmid)?.uptime ?? null;
  if (slow === null || !seconds || slow.atMs < at.bornAtMs + pvestatdMs) return null;
  return Math.round(seconds * 1000 + at.nowMs - slow.atMs);
}

/** Notes who began to run or ended since the last sample: an event after which pvesh is asked. */
function note(
  { slow }: Context,
  kept: Kept,
  { vmid, reading, nowMs }: { vmid: string; reading: GuestReading | undefined; nowMs: number },
): void {
  const before = kept.readings.get(vmid);
  const isReset = (reading?.cpu?.value ?? 0) < (before?.cpu?.value ?? 0);
  if (reading === undefined) {
    if (before !== undefined) slow.expire();
    kept.readings.delete(vmid);
    return;
  }
  if (kept.hasSampled && (before === undefined || isReset)) {
    kept.bornAtMs.set(vmid, nowMs);
    slow.expire();
  }
  kept.readings.set(vmid, reading);
}

function forgetOthers(kept: Kept, guests: readonly LocalGuest[]): void {
  const here = new Set(guests.map(({ vmid }) => vmid));
  for (const memory of [kept.readings, kept.bornAtMs]) {
    for (const vmid of memory.keys()) if (!here.has(vmid)) memory.delete(vmid);
  }
}

async function sampleGuests(
  context: Context,
  kept: Kept,
  { pveNode, hostCpuCount }: { pveNode: string; hostCpuCount: number | null },
): Promise<GuestSample[] | null> {
  const { host, files, clock, slow: answers } = context;
  const guests = await host.guests(pveNode);
  if (guests === null) return null;
  const slow = answers.latest();
  const links = parseNetDev(await files.text('proc/net/dev'));
  const samples: GuestSample[] = [];
  for (const guest of guests) {
    const { vmid } = guest;
    const nowMs = clock.monotonicMs();
    const row = slow?.resources?.guests.find((other) => other.vmid === vmid);
    const { sample, reading } = await sampleGuest(guest, {
      files,
      nowMs,
      links,
      state: await stateOf(context, guest, slow),
      haState: row?.hastate ?? null,
      uptimeMs: uptimeOf(slow, vmid, { nowMs, bornAtMs: kept.bornAtMs.get(vmid) ?? -Infinity }),
      hostCpuCount,
      previous: kept.readings.get(vmid),
    });
    note(context, kept, { vmid, reading, nowMs });
    samples.push(sample);
  }
  forgetOthers(kept, guests);
  kept.hasSampled = true;
  return samples;
}

const onlineMembers = (members: Members | null): string[] | null =>
  members?.nodes?.filter(({ isOnline }) => isOnline).map(({ name }) => nodeIdOf(name)) ?? null;

/** 0 on a node without a cluster, which has no vote to lose. */
async function votesOf({ host }: Context, members: Members | null): Promise<number | null> {
  if (members === null) return null;
  if (members.nodes === null) return 0;
  const own = (await host.corosyncNodes()).find(({ name }) => name === members.nodeName);
  return own?.votes ?? null;
}

async function sample(context: Context, kept: Kept): Promise<HostSample> {
  const { sampler, host, slow, daemonVersion, log } = context;
  // Not awaited: a tool that waits for a dead node must not cost a beat.
  slow.fresh().catch((error: unknown) => log.error({ err: error }, 'pvesh was not asked'));
  const values = await sampler.sample();
  const members = await host.members();
  const pveNode = await pveNodeOf(context);
  const guests = await sampleGuests(context, kept, {
    pveNode,
    hostCpuCount: values.cpuCount,
  });
  const kernel = await context.files.line('proc/sys/kernel/osrelease');
  return {
    node: { ...values, votes: await votesOf(context, members) },
    guests,
    membersOnline: onlineMembers(members),
    versions: { daemon: daemonVersion, hypervisor: slow.latest()?.version ?? null, kernel },
  };
}

/** Half an hour of fifty guests: some hundred bytes a value, ten values each, 180 times. */
const historyBytesMax = 16 * 2 ** 20;

/** Of this host alone: what other nodes kept is their own daemons' to fill in. */
async function history(context: Context, span: PastSpan): Promise<PastSample[]> {
  const question = ['--local-only', '1', '--history', '1', '--start-time', startTimeOf(span)];
  const path = '/cluster/metrics/export';
  const points = await context.toolbox.get(ExportedPoints, path, question, historyBytesMax);
  if (points === null) return [];
  const pveNode = await pveNodeOf(context);
  return pastSamples(points, { pveNode, span, hasRootDiskOnly: false });
}

/** UPIDs tell whole seconds, by this very host's clock. */
const upidStepMs = 1_000;

export function createProxmoxHypervisor(options: ProxmoxOptions): Hypervisor {
  const { node, sampler, daemonVersion, clock, log } = options;
  const { tools = hostTools, simulated = false, root = '/' } = options;
  const files = filesBelow(root);
  const { outputFolder, nsenter = null } = options;
  const toolbox = createToolbox({ paths: tools, log, nsenter, outputFolder });
  const context: Context = {
    node,
    simulated,
    daemonVersion,
    sampler,
    files,
    host: createHostFiles(files),
    toolbox,
    slow: createSlowAnswers({ toolbox, files, clock }),
    migrationBytesPerSecond: options.migrationBytesPerSecond ?? null,
    clock,
    log,
    runs: new Map(),
  };
  const kept: Kept = { readings: new Map(), bornAtMs: new Map(), hasSampled: false };
  const looking: Looking = {
    placement: () => context.host.placement(),
    get: (...question) => toolbox.get(...question),
    runs: context.runs,
    clock,
  };
  return {
    nodes: () => [node],
    describe: (_node, asked) => describe(context, asked),
    sample: () => sample(context, kept),
    history: (_node, span) => history(context, span),
    deviceVote: () => deviceVote(context),
    perform: (work, workContext) => perform(context, work, workContext),
    find(work, trace, signal) {
      const tasks = () => context.host.tasks();
      return findTask({ clock, tasks, skewMs: upidStepMs }, work, { trace, signal });
    },
    attach: (work, handle, workContext) => attach(context, work, { handle, workContext }),
    undo: (_work, handle, { signal }) =>
      handle === null ? leftByOthers(context, signal) : endMaintenance(context, handle, signal),
    observe: (work) =>
      work.target.kind === 'node' ? observeNode(context, work) : observe(looking, work),
    close: async () => toolbox.close(),
  };
}
