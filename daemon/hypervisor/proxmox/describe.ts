/**
 * The facts of this node and its guests. Votes are asked anew each time; membership, placement,
 * configurations, HA and what runs are read anew; storages may be a minute old, and so may what the
 * machine's own programs tell, except for a judgement of a power-off. What could not be learned is null, so that a guard which needs it denies.
 */
import type { CommandKind } from '../../../broker/contract/command.ts';
import type { GuestFacts, NodeFacts } from '../../../broker/contract/facts.ts';
import type { Description } from '../port.ts';
import { GuestList, type Resources } from './answers.ts';
import { migrationLimitOf } from './bandwidth.ts';
import { type Context, nodeIdOf, pveNodeOf } from './context.ts';
import { readBusy, readReplication, readRoles, readUps } from './duties.ts';
import { type Gauged, readGauged } from './gauged.ts';
import { type Config, guestFacts } from './guest-config.ts';
import { type HaAnswers, haFacts, isInMaintenance, isOwnedByBalancer, serviceOf } from './ha.ts';
import type { LocalGuest } from './host-files.ts';
import { parsePvecmStatus, quorumFacts, wordOf } from './quorum.ts';
import { tagsOf } from './scalars.ts';
import { type ListedTask, stopAsked } from './tasks.ts';

/** Waking is done by the daemon's own wakers, for which this driver stands in no way. */
const always: readonly CommandKind[] = [
  'node.shutdown',
  'node.wake',
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.scale',
];

/** What HA's maintenance is good for, while HA manages anything. */
const capabilitiesOf = (ha: HaAnswers | null): CommandKind[] =>
  ha === null || ha.services.length === 0 ? [...always] : [...always, 'node.drain', 'node.restore'];

/** Votes of a clustered host that cannot be read must never look like those of a single one. */
export class QuorumUnknownError extends Error {
  override readonly name = 'QuorumUnknownError';
  readonly code = 'KR_QUORUM_UNKNOWN';
}

async function quorum({ toolbox, host }: Context): Promise<NodeFacts['quorum']> {
  const members = await host.members();
  const configured = await host.corosyncNodes();
  if (members === null) {
    const wayOut = 'check `systemctl status pve-cluster`';
    throw new QuorumUnknownError(`/etc/pve/.members cannot be read: ${wayOut}`);
  }
  if (members.nodes === null && configured.length === 0) return null;
  const answer = await toolbox.ask('pvecm', ['status']);
  const status = answer && parsePvecmStatus(answer.stdout);
  if (!status) {
    const said = answer?.stderr.trim().slice(-200) ?? 'it could not be started';
    throw new QuorumUnknownError(
      `this host is clustered and \`pvecm status\` told no votes: ${said}`,
    );
  }
  return quorumFacts(status, configured, nodeIdOf);
}

/** What `pvecm status` itself asks, without its second of Perl. */
export async function deviceVote({ toolbox, host }: Context): Promise<string | null> {
  if (!(await host.hasQuorumDevice())) return null;
  const answer = await toolbox.ask('corosync-quorumtool', ['-siH']);
  const status = answer && parsePvecmStatus(answer.stdout);
  return status ? wordOf(status) : 'unknown';
}

/** Sizes in whole GiB: a fact is what is true for longer than a sample. */
const calm = (bytes: number | null): number | null =>
  bytes === null ? null : Math.round(bytes / 2 ** 30) * 2 ** 30;

export const storagesOf = (resources: Resources | null, pveNode: string): NodeFacts['storages'] =>
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

/** `Wake-on: g` may be a minute old; the kernel's own switch is read now. */
async function withWake(
  { files }: Context,
  links: NodeFacts['links'],
  { wakeOnMagic }: Gauged,
): Promise<NodeFacts['links']> {
  if (links === null) return null;
  return Promise.all(
    links.map(async (link) => {
      const mayWake = await files.line(`sys/class/net/${link.name}/device/power/wakeup`);
      const isOff = mayWake === 'disabled';
      return { ...link, wakeOnMagic: isOff ? false : (wakeOnMagic.get(link.name) ?? null) };
    }),
  );
}

