/**
 * A house in which everything is in order, as the wire and the store would describe it: the point
 * from which every adversarial case departs.
 */
import { GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import { CommandKind } from '../../broker/contract/command.ts';
import { GuestSample, Telemetry } from '../../broker/contract/telemetry.ts';
import type { Case, CaseNode, WakeProof } from './case.ts';
import { unseenNode } from '../../backend/state/reduce.ts';

const gibibyte = 2 ** 30;
const broadcast = '192.168.7.255';
export const macOf = (index: number): string =>
  `02:00:00:00:00:${(index + 1).toString(16).padStart(2, '0')}`;
export const nameOf = (index: number): string => `n${index + 1}`;

export type Shape = {
  nodes: number;
  votes: (index: number) => number;
  deviceVotes: number;
  standalone: boolean;
};

/** What corosync tells every member; shared, so that a case that lies copies it first. */
export function quorumOf({ nodes, votes, deviceVotes }: Shape): NodeFacts['quorum'] {
  const members = Array.from({ length: nodes }, (_, index) => ({
    node: nameOf(index),
    votes: votes(index),
    online: true,
  }));
  const expectedVotes = members.reduce((total, member) => total + member.votes, deviceVotes);
  return {
    quorate: true,
    expectedVotes,
    totalVotes: expectedVotes,
    quorumVotes: Math.floor(expectedVotes / 2) + 1,
    members,
    qdevice:
      deviceVotes === 0
        ? null
        : { votes: deviceVotes, alive: true, voting: true, seenAgeMs: 4_000 },
  };
}

const nodeFactsOf = (index: number, shape: Shape): NodeFacts =>
  NodeFacts.parse({
    cpuVendor: 'GenuineIntel',
    cpuModel: 'N100',
    microcode: '0x17',
    cpuCount: 16,
    memoryBytes: 64 * gibibyte,
    biosVersion: '5.27',
    kernel: '6.8.12-4-pve',
    hypervisorVersion: '9.1.2',
    zone: 'attic',
    rack: null,
    powerGroup: null,
    links: [
      { name: 'eno1', mac: macOf(index), address: `192.168.7.${index + 10}/24`, broadcast },
    ].map((link) => ({ ...link, wakeOnMagic: true, driver: 'igc' })),
    quorum: shape.standalone ? null : quorumOf(shape),
    ha: shape.standalone
      ? null
      : {
          managed: false,
          lrmState: 'idle',
          mode: 'active',
          watchdogOpen: false,
          shutdownPolicy: 'conditional',
          services: [],
        },
    storages: [{ id: 'shared', type: 'nfs', shared: true, active: true }],
    roles: [],
    busy: [],
    upsOnBattery: false,
    runningGuests: 0,
    maintenance: false,
    protected: false,
    bootMs: 90_000,
    migrationBytesPerSecond: 1e8,
    clockOffsetMs: 12,
  });

const valuesOf = () =>
  Telemetry.shape.node.parse({
    cpuRatio: 0.05,
    cpuCount: 16,
    memoryUsedBytes: 8 * gibibyte,
    memoryTotalBytes: 64 * gibibyte,
    uptimeMs: 5 * 86_400_000,
    votes: 1,
  }) as NonNullable<CaseNode['record']['values']>;

export function healthyNode(index: number, shape: Shape): CaseNode {
  const node = nameOf(index);
  return {
    record: {
      ...unseenNode('home', node),
      session: '01990000-0000-7000-8000-000000000000',
      online: true,
      incarnation: 1,
      seq: 100,
      sampleAtMs: -3_000,
      sampledAtWallMs: 0,
      intervalMs: 5_000,
      values: valuesOf(),
      guests: [],
      versions: { daemon: '0.1.0', hypervisor: '9.1.2', kernel: '6.8.12-4-pve' },
      membersOnline: shape.standalone
        ? null
        : Array.from({ length: shape.nodes }, (_, other) => nameOf(other)),
      driver: {
        name: 'proxmox',
        version: null,
        simulated: false,
        capabilities: [...CommandKind.options],
      },
      bootId: `0199000${index.toString(16)}-1111-7000-8000-000000000000`,
      journalId: `0199000${index.toString(16)}-2222-7000-8000-000000000000`,
      facts: nodeFactsOf(index, shape),
    },
    factsAgeMs: 4_000,
    guestFacts: [],
    quarantinedForMs: null,
    journalConfirmed: true,
    keepAwakeForMs: null,
    usage: { cpuRatioP95: 0.1, memoryP95Bytes: 10 * gibibyte },
    holdsWakeTable: true,
    managementWaker: false,
  };
}

/** Three proven cycles of the node as it is. */
export const proofsOf = (index: number): WakeProof[] =>
  [1, 2, 3].map((days) => ({
    node: nameOf(index),
    agoMs: days * 86_400_000,
    succeeded: true,
    bootMs: 90_000,
    binding: {
      mac: macOf(index),
      nicDriver: 'igc',
      kernel: '6.8.12-4-pve',
      biosVersion: '5.27',
      waker: 'wol',
      wakeOnMagic: true,
    },
  }));

export function addGuest(
  node: CaseNode,
  id: string,
  kind: 'vm' | 'container',
  state: 'running' | 'stopped',
): void {
  const sample = GuestSample.parse({
    id,
    kind,
    name: `guest-${id}`,
    state,
    cpuRatio: state === 'running' ? 0.1 : null,
    cpuCount: 2,
    memoryUsedBytes: state === 'running' ? gibibyte : null,
    memoryTotalBytes: 4 * gibibyte,
    uptimeMs: 3_600_000,
  }) as GuestSample;
  node.record.guests = [...(node.record.guests ?? []), sample];
  node.guestFacts?.push(
    GuestFacts.parse({
      id,
      kind,
      name: `guest-${id}`,
      ownedByHypervisorBalancer: false,
      cpuType: 'x86-64-v2-AES',
      cpuCount: 2,
      memoryMaxBytes: 4 * gibibyte,
      hotplug: ['network', 'disk', 'usb', 'cpu', 'memory'],
      disks: [{ volume: `shared:vm-${id}`, storage: 'shared', sizeBytes: gibibyte, shared: true }],
      localResources: [],
      allowedNodes: node.record.facts?.quorum?.members.map((member) => member.node) ?? [],
      mayRestart: true,
    }),
  );
  const { facts } = node.record;
  if (facts && state === 'running') facts.runningGuests = (facts.runningGuests ?? 0) + 1;
}

/** What the executor sees when it looks itself: the same, and fresh. */
export const localOf = ({ record, guestFacts }: CaseNode): Case['local'] => ({
  ageMs: 800,
  hold: false,
  facts: record.facts && structuredClone(record.facts),
  guests: record.guests && structuredClone([...record.guests]),
  guestFacts: guestFacts && structuredClone(guestFacts),
});

/** `node.shutdown` of the first node of a healthy house, which every rule allows. */
export function healthyCase(shape: Shape): Case {
  const nodes = Array.from({ length: shape.nodes }, (_, index) => healthyNode(index, shape));
  const first = nodes[0];
  if (!first) throw new Error('a house has at least one node');
  return {
    proposal: {
      action: { kind: 'node.shutdown', args: { mode: 'poweroff' } },
      node: first.record.node,
      guest: null,
      origin: 'engine',
      approved: true,
      proving: false,
    },
    cluster: {
      simulated: false,
      hold: false,
      holdAll: false,
      frozenForMs: null,
      leader: true,
      mode: 'auto',
      shadowMs: 8 * 86_400_000,
      insideWindow: true,
      backendUpMs: 3_600_000,
      snapshotComplete: true,
      votesStableMs: 600_000,
      stormAgoMs: null,
      spareVotes: 1,
      wakeProof: 'required',
      wakersMin: 2,
      reserve: 'awake',
      reserveRatio: 0.1,
      movesPerDay: 2,
      house: { nodes: [], guests: [] },
      powerOffAnywhereAgoMs: null,
    },
    nodes,
    commands: [],
    proofs: nodes.flatMap((_, index) => proofsOf(index)),
    guestMemoryP99Bytes: gibibyte,
    guestPolicy: null,
    pausedForMs: null,
    local: localOf(first),
  };
}
