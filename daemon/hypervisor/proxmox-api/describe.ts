/**
 * The facts of a node and its guests, by the API alone. What only the node itself could tell
 * (roles, who is logged in, whether its card listens) is the administrator's declaration, or null,
 * so that a guard which needs it denies. Votes that cannot be read are an error.
 */
import { z } from 'zod';
import type { CommandKind } from '../../../broker/contract/command.ts';
import { type GuestFacts, NodeFacts } from '../../../broker/contract/facts.ts';
import { Uuid } from '../../../broker/contract/ids.ts';
import type { Description } from '../port.ts';
import { GuestList, NodeStatus, TaskList } from '../proxmox/answers.ts';
import { migrationLimitOf } from '../proxmox/bandwidth.ts';
import { vendorOf } from '../proxmox/target-check.ts';
import { nodeIdOf } from '../proxmox/context.ts';
import { allowedNodes, QuorumUnknownError, storagesOf } from '../proxmox/describe.ts';
import { guestFacts } from '../proxmox/guest-config.ts';
import { haFacts, isInMaintenance, isOwnedByBalancer, serviceOf } from '../proxmox/ha.ts';
import { ConfigAnswer } from '../proxmox/pmxcfs.ts';
import type { Look } from './cluster.ts';
import { awakeRow, type Context } from './context.ts';
import { linksOf } from './links.ts';

const guestKinds: CommandKind[] = [
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.scale',
];

/** Executors' guards want facts younger than 5 s. */
export const freshMs = 2_000;

/** The quorum device has one vote in an even cluster, and else one less than the nodes. */
const qdeviceVotes = (nodes: number): number => (nodes % 2 === 0 ? 1 : nodes - 1);

/** @throws QuorumUnknownError */
function quorumOf({ status, votes, qdevice }: Look, pveNode: string): NodeFacts['quorum'] {
  if (status === null) throw new QuorumUnknownError('/cluster/status gave no usable answer');
  if (status.cluster === null) return null;
  if (votes === null || qdevice === null) {
    throw new QuorumUnknownError('the votes of the cluster (/cluster/config) cannot be read');
  }
  const members = votes.map(({ node, quorum_votes }) => ({
    node: nodeIdOf(node),
    votes: quorum_votes,
    online: status.nodes.some((row) => row.name === node && row.online),
  }));
  // One that may be there and is seen by nobody has the votes that a power-off would miss.
  const isVoting = qdevice.connected.includes(pveNode);
  const device =
    qdevice.state === 'none'
      ? null
      : {
          votes: qdeviceVotes(members.length),
          alive: isVoting,
          voting: isVoting,
          seenAgeMs: 0,
        };
  const sum = (all: readonly { votes: number }[]): number =>
    all.reduce((total, member) => total + member.votes, 0);
  const expectedVotes = sum(members) + (device?.votes ?? 0);
  const present = members.filter(({ online }) => online);
  return {
    quorate: status.cluster.quorate,
    expectedVotes,
    totalVotes: sum(present) + (device?.voting ? device.votes : 0),
    quorumVotes: Math.floor(expectedVotes / 2) + 1,
    members,
    qdevice: device,
  };
}

/** Mostly the look of a sample; with the 20 s between two questions it stays below 30 s. */
const voteLookMs = 7_000;

export async function deviceVote({ cluster }: Context): Promise<string | null> {
  const { qdevice, status } = await cluster.look(voteLookMs);
  if (qdevice?.state === 'none' || status?.cluster === null) return null;
  return JSON.stringify([qdevice, status?.cluster?.quorate]);
}

/** The guests of the node by its own lists, and how many of them may run. */
async function listGuests({ api }: Context, pveNode: string) {
  const types = ['qemu', 'lxc'] as const;
  const lists = await Promise.all(
    types.map((type) => api.get(GuestList, `/nodes/${pveNode}/${type}`)),
  );
  return types.flatMap((type, index) => (lists[index] ?? []).map((row) => ({ ...row, type })));
}
type ListedGuest = Awaited<ReturnType<typeof listGuests>>[number];

