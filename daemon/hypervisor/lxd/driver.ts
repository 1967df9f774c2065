/**
 * LXD and Incus, containers and virtual machines, by the server's own API. It speaks for the one
 * server it is connected to: in a cluster for the member of that name. By unix socket the host
 * itself is sampled from /proc; from afar only what the API tells is known, the rest is null. It
 * starts nothing but what a command asks, each change once.
 */
import { NodeFacts } from '../../../broker/contract/facts.ts';
import type { CommandKind } from '../../../broker/contract/command.ts';
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import {
  type GuestSample,
  type NodeValues,
  silentNode,
} from '../../../broker/contract/telemetry.ts';
import { type Files, filesBelow } from '../../sample/files.ts';
import { parsePressure } from '../../sample/parse.ts';
import type { Sampler } from '../../sample/sampler.ts';
import type { Description, HostSample, Hypervisor, Observation, Work } from '../port.ts';
import { Instance, Instances, Resources, Server } from './answers.ts';
import { type LxdApi, LxdError } from './api.ts';
import { attach, type Context, perform } from './effects.ts';
import {
  factsOf,
  guestIdOf,
  type Host,
  instanceNameOf,
  noPressures,
  type Pressures,
  type Reading,
  readingOf,
  sampleOf,
  stateOf,
} from './guests.ts';
import { judge } from './judge.ts';
import { type Named, pathOf } from './plan.ts';
import { sharedPoolsOf } from './pools.ts';

export type LxdOptions = {
  node: string;
  api: LxdApi;
  /** Of the host LXD runs on; null when it is reached over the network. */
  sampler: Sampler | null;
  daemonVersion: string;
  clock: Clock;
  log: Log;
  /** Where sys lies; `/` unless a test brings its own. */
  root?: string;
};

const aloneKinds: readonly CommandKind[] = [
  'guest.create',
  'guest.delete',
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.snapshot',
  'guest.scale',
];

const instancesPath = '/1.0/instances?recursion=2&all-projects=true';

type Memory = LxdOptions & {
  files: Files;
  context: Context;
  readings: Map<string, Reading>;
  versions: { hypervisor: string | null; kernel: string | null };
};

type Environment = Server['environment'];

async function environmentOf(api: LxdApi): Promise<Environment> {
  const { auth, environment } = await api.get(Server, '/1.0');
  if (auth === 'trusted') return environment;
  const wayOut = 'run `lxc config trust add <its certificate>` on the host of LXD';
  throw new LxdError(
    'KR_LXD_REFUSED',
    `LXD does not trust the certificate of this daemon: ${wayOut}`,
  );
}

/** What is true of the host while it is asked; a remote one tells its size by the API alone. */
async function lookAtHost({ api, sampler, node }: Memory) {
  const environment = await environmentOf(api);
  const values = sampler ? await sampler.sample() : await remoteValues(api);
  const host: Host = {
    node,
    isClustered: environment.server_clustered,
    cpuCount: values.cpuCount,
    memoryBytes: values.memoryTotalBytes,
  };
  return { environment, values, host };
}

async function remoteValues(api: LxdApi): Promise<NodeValues> {
  const { cpu, memory } = await api.get(Resources, '/1.0/resources');
  return {
    ...silentNode,
    cpuCount: cpu.total,
    memoryUsedBytes: memory.used,
    memoryTotalBytes: memory.total,
  };
}

/** Those on this member, or all of a server of its own. */
async function ownInstances(api: LxdApi, environment: Environment): Promise<Instance[]> {
  const all = await api.get(Instances, instancesPath);
  if (!environment.server_clustered) return all;
  return all.filter(({ location }) => location === environment.server_name);
}

async function findInstance(api: LxdApi, named: Named): Promise<Instance | null> {
  const path = `${pathOf(named)}&recursion=1`;
  const found = await api.get(Instance, path).catch((error: unknown) => {
    if (error instanceof LxdError && error.status === 404) return null;
    throw error;
  });
  // State and snapshots come along since `instance_get_full`; older servers only list them.
  if (found === null || found.snapshots !== undefined) return found;
  const all = await api.get(Instances, instancesPath);
  return all.find(({ name, project }) => name === named.name && project === named.project) ?? null;
}

