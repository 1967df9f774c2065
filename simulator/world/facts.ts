/**
 * What is true of a node of this world for longer than a sample, as a driver would describe it.
 * Nothing here is unknown: a twin that hid facts would make every guard deny.
 */
import type { GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import type { World, WorldGuest, WorldNode } from './model.ts';

const sharedStorage = 'shared';

function quorumOf(world: World, node: WorldNode): NodeFacts['quorum'] {
  if (node.spec.votes === 0) return null;
  const nodes = world.clusters.get(node.spec.cluster)?.nodes ?? [];
  const members = nodes.map(({ spec, power }) => ({
    node: spec.node,
    votes: spec.votes,
    online: power === 'on' || power === 'stopping',
  }));
  const votes = world.clusters.get(node.spec.cluster)?.qdeviceVotes ?? 0;
  const expectedVotes = members.reduce((sum, member) => sum + member.votes, votes);
  const totalVotes = members.reduce(
    (sum, member) => sum + (member.online ? member.votes : 0),
    votes,
  );
  const qdevice = votes === 0 ? null : { votes, alive: true, voting: true, seenAgeMs: 0 };
  const quorumVotes = Math.floor(expectedVotes / 2) + 1;
  const quorate = totalVotes >= quorumVotes;
  return { quorate, expectedVotes, totalVotes, quorumVotes, members, qdevice };
}

const noHighAvailability = {
  managed: false,
  lrmState: 'idle',
  mode: null,
  watchdogOpen: false,
  shutdownPolicy: 'conditional',
  services: [],
};

function storagesOf(node: WorldNode): NodeFacts['storages'] {
  const usedBytes = node.guests.reduce((sum, { spec }) => sum + spec.diskBytes, 0);
  return [
    { id: sharedStorage, type: 'nfs', shared: true, active: true, usedBytes, totalBytes: 2 ** 44 },
  ];
}

const identityOf = ({ spec }: WorldNode) => ({
  cpuVendor: spec.cpuModel.startsWith('AMD') ? 'AuthenticAMD' : 'GenuineIntel',
  cpuModel: spec.cpuModel,
  microcode: '0x1',
  cpuCount: spec.cpuCount,
  memoryBytes: spec.memoryBytes,
  singleThreadFactor: spec.singleThreadFactor,
  wattsIdle: spec.wattsIdle,
  wattsLoaded: spec.wattsLoaded,
  powerSource: null,
  biosVersion: 'twin-1',
  kernel: '6.14.0-twin',
  hypervisorVersion: 'memory 1',
  zone: null,
  rack: spec.rack,
  powerGroup: spec.rack,
});

export function factsOf(world: World, node: WorldNode): NodeFacts {
  const { spec } = node;
  return {
    ...identityOf(node),
    links: [
      {
        name: 'eno1',
        mac: spec.mac,
        address: `${spec.address}/24`,
        broadcast: spec.broadcast,
        wakeOnMagic: true,
        driver: 'twin',
      },
    ],
    quorum: quorumOf(world, node),
    ha: noHighAvailability,
    storages: storagesOf(node),
    roles: [...spec.roles],
    busy: [],
    upsOnBattery: false,
    runningGuests: node.guests.filter((guest) => guest.state === 'running').length,
    maintenance: false,
    protected: false,
    systemUuid: null,
    wakers: null,
    house: [],
    ceph: null,
    replication: [],
    bootMs: Math.round(spec.bootMs / world.timeScale),
    migrationBytesPerSecond: spec.migrationBytesPerSecond,
    migrationLimitBytesPerSecond: null,
    clockOffsetMs: 0,
  };
}

export const guestFactsOf = (guest: WorldGuest): GuestFacts => ({
  id: guest.spec.id,
  kind: guest.spec.kind,
  name: guest.spec.name,
  tags: [...guest.spec.tags],
  lock: guest.lock,
  haState: null,
  ownedByHypervisorBalancer: false,
  template: false,
  cpuType: 'x86-64-v3',
  cpuCount: guest.cpuCount,
  cpuLimit: guest.cpuLimit,
  cpuUnits: guest.cpuUnits,
  memoryMaxBytes: guest.memoryBytes,
  balloonMinBytes: guest.balloonBytes,
  hotplug: ['cpu', 'memory'],
  disks: [
    {
      volume: `${sharedStorage}:vm-${guest.spec.id}-disk-0`,
      storage: sharedStorage,
      sizeBytes: guest.spec.diskBytes,
      shared: true,
    },
  ],
  localResources: [],
  allowedNodes: null,
  mayRestart: true,
  macs: null,
  systemUuid: null,
});