async function describeGuest(
  { api }: Context,
  look: Look,
  { pveNode, guest }: { pveNode: string; guest: ListedGuest },
): Promise<GuestFacts> {
  const { vmid, type } = guest;
  const path = `/nodes/${pveNode}/${type}/${vmid}/config`;
  const config = new Map(await api.get(ConfigAnswer, path));
  if (guest.lock !== null) config.set('lock', guest.lock);
  const { ha, resources } = look;
  const service = ha ? serviceOf(ha.services, vmid) : undefined;
  const isShared = (storage: string): boolean =>
    resources.storages.some((s) => s.storage === storage && s.node === pveNode && s.shared);
  const facts = guestFacts(
    { vmid, type, config },
    {
      isShared,
      haState: service?.state ?? null,
      isOwnedByBalancer: ha ? isOwnedByBalancer(ha.options, service) : null,
    },
  );
  return { ...facts, allowedNodes: allowedNodes(facts, resources, pveNode) };
}

/** `s=..;i=..;b=<boot id>;...`: the cursor of the journal's newest entry names the boot. */
export function bootIdIn(lines: readonly string[]): string | null {
  const [, hex] =
    lines.map((line) => /(?:^|;)b=([0-9a-f]{32})(?:;|$)/.exec(line)).find(Boolean) ?? [];
  const dashed = hex?.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  const parsed = Uuid.safeParse(dashed);
  return parsed.success ? parsed.data : null;
}

async function bootIdOf({ api, log }: Context, pveNode: string): Promise<string | null> {
  const params = { lastentries: '1' };
  const lines = api.get(z.array(z.string()), `/nodes/${pveNode}/journal`, { params });
  return lines.then(bootIdIn, (error: unknown) => {
    log.warn({ node: pveNode, problem: (error as Error).message }, 'its boot is not known');
    return null;
  });
}

async function busyOf(
  { api, declared }: Context,
  node: string,
  pveNode: string,
): Promise<NodeFacts['busy']> {
  if (declared[node]?.nothingElseAtWork !== true) return null;
  const params = { source: 'active' };
  const tasks = await api.get(TaskList, `/nodes/${pveNode}/tasks`, { params });
  return tasks.slice(0, 64).map(({ type, upid }) => ({ what: type, detail: upid }));
}

async function hardwareOf({ api }: Context, pveNode: string) {
  const status = await api.get(NodeStatus, `/nodes/${pveNode}/status`);
  const model = status.cpuinfo.model;
  return {
    cpuVendor: vendorOf(model),
    cpuModel: model,
    cpuCount: status.cpuinfo.cpus,
    memoryBytes: status.memory.total,
    kernel: status.kversion?.split(' ')[1] ?? null,
    hypervisorVersion: status.pveversion.split('/').slice(0, 2).join('/'),
  };
}

/**
 * A power-off by API needs two other members, a declaration of the node, one where no member shows
 * a quorum device, and no HA, which only a host ends.
 */
function capabilitiesOf({ api, declared }: Context, look: Look, node: string): CommandKind[] {
  const mayGoOff =
    api.urls.length > 1 &&
    declared[node] !== undefined &&
    look.qdevice?.state !== 'unknown' &&
    look.ha?.services.length === 0;
  return ['node.wake', ...guestKinds, ...(mayGoOff ? (['node.shutdown'] as const) : [])];
}

/** @throws NodeAsleepError, QuorumUnknownError, PveApiError */
export async function describe(context: Context, node: string): Promise<Description> {
  const { cluster, declared, simulated, daemonVersion } = context;
  const look = await cluster.look(freshMs);
  const pveNode = awakeRow(look, node).node;
  const quorum = quorumOf(look, pveNode);
  const [hardware, guests, links, busy, bootId] = await Promise.all([
    hardwareOf(context, pveNode),
    listGuests(context, pveNode),
    linksOf(context, node, pveNode),
    busyOf(context, node, pveNode),
    bootIdOf(context, pveNode),
  ]);
  const facts = NodeFacts.parse({
    ...hardware,
    links,
    quorum,
    ha: look.ha && haFacts(look.ha, pveNode, nodeIdOf),
    maintenance: look.ha && isInMaintenance(look.ha.manager, pveNode),
    migrationLimitBytesPerSecond: migrationLimitOf(
      context.migrationBytesPerSecond,
      look.ha?.options,
    ),
    storages: storagesOf(look.resources, pveNode),
    roles: declared[node]?.roles ?? null,
    busy,
    runningGuests: guests.filter(({ status }) => status !== 'stopped').length,
  });
  const capabilities = capabilitiesOf(context, look, node);
  return {
    driver: { name: 'proxmox-api', version: daemonVersion, simulated, capabilities },
    bootId,
    facts,
    guests: await Promise.all(
      guests.map((guest) => describeGuest(context, look, { pveNode, guest })),
    ),
  };
}