/** PSI of a container as the kernel keeps it, on hosts of one or of both cgroup hierarchies. */
async function pressuresOf({ files, sampler }: Memory, instance: Instance): Promise<Pressures> {
  if (sampler === null || instance.type !== 'container') return noPressures;
  const { name, project } = instance;
  const group = `lxc.payload.${project === 'default' ? name : `${project}_${name}`}`;
  const read = async (resource: string) => {
    for (const folder of ['sys/fs/cgroup', 'sys/fs/cgroup/unified']) {
      const text = await files.text(`${folder}/${group}/${resource}.pressure`);
      if (text !== null) return parsePressure(text);
    }
    return parsePressure(null);
  };
  const [cpu, io, memory] = [await read('cpu'), await read('io'), await read('memory')];
  return {
    cpu: cpu.someAvg10,
    io: io.someAvg10,
    memory: memory.someAvg10,
    memoryFull: memory.fullAvg10,
  };
}

async function sampleGuests(
  memory: Memory,
  host: Host,
  instances: readonly Instance[],
): Promise<GuestSample[]> {
  const { clock, readings } = memory;
  const samples: GuestSample[] = [];
  const seen = new Set<string>();
  for (const instance of instances) {
    const id = guestIdOf(host, instance);
    seen.add(id);
    const previous = readings.get(id);
    const now = readingOf(instance, clock.monotonicMs());
    if (now) readings.set(id, now);
    else readings.delete(id);
    const pressures = now ? await pressuresOf(memory, instance) : noPressures;
    samples.push(sampleOf(instance, { host, wallMs: clock.wallMs(), previous, now, pressures }));
  }
  for (const id of readings.keys()) if (!seen.has(id)) readings.delete(id);
  return samples;
}

/** The node's own values are told even when LXD does not answer; its guests are then unknown. */
async function sample(memory: Memory): Promise<HostSample> {
  const { api, sampler, daemonVersion, log } = memory;
  const versions = { daemon: daemonVersion, ...memory.versions };
  try {
    const { environment, values, host } = await lookAtHost(memory);
    const guests = await sampleGuests(memory, host, await ownInstances(api, environment));
    return { node: values, guests, membersOnline: null, versions };
  } catch (error) {
    if (!(error instanceof LxdError)) throw error;
    log.warn({ err: error }, 'LXD did not tell its guests');
    const node = sampler ? await sampler.sample() : silentNode;
    return { node, guests: null, membersOnline: null, versions };
  }
}

async function describe(memory: Memory): Promise<Description> {
  const { api, sampler } = memory;
  const { environment, host } = await lookAtHost(memory);
  const instances = await ownInstances(api, environment);
  const isShared = await sharedPoolsOf(api);
  const { facts, bootId } = sampler
    ? await sampler.facts()
    : {
        facts: NodeFacts.parse({ cpuCount: host.cpuCount, memoryBytes: host.memoryBytes }),
        bootId: null,
      };
  const kernel = facts.kernel ?? environment.kernel_version;
  const version = `${environment.server} ${environment.server_version}`;
  memory.versions = { hypervisor: version, kernel };
  const capabilities = [...aloneKinds];
  if (environment.server_clustered) capabilities.push('guest.migrate');
  return {
    driver: { name: 'lxd', version: environment.server_version, simulated: false, capabilities },
    bootId,
    facts: {
      ...facts,
      kernel,
      hypervisorVersion: version,
      runningGuests: instances.filter(({ status }) => stateOf(status) !== 'stopped').length,
    },
    guests: instances.map((instance) => factsOf(instance, { host, isShared })),
  };
}

async function observe({ context }: Memory, work: Work): Promise<Observation> {
  if (work.target.kind === 'node') {
    return { postcondition: null, detail: 'LXD says nothing of the power of its host' };
  }
  try {
    const host = await context.host();
    const named = instanceNameOf(host, work.target.id);
    if (!named.ok) return { postcondition: null, detail: named.why };
    return judge(work, await context.find(named), context.runs.get(work.commandId));
  } catch (error) {
    if (!(error instanceof LxdError)) throw error;
    return { postcondition: null, detail: error.message };
  }
}

export function createLxdHypervisor(options: LxdOptions): Hypervisor {
  const { node, api, clock, root = '/' } = options;
  const context: Context = {
    node,
    api,
    clock,
    runs: new Map(),
    async host() {
      const environment = await environmentOf(api);
      return { node, isClustered: environment.server_clustered, cpuCount: null, memoryBytes: null };
    },
    find: (named) => findInstance(api, named),
  };
  const memory: Memory = {
    ...options,
    files: filesBelow(root),
    context,
    readings: new Map(),
    versions: { hypervisor: null, kernel: null },
  };
  return {
    nodes: () => [node],
    describe: () => describe(memory),
    sample: () => sample(memory),
    perform: (work, workContext) => perform(context, work, workContext),
    attach: (work, handle, workContext) => attach(context, work, { handle, workContext }),
    observe: (work) => observe(memory, work),
    close: () => api.close(),
  };
}
