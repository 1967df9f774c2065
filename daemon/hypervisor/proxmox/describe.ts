/**
 * The facts of this node and its guests. Votes are asked anew each time; membership, placement,
 * configurations and what runs are read anew; HA, storages and options may be a minute old. What
 * could not be learned is null, so that a guard which needs it denies.
 */
import type { CommandKind } from '../../../broker/contract/command.ts';
import type { GuestFacts, NodeFacts } from '../../../broker/contract/facts.ts';
import type { Description } from '../port.ts';
import { GuestList, type Resources } from './answers.ts';
import { type Context, nodeIdOf, pveNodeOf } from './context.ts';
import { guestFacts } from './guest-config.ts';
import { haFacts, isInMaintenance, isOwnedByBalancer, serviceOf } from './ha.ts';
import type { LocalGuest } from './host-files.ts';
import { parsePvecmStatus, quorumFacts } from './quorum.ts';
import type { Slow } from './slow-answers.ts';

/** Waking is done by the daemon's own wakers, for which this driver stands in no way. */
const capabilities: CommandKind[] = [
  'node.shutdown',
  'node.wake',
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.scale',
];

async function quorum({ toolbox, host }: Context): Promise<NodeFacts['quorum']> {
  const answer = await toolbox.ask('pvecm', ['status']);
  const status = answer && parsePvecmStatus(answer.stdout);
  return status ? quorumFacts(status, await host.corosyncNodes(), nodeIdOf) : null;
}

/** Sizes in whole GiB: a fact is what is true for longer than a sample. */
const calm = (bytes: number | null): number | null =>
  bytes === null ? null : Math.round(bytes / 2 ** 30) * 2 ** 30;

const storagesOf = (resources: Resources | null, pveNode: string): NodeFacts['storages'] =>
  resources &&
  resources.storages
    .filter(({ node }) => node === pveNode)
    .map(({ storage, plugintype, shared, status, disk, maxdisk }) => ({
      id: storage,
      type: plugintype,
      shared,
      active: status === 'available',
      usedBytes: calm(disk),
      totalBytes: calm(maxdisk),
    }));

/** Where the cgroups cannot be seen, the lists of both kinds of guests are asked. */
async function listRunning({ toolbox }: Context, pveNode: string): Promise<number | null> {
  const lists = await Promise.all(
    ['qemu', 'lxc'].map((type) => toolbox.get(GuestList, `/nodes/${pveNode}/${type}`)),
  );
  if (lists.includes(null)) return null;
  return lists.flatMap((list) => list ?? []).filter(({ status }) => status !== 'stopped').length;
}

async function runningGuests(
  context: Context,
  pveNode: string,
  guests: readonly LocalGuest[] | null,
): Promise<number | null> {
  if (guests === null) return null;
  return (await context.host.countAlive()) ?? listRunning(context, pveNode);
}

const busyMax = 64;

async function busy({ host }: Context): Promise<NodeFacts['busy']> {
  const tasks = await host.tasks();
  return (
    tasks &&
    tasks
      .filter(({ isRunning }) => isRunning)
      .slice(0, busyMax)
      .map(({ type, upid }) => ({ what: type, detail: upid }))
  );
}

function factsOf(guest: LocalGuest, { resources, ha }: Slow, pveNode: string): GuestFacts {
  const service = ha ? serviceOf(ha.services, guest.vmid) : undefined;
  const row = resources?.guests.find(({ vmid }) => vmid === guest.vmid);
  const isShared = (storage: string): boolean =>
    resources?.storages.some((s) => s.storage === storage && s.node === pveNode && s.shared) ??
    false;
  return guestFacts(guest, {
    isShared,
    haState: service?.state ?? row?.hastate ?? null,
    isOwnedByBalancer: ha ? isOwnedByBalancer(ha.options, service) : null,
  });
}

export async function describe(context: Context): Promise<Description> {
  const { sampler, host, slow, simulated, daemonVersion } = context;
  const pveNode = await pveNodeOf(context);
  const [{ facts, bootId }, votes, answers, guests] = await Promise.all([
    sampler.facts(),
    quorum(context),
    slow.fresh(),
    host.guests(pveNode),
  ]);
  const { ha, resources, version } = answers;
  return {
    driver: { name: 'proxmox', version: daemonVersion, simulated, capabilities },
    bootId,
    facts: {
      ...facts,
      hypervisorVersion: version,
      quorum: votes,
      ha: ha && haFacts(ha, pveNode, nodeIdOf),
      maintenance: ha && isInMaintenance(ha.manager, pveNode),
      storages: storagesOf(resources, pveNode),
      busy: await busy(context),
      runningGuests: await runningGuests(context, pveNode, guests),
    },
    guests: guests && guests.map((guest) => factsOf(guest, answers, pveNode)),
  };
}
