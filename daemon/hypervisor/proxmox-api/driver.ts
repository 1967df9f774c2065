/**
 * A whole Proxmox VE cluster by its API: one daemon, one token, many nodes. It sees less than a
 * daemon on the host, and says so by its capabilities and by facts that are null; what it cannot
 * know it never assumes.
 */
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import type { Waker } from '../../waker/port.ts';
import type { Hypervisor } from '../port.ts';
import { nodeIdOf } from '../proxmox/context.ts';
import { type Looking, observe } from '../proxmox/observe.ts';
import { type ApiEndpoint, createPveApi } from './client.ts';
import { createCluster } from './cluster.ts';
import type { Context, Declared } from './context.ts';
import { describe, deviceVote } from './describe.ts';
import { attach, find, perform } from './effects.ts';
import { apiWaker, observeNode, powerOff } from './power.ts';
import { history, type Memory, sample } from './sampling.ts';

export type ProxmoxApiOptions = {
  /** Those that this daemon was enrolled for. */
  nodes: readonly string[];
  endpoint: ApiEndpoint;
  daemonVersion: string;
  clock: Clock;
  log: Log;
  declared?: Readonly<Record<string, Declared>>;
  /** The administrator's word that the cluster has no quorum device. */
  hasNoQdevice?: boolean;
  migrationBytesPerSecond?: number | null;
  /** True for the fake API: such a daemon may only join a simulated cluster. */
  simulated?: boolean;
};

export type ProxmoxApiHypervisor = Hypervisor & { waker: Waker };

export function createProxmoxApiHypervisor(options: ProxmoxApiOptions): ProxmoxApiHypervisor {
  const { nodes, endpoint, daemonVersion, clock, log } = options;
  const api = createPveApi(endpoint);
  const { hasNoQdevice = false } = options;
  const cluster = createCluster({ api, clock, log, hasNoQdevice });
  const context: Context = {
    nodes,
    simulated: options.simulated ?? false,
    daemonVersion,
    api,
    cluster,
    declared: options.declared ?? {},
    migrationBytesPerSecond: options.migrationBytesPerSecond ?? null,
    clock,
    log,
    runs: new Map(),
  };
  const memory: Memory = new Map();
  const looking: Looking = {
    runs: context.runs,
    clock,
    get: (schema, path) => api.get(schema, path).catch(() => null),
    async placement() {
      cluster.expire();
      const look = await cluster.look(0).catch(() => null);
      return look && new Map(look.resources.guests.map((row) => [row.vmid, row]));
    },
  };
  return {
    nodes: () => nodes,
    describe: (node) => describe(context, node),
    sample: (node) => sample(context, memory, node),
    history: (node, span) => history(context, node, span),
    deviceVote: () => deviceVote(context),
    perform: (work, workContext) =>
      work.target.kind === 'node'
        ? powerOff(context, work, workContext)
        : perform(context, work, workContext),
    find: (work, trace, signal) => find(context, work, { trace, signal }),
    attach: (work, handle, workContext) => attach(context, work, { handle, workContext }),
    observe: (work) =>
      work.target.kind === 'node'
        ? observeNode(context, nodeIdOf(work.target.id))
        : observe(looking, work),
    waker: apiWaker(context),
    close: () => api.close(),
  };
}
