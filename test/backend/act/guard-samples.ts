/**
 * Facts under which every guard passes with the limits of a real cluster: five nodes with a vote
 * each, all well. A test changes the one thing it is about.
 */
import { CommandKind } from '../../../broker/contract/command.ts';
import { GuestFacts, NodeFacts } from '../../../broker/contract/facts.ts';
import type { GuardFacts, GuestFact, NodeFact, PowerFacts } from '../../../backend/act/guard.ts';
import { limitsOf } from '../../../backend/act/guard-limits.ts';
import type { Proof } from '../../../backend/act/wake-ways.ts';
import { guestSample } from '../../support/messages.ts';

const members = ['n1', 'n2', 'n3', 'n4', 'n5'];
export const realLimits = limitsOf({ simulated: 0, time_scale: 1, limits: '{}', settings: '{}' });

export const quorumOf = (nodes: readonly string[] = members): NonNullable<NodeFacts['quorum']> => ({
  quorate: true,
  expectedVotes: nodes.length,
  totalVotes: nodes.length,
  quorumVotes: Math.floor(nodes.length / 2) + 1,
  members: nodes.map((node) => ({ node, votes: 1, online: true })),
  qdevice: null,
});

export const noHa: NonNullable<NodeFacts['ha']> = {
  managed: false,
  lrmState: 'idle',
  mode: null,
  watchdogOpen: false,
  shutdownPolicy: 'conditional',
  services: [],
};

export const nodeFacts = (change: Partial<NodeFacts> = {}): NodeFacts => ({
  ...NodeFacts.parse({}),
  cpuVendor: 'GenuineIntel',
  cpuModel: 'Intel N305',
  microcode: '0x1',
  hypervisorVersion: '9.1.2',
  links: [
    {
      name: 'eno1',
      mac: '02:00:00:00:00:01',
      address: null,
      broadcast: '192.168.1.255',
      wakeOnMagic: true,
      driver: null,
    },
  ],
  quorum: quorumOf(),
  ha: noHa,
  roles: [],
  busy: [],
  upsOnBattery: false,
  ...change,
});

export const node = (id: string, change: Partial<NodeFact> = {}): NodeFact => ({
  id,
  online: true,
  driver: {
    name: 'memory',
    version: null,
    simulated: true,
    capabilities: [...CommandKind.options],
  },
  protected: false,
  protectedReason: null,
  journalConfirmed: true,
  runningGuests: 0,
  sampleAgeMs: 1_000,
  freshMs: 30_000,
  facts: nodeFacts(),
  factsAgeMs: 60_000,
  membersOnline: members,
  votesStableForMs: 600_000,
  lockedGuests: [],
  uptimeMs: 86_400_000,
  memoryUsedBytes: 8 * 2 ** 30,
  memoryTotalBytes: 32 * 2 ** 30,
  cpuRatio: 0.1,
  cpuCount: 8,
  clockOffsetMs: 12,
  desired: 'awake',
  keepAwakeUntilMs: null,
  quarantinedUntilMs: null,
  offlineForMs: null,
  ...change,
});

export const proof = (change: Partial<Proof> = {}): Proof => ({
  waker: 'wol',
  succeeded: 3,
  youngestAgeMs: 86_400_000,
  bootMs: 90_000,
  ...change,
});

export const power = (change: Partial<PowerFacts> = {}): PowerFacts => ({
  neighbours: members.slice(1).map((id) => node(id)),
  inDoubt: [],
  lastChangeAgoMs: null,
  cyclesToday: 0,
  proofs: [proof()],
  wakeTable: { isWoken: true, holders: members.slice(1) },
  failingWakes: [],
  provingCampaign: null,
  load: { cpuRatio: 0.05, memoryUsedBytes: 8 * 2 ** 30 },
  guestBytes: 16 * 2 ** 30,
  ...change,
});

export const guestFacts = (change: Partial<GuestFacts> = {}): GuestFacts => ({
  ...GuestFacts.parse({ id: '100', kind: 'vm', name: 'web' }),
  cpuType: 'x86-64-v2-AES',
  hotplug: ['cpu', 'memory'],
  disks: [],
  localResources: [],
  mayRestart: true,
  ...change,
});

export const guest = (change: Partial<GuestFact> = {}): GuestFact => ({
  sample: { ...guestSample('100'), cluster: 'home', node: 'n1', sampleAtMs: 0 },
  facts: guestFacts(),
  alsoOn: [],
  memoryP99Bytes: 2 ** 20,
  sizes: { cpuMin: 1, cpuMax: 64, memoryMinBytes: 2 ** 20, memoryMaxBytes: 2 ** 42 },
  moves: [],
  ...change,
});

/** A destination that had an easy hour. */
export const to = (id: string, change: Partial<NodeFact> = {}) => ({
  id,
  node: node(id, change),
  load: { cpuRatio: 0.2, memoryUsedBytes: 9 * 2 ** 30 },
});

export const home = {
  id: 'home',
  simulated: true,
  hold: false,
  frozenUntilMs: null,
  frozenReason: null,
};

export const facts = (kind: CommandKind, change: Partial<GuardFacts> = {}): GuardFacts => {
  const isNode = kind.startsWith('node.');
  const takesAway = kind === 'node.shutdown' || kind === 'node.reboot';
  const moves = kind === 'guest.migrate';
  return {
    kind,
    args: moves ? { targetNode: 'n2' } : {},
    origin: 'engine',
    nowMs: 1_000_000,
    cluster: home,
    limits: realLimits,
    listeningForMs: 3_600_000,
    awake: { expected: 5, stale: 0, unheard: 0 },
    windows: [],
    house: { residents: [], unknown: [] },
    underWay: [],
    pausedUntilMs: null,
    power: takesAway ? power() : null,
    guest: isNode ? null : guest(),
    migrations: moves ? { outgoing: 0, incoming: 0 } : null,
    epoch: 5,
    executorMaxEpoch: 5,
    executor: node('n1'),
    target: isNode ? { kind: 'node', id: 'n1' } : { kind: 'guest', id: '100' },
    targetNode: isNode ? node('n1', { online: kind !== 'node.wake' }) : null,
    guestNode: 'n1',
    destination: moves ? to('n2') : null,
    wake: kind === 'node.wake' ? { macs: 1 } : null,
    powerOffs: [],
    powerOffsMax: 1,
    unresolved: null,
    ...change,
  };
};