/** Members that see every storage of the guest; whether it may really go there is asked then. */
export function allowedNodes(
  { disks }: GuestFacts,
  resources: Resources | null,
  pveNode: string,
): string[] | null {
  if (resources === null || disks === null) return null;
  const needed = new Set(disks.flatMap(({ storage }) => storage ?? []));
  const has = (node: string, id: string): boolean =>
    resources.storages.some(
      (row) => row.node === node && row.storage === id && row.status === 'available',
    );
  return resources.nodes
    .filter(({ node, status }) => node !== pveNode && status === 'online')
    .filter(({ node }) => [...needed].every((id) => has(node, id)))
    .map(({ node }) => nodeIdOf(node));
}

type Around = {
  resources: Resources | null;
  ha: HaAnswers | null;
  pveNode: string;
  tasks: readonly ListedTask[] | null;
};

function factsOf(guest: LocalGuest, { resources, ha, pveNode, tasks }: Around): GuestFacts {
  const service = ha ? serviceOf(ha.services, guest.vmid) : undefined;
  const row = resources?.guests.find(({ vmid }) => vmid === guest.vmid);
  const isShared = (storage: string): boolean =>
    resources?.storages.some((s) => s.storage === storage && s.node === pveNode && s.shared) ??
    false;
  const facts = guestFacts(guest, {
    isShared,
    haState: service?.state ?? row?.hastate ?? null,
    isOwnedByBalancer: ha ? isOwnedByBalancer(ha.options, service) : null,
  });
  return {
    ...facts,
    allowedNodes: allowedNodes(facts, resources, pveNode),
    stopAsked: stopAsked(tasks, guest.vmid),
  };
}

/** Its owner wants the host of this guest never to sleep. */
const isKept = (config: Config): boolean => tagsOf(config.get('tags')).includes('kr_protected');

/** @throws QuorumUnknownError */
export async function describe(
  context: Context,
  { isFresh } = { isFresh: false },
): Promise<Description> {
  const { sampler, host, files, toolbox, slow, simulated, daemonVersion } = context;
  const pveNode = await pveNodeOf(context);
  const [{ facts, bootId }, votes, answers, guests, ha, tasks, now] = await Promise.all([
    sampler.facts(),
    quorum(context),
    slow.fresh(),
    host.guests(pveNode),
    host.ha(),
    host.tasks(),
    isFresh ? readGauged(toolbox, files) : null,
  ]);
  const { resources, version, ceph } = answers;
  const gauged = now ?? answers.gauged;
  const around = { resources, ha, pveNode, tasks };
  return {
    driver: {
      name: 'proxmox',
      version: daemonVersion,
      simulated,
      capabilities: capabilitiesOf(ha),
    },
    bootId,
    facts: {
      ...facts,
      hypervisorVersion: version,
      quorum: votes,
      ha: ha && haFacts(ha, pveNode, nodeIdOf),
      maintenance: ha && isInMaintenance(ha.manager, pveNode),
      migrationLimitBytesPerSecond: migrationLimitOf(context.migrationBytesPerSecond, ha?.options),
      storages: storagesOf(resources, pveNode),
      links: await withWake(context, facts.links, gauged),
      replication: await readReplication(files, guests && guests.map(({ vmid }) => vmid)),
      roles: await readRoles(files, pveNode),
      busy: await readBusy(files, tasks, gauged.work),
      ceph,
      upsOnBattery: gauged.upsOnBattery ?? (await readUps(files)),
      protected: guests?.some(({ config }) => isKept(config)) ?? null,
      runningGuests: await runningGuests(context, pveNode, guests),
    },
    guests: guests && guests.map((guest) => factsOf(guest, around)),
  };
}
