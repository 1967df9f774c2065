import { describe, expect, it } from 'vitest';
import {
  Allowance,
  commandArgs,
  type CommandKind,
  type Offer,
} from '../../../broker/contract/command.ts';
import { GuestFacts, NodeFacts } from '../../../broker/contract/facts.ts';
import type { GuardFact } from '../../../broker/contract/report.ts';
import type { PolicyReading } from '../../../daemon/command/local-policy.ts';
import { type GuardFacts, guards, judge } from '../../../daemon/command/guards.ts';
import { guestSample } from '../../support/messages.ts';

const offer = (kind: CommandKind, more: Partial<Offer> = {}): Offer => ({
  commandId: '00000000-0000-7000-8000-000000000001',
  kind,
  target: kind.startsWith('node.') ? { kind: 'node', id: 'n1' } : { kind: 'guest', id: '100' },
  args: {},
  generation: 1,
  epoch: 4,
  ttlMs: 60_000,
  ...more,
});

type Quorum = NonNullable<NodeFacts['quorum']>;
const link = { name: 'eno1', mac: '02:00:00:00:00:01', wakeOnMagic: true };
const noHa = {
  managed: false,
  lrmState: 'idle',
  mode: null,
  watchdogOpen: false,
  shutdownPolicy: 'conditional',
  services: [] as { sid: string; state: string; node: string }[],
};

/** A standalone host that may be switched off, changed where a test cares. */
const nodeFacts = (change: object = {}): NodeFacts =>
  NodeFacts.parse({ roles: [], busy: [], links: [link], ...change });

const quorumOf = (count: number, change: Partial<Quorum> = {}): Quorum => ({
  quorate: true,
  expectedVotes: count,
  totalVotes: count,
  quorumVotes: Math.floor(count / 2) + 1,
  members: Array.from({ length: count }, (_, index) => {
    return { node: `n${index + 1}`, votes: 1, online: true };
  }),
  qdevice: null,
  ...change,
});

/** In a cluster of this many, with whatever is changed about quorum and HA. */
const clustered = (count: number, quorum: Partial<Quorum> = {}, ha: object | null = {}) => ({
  nodeFacts: nodeFacts({ quorum: quorumOf(count, quorum), ha: ha && { ...noHa, ...ha } }),
});
const qdevice = { votes: 1, alive: true, voting: true, seenAgeMs: 3_000 };
const deviceOfFour = {
  expectedVotes: 9,
  quorumVotes: 5,
  qdevice: { ...qdevice, votes: 4 },
};
const replica = 'replication-target';
const lockedGuest = GuestFacts.parse({ id: '100', kind: 'vm', name: 'web', lock: 'backup' });
const pair = { expectedVotes: 3, quorumVotes: 2 };
const vm = (state: string, node: string) => ({ services: [{ sid: 'vm:1', state, node }] });

const facts = (wanted: Offer, more: Partial<GuardFacts> = {}): GuardFacts => ({
  node: 'n1',
  wanted,
  grant: null,
  driver: {
    name: 'script',
    version: null,
    simulated: false,
    capabilities: Object.keys(commandArgs) as CommandKind[],
  },
  nodeFacts: nodeFacts(),
  guests: [],
  runningGuests: 0,
  uptimeMs: 3_600_000,
  membersStableForMs: 3_600_000,
  guestSample: null,
  maxEpoch: 4,
  policy: { ok: true, policy: { allow: null, protected: false } },
  isHeldHere: false,
  isHeldByServer: false,
  isObserveOnly: false,
  wakers: 1,
  isTargetBusy: false,
  quarantined: null,
  hasReserve: true,
  ...more,
});

const granted = (wanted: Offer, simulated: boolean, allows?: Allowance[]): Partial<GuardFacts> => ({
  grant: {
    ...wanted,
    v: 1,
    type: 'grant',
    cluster: 'home',
    node: 'n1',
    nonce: 'a'.repeat(32),
    simulated,
    timeoutMs: 1_000,
    timeScale: 1,
    policyHash: null,
    ...(allows ? { allows } : {}),
  },
});
/** Granted, with nothing allowed beyond what the node sees itself. */
const bare = (more: Partial<GuardFacts>): Partial<GuardFacts> => ({
  ...granted(shutdown, false),
  ...more,
});

const uptime = 300_000;
const realProxmox = {
  name: 'proxmox' as const,
  version: null,
  simulated: false,
  capabilities: Object.keys(commandArgs) as CommandKind[],
};
const free = {
  kind: 'vm' as const,
  allowedNodes: ['n2', 'n3'],
  localResources: [] as string[],
  disks: [] as NonNullable<GuestFacts['disks']>,
  hotplug: ['cpu', 'memory'],
};
/** Guest 100 as its hypervisor tells of it, in facts and in the sample. */
const aGuest = (
  facts: Partial<GuestFacts> = {},
  sample: Parameters<typeof guestSample>[1] = {},
): Partial<GuardFacts> => ({
  driver: realProxmox,
  guests: [GuestFacts.parse({ id: '100', name: 'web', ...free, ...facts })],
  guestSample: guestSample('100', {
    kind: facts.kind ?? 'vm',
    state: 'running',
    memoryUsedBytes: 2 ** 30,
    memoryTotalBytes: 2 ** 32,
    ...sample,
  }),
});
const container = (more: Partial<GuestFacts> = {}, sample = {}): Partial<GuardFacts> =>
  aGuest({ kind: 'container', hotplug: null, ...more }, sample);
const move = (args: object = {}): Offer =>
  offer('guest.migrate', { args: { targetNode: 'n2', ...args } });
const resize = (args: Offer['args']): Offer => offer('guest.scale', { args });
const localDisk = { volume: 'local:1', storage: 'local', sizeBytes: 1, shared: false };

const shutdown = offer('node.shutdown');
const start = offer('guest.start');
const wake = offer('node.wake', { target: { kind: 'node', id: 'n9' } });
const protectedPolicy: PolicyReading = { ok: true, policy: { allow: null, protected: true } };
const narrowPolicy: PolicyReading = {
  ok: true,
  policy: { allow: ['guest.stop'], protected: false },
};

describe('the guards of a node about one guest', () => {
  it.each<[string, string, Offer, Partial<GuardFacts>]>([
    ['destination', 'KR_GUEST_FACTS', move(), {}],
    ['destination', 'KR_GUEST_FACTS', move(), { ...aGuest(), guestSample: null }],
    ['destination', 'KR_GUEST_FACTS', move(), aGuest({ allowedNodes: null })],
    ['destination', 'KR_NODE_NOT_ALLOWED', move({ targetNode: 'n9' }), aGuest()],
    ['destination', 'KR_OWNED_BY_HYPERVISOR', move(), aGuest({ ownedByHypervisorBalancer: true })],
    ['destination', 'KR_GUEST_STATE', move(), aGuest({}, { state: 'unknown' })],
    ['binding', 'KR_LOCAL_RESOURCE', move(), aGuest({ localResources: ['hostpci0'] })],
    ['binding', 'KR_GUEST_FACTS', move(), aGuest({ localResources: null })],
    ['binding', 'KR_GUEST_FACTS', move(), aGuest({ disks: null })],
    ['binding', 'KR_LOCAL_DISK', move(), aGuest({ disks: [localDisk] })],
    ['consent', 'KR_NO_CONSENT', move({ online: false }), container()],
    ['consent', 'KR_NO_CONSENT', move({ online: false }), aGuest()],
    ['size', 'KR_NO_HOTPLUG', resize({ memoryBytes: 2 ** 31 }), aGuest({ hotplug: ['cpu'] })],
    ['size', 'KR_NO_HOTPLUG', resize({ memoryBytes: 2 ** 33 }), aGuest({ hotplug: null })],
    ['size', 'KR_NO_HOTPLUG', resize({ cpuCount: 2 }), aGuest({ hotplug: ['memory'] })],
    ['size', 'KR_MEMORY_STEP', resize({ memoryBytes: 2 ** 31 + 2 ** 20 }), aGuest()],
    ['size', 'KR_MEMORY_STEP', resize({ memoryBytes: 2 ** 29 }), aGuest()],
    ['size', 'KR_MEMORY_STEP', resize({ memoryBytes: 2 ** 43 }), aGuest()],
    ['size', 'KR_VIRTIOFS', resize({ memoryBytes: 2 ** 33 }), aGuest({ localResources: null })],
    [
      'size',
      'KR_VIRTIOFS',
      resize({ memoryBytes: 2 ** 33 }),
      aGuest({ localResources: ['virtiofs0'] }),
    ],
    ['size', 'KR_MEMORY_IN_USE', resize({ memoryBytes: 2 ** 30 }), aGuest()],
    ['size', 'KR_MEMORY_IN_USE', resize({ memoryBytes: 2 ** 30 }), container()],
    ['size', 'KR_MEMORY_IN_USE', resize({ balloonBytes: 2 ** 30 }), container()],
    [
      'size',
      'KR_MEMORY_IN_USE',
      resize({ memoryBytes: 2 ** 31 }),
      container({}, { memoryUsedBytes: null }),
    ],
  ])('by row %s answer %s', (id, code, wanted, more) => {
    expect(judge(facts(wanted, more))).toMatchObject({ code, guard: { id } });
  });

  it.each<[string, Offer, Partial<GuardFacts>]>([
    ['to a node that it may go to', move(), aGuest()],
    ['with its local disks', move({ withLocalDisks: true }), aGuest({ disks: [localDisk] })],
    [
      'by a restart that its owner agreed to',
      move({ online: false }),
      container({ mayRestart: true }),
    ],
    ['of one that does not run', move(), container({}, { state: 'stopped' })],
    ['by modules', resize({ memoryBytes: 2 ** 33 + 2 ** 29 }), aGuest()],
    ['to 1.25 times of what it uses', resize({ memoryBytes: 1.25 * 2 ** 30 }), container()],
    [
      'upwards, whatever it uses',
      resize({ memoryBytes: 2 ** 33 }),
      container({}, { memoryUsedBytes: null }),
    ],
    ['of a limit', resize({ cpuLimit: 2 }), aGuest({ hotplug: [] })],
    [
      'of one that does not run',
      resize({ memoryBytes: 2 ** 20 }),
      aGuest({}, { state: 'stopped' }),
    ],
  ])('allow a change %s', (_, wanted, more) => {
    expect(judge(facts(wanted, more))).toBeNull();
  });
});

describe('the guards of a node about its own time', () => {
  const real = { ...clustered(3), driver: realProxmox };
  const simulated = { driver: { ...realProxmox, simulated: true } };
  it.each<[string, string, Partial<GuardFacts>]>([
    ['membership-stable', 'KR_MEMBERSHIP_UNSTABLE', { ...real, membersStableForMs: 59_999 }],
    ['membership-stable', 'KR_MEMBERSHIP_UNSTABLE', { ...real, membersStableForMs: null }],
    ['uptime', 'KR_UP_TOO_SHORT', { uptimeMs: uptime - 1 }],
    ['uptime', 'KR_UP_TOO_SHORT', { uptimeMs: null }],
  ])('by row %s answer %s', (id, code, more) => {
    for (const kind of ['node.shutdown', 'node.reboot'] as const) {
      expect(judge(facts(offer(kind), more))).toMatchObject({ code, guard: { id } });
    }
  });

  it.each<[string, Partial<GuardFacts>]>([
    ['whose members stood for a minute', { ...real, membersStableForMs: 60_000 }],
    ['without a cluster', { driver: realProxmox, membersStableForMs: null }],
    ['that is up for five minutes', { uptimeMs: uptime }],
    ['that is simulated', { ...clustered(3), ...simulated, uptimeMs: 0, membersStableForMs: 0 }],
  ])('allow a host to go %s', (_, more) => {
    expect(judge(facts(shutdown, more))).toBeNull();
  });
});

describe('node-local guards', () => {
  it.each<Offer>([start, shutdown, wake])('let a sound $kind pass', (wanted) => {
    expect(judge(facts(wanted))).toBeNull();
    expect(judge(facts(wanted, granted(wanted, false)))).toBeNull();
  });

  it.each<[string, string, Offer, Partial<GuardFacts>]>([
    ['local-hold', 'KR_HOLD', start, { isHeldHere: true }],
    ['local-hold', 'KR_HOLD', wake, { isHeldHere: true }],
    ['server-hold', 'KR_HOLD', start, { isHeldByServer: true }],
    ['observe-only', 'KR_OBSERVE_ONLY', wake, { isObserveOnly: true }],
    ['args', 'KR_ARGS', offer('guest.stop', { args: { forse: true } }), {}],
    ['args', 'KR_ARGS', offer('guest.migrate'), {}],
    ['args', 'KR_ARGS', offer('guest.scale', { args: { cpuCount: 0 } }), {}],
    ['target', 'KR_TARGET', offer('guest.start', { target: { kind: 'node', id: 'n1' } }), {}],
    ['target', 'KR_TARGET', offer('node.shutdown', { target: { kind: 'node', id: 'n2' } }), {}],
    ['target', 'KR_TARGET', offer('node.wake', { target: { kind: 'guest', id: '1' } }), {}],
    ['local-policy', 'KR_LOCAL_POLICY', start, { policy: narrowPolicy }],
    ['local-policy', 'KR_LOCAL_POLICY', start, { policy: { ok: false, problem: 'allow: bad' } }],
    ['facts', 'KR_FACTS', start, { driver: null }],
    ['facts', 'KR_FACTS', start, { nodeFacts: null }],
    ['simulated', 'KR_SIMULATED', start, granted(start, true)],
    ['capability', 'KR_NOT_CAPABLE', start, { driver: { ...emptyDriver() } }],
    ['capability', 'KR_NO_WAKER', wake, { wakers: 0 }],
    ['epoch', 'KR_EPOCH', start, { maxEpoch: 5 }],
    ['journal', 'KR_JOURNAL_QUARANTINED', shutdown, { quarantined: 'journal.quarantined-1' }],
    ['disk', 'KR_DISK_FULL', start, { hasReserve: false }],
    ['target-busy', 'KR_TARGET_BUSY', start, { isTargetBusy: true }],
    ['protected', 'KR_PROTECTED', shutdown, { policy: protectedPolicy }],
    ['protected', 'KR_PROTECTED', shutdown, { nodeFacts: nodeFacts({ protected: true }) }],
    ['protected', 'KR_PROTECTED', offer('node.reboot'), { policy: protectedPolicy }],
    ['running-guests', 'KR_GUESTS_RUNNING', shutdown, { runningGuests: 3 }],
    ['running-guests', 'KR_GUESTS_RUNNING', shutdown, { runningGuests: null }],
    ['votes', 'KR_TWO_NODES', shutdown, clustered(2)],
    [
      'votes',
      'KR_QUORUM',
      shutdown,
      clustered(2, { ...pair, qdevice: { ...qdevice, alive: false } }),
    ],
    [
      'votes',
      'KR_QUORUM',
      shutdown,
      clustered(2, { ...pair, qdevice: { ...qdevice, seenAgeMs: null } }),
    ],
    ['votes', 'KR_QUORUM', shutdown, clustered(5, { members: quorumOf(3).members })],
    ['votes', 'KR_QUORUM', shutdown, clustered(5, { quorate: false })],
    ['votes', 'KR_QUORUM', offer('node.reboot'), clustered(3, { expectedVotes: 5 })],
    [
      'votes',
      'KR_QUORUM_UNKNOWN',
      shutdown,
      { nodeFacts: nodeFacts({ ha: { ...noHa, managed: true } }) },
    ],
    ['ha', 'KR_HA_UNKNOWN', shutdown, clustered(5, {}, null)],
    ['ha', 'KR_HA_BUSY', shutdown, clustered(5, {}, vm('fence', 'n2'))],
    ['ha', 'KR_HA_SERVICES', shutdown, clustered(5, {}, vm('started', 'n1'))],
    ['ha', 'KR_HA_POLICY', shutdown, clustered(5, {}, { managed: true, shutdownPolicy: null })],
    ['ha', 'KR_HA_DISARMED', shutdown, clustered(5, {}, { managed: true, mode: 'disarmed' })],
    ['ha', 'KR_HA_WATCHDOG', shutdown, clustered(5, {}, { managed: true, watchdogOpen: true })],
    ['roles', 'KR_ROLES_UNKNOWN', shutdown, { nodeFacts: nodeFacts({ roles: null }) }],
    ['roles', 'KR_PROTECTED', shutdown, { nodeFacts: nodeFacts({ roles: ['ceph-osd'] }) }],
    ['busy', 'KR_BUSY_UNKNOWN', shutdown, { nodeFacts: nodeFacts({ busy: null }) }],
    ['busy', 'KR_BUSY', shutdown, { nodeFacts: nodeFacts({ busy: [{ what: 'vzdump' }] }) }],
    [
      'busy',
      'KR_UPS_SILENT',
      shutdown,
      { nodeFacts: nodeFacts({ busy: [{ what: 'ups-silent', detail: 'ups@localhost' }] }) },
    ],
    ['busy', 'KR_ON_BATTERY', shutdown, { nodeFacts: nodeFacts({ upsOnBattery: true }) }],
    ['wake-path', 'KR_WAKE_DISARMED', shutdown, bare({ nodeFacts: nodeFacts({ links: null }) })],
    ['roles', 'KR_PROTECTED', shutdown, bare({ nodeFacts: nodeFacts({ roles: [replica] }) })],
    ['votes', 'KR_QUORUM_SPARE', shutdown, bare(clustered(3))],
    ['votes', 'KR_QDEVICE', shutdown, bare(clustered(2, { ...pair, qdevice }))],
    ['votes', 'KR_QDEVICE', shutdown, bare(clustered(5, deviceOfFour))],
    ['busy', 'KR_LOCKED', shutdown, { guests: [lockedGuest] }],
    ['guest-lock', 'KR_LOCKED', offer('guest.stop'), { guests: [lockedGuest] }],
  ])('row %s denies with %s', (id, code, wanted, more) => {
    const denial = judge(facts(wanted, more));
    expect(denial).toMatchObject({ guard: { id }, code });
    expect(denial?.reason).not.toBe('');
    expect(denial?.wayOut).not.toBe('');
  });

  it('refuses a real grant on a simulated driver, too', () => {
    const simulated = { ...emptyDriver(), simulated: true, capabilities: [start.kind] };
    expect(judge(facts(start, { driver: simulated, ...granted(start, true) }))).toBeNull();
    const denial = judge(facts(start, { driver: simulated, ...granted(start, false) }));
    expect(denial).toMatchObject({ code: 'KR_SIMULATED' });
  });

  it.each(['node.wake', 'node.restore', 'guest.start'] as const)(
    'lets harmless %s pass although the journal is quarantined or the node protected',
    (kind) => {
      const more = { quarantined: 'x', policy: protectedPolicy, runningGuests: 9 };
      expect(judge(facts(offer(kind), more))).toBeNull();
    },
  );

  it.each<[string, Partial<GuardFacts>]>([
    ['one of three nodes', clustered(3)],
    ['one of two with a QDevice', clustered(2, { ...pair, qdevice })],
    ['a node whose HA services are elsewhere or stopped', clustered(3, {}, vm('started', 'n2'))],
    ['a node in HA maintenance', clustered(3, {}, { managed: true, mode: 'maintenance' })],
  ])('let %s be switched off', (_what, more) => {
    expect(judge(facts(shutdown, more))).toBeNull();
  });

  it.each<[string, string, GuardFact[], Partial<GuardFacts>]>([
    [
      'Q2',
      'votes',
      [
        { name: 'quorate', value: true },
        { name: 'votesLeft', value: 2 },
        { name: 'votesNeeded', value: 2 },
        { name: 'qdeviceVotes', value: 0 },
        { name: 'largestVoter', value: 1 },
      ],
      bare(clustered(3)),
    ],
    [
      'C2',
      'roles',
      [{ name: 'roles', value: 'replication-target' }],
      bare({ nodeFacts: nodeFacts({ roles: [replica] }) }),
    ],
    [
      'V2',
      'busy',
      [
        { name: 'busy', value: '' },
        { name: 'lockedGuests', value: 1 },
        { name: 'upsOnBattery', value: null },
      ],
      bare({ guests: [lockedGuest] }),
    ],
  ])('names rule %s of row %s, and what it judged by', (rule, id, inputs, more) => {
    expect(judge(facts(shutdown, more))?.guard).toEqual({ id, rule, facts: inputs });
  });

  it.each<[Allowance, Partial<GuardFacts>]>([
    ['no-magic-packet', { nodeFacts: nodeFacts({ links: [{ ...link, wakeOnMagic: false }] }) }],
    ['aged-replicas', { nodeFacts: nodeFacts({ roles: [replica] }) }],
    ['no-spare-vote', clustered(3)],
  ])('takes the signed word %s of a grant, and refuses nothing of it to an offer', (word, more) => {
    const others = Allowance.options.filter((one) => one !== word);
    expect(judge(facts(shutdown, more))).toBeNull();
    expect(judge(facts(shutdown, { ...more, ...granted(shutdown, false, [word]) }))).toBeNull();
    expect(judge(facts(shutdown, { ...more, ...granted(shutdown, false, others) }))).not.toBeNull();
  });

  it('lets no word of a grant excuse quorum itself, or another role', () => {
    const all = granted(shutdown, false, [...Allowance.options]);
    const few = clustered(3, { expectedVotes: 5 });
    expect(judge(facts(shutdown, { ...few, ...all }))).toMatchObject({ code: 'KR_QUORUM' });
    const both = { nodeFacts: nodeFacts({ roles: [replica, 'nfs'] }), ...all };
    expect(judge(facts(shutdown, both))).toMatchObject({ reason: 'this node is nfs' });
  });

  it('asks no way back of a node that a person switches on by hand, and names', () => {
    const asleep = { nodeFacts: nodeFacts({ links: [{ ...link, wakeOnMagic: false }] }) };
    const byHand = (switchOnByHand: string) =>
      judge(facts({ ...shutdown, args: { switchOnByHand } }, bare(asleep)));
    expect(byHand('n1')).toBeNull();
    expect(byHand('n2')).toMatchObject({ guard: { id: 'wake-path' }, code: 'KR_WAKE_DISARMED' });
    const busy = nodeFacts({ links: null, busy: [{ what: 'vzdump' }] });
    const excused = { ...shutdown, args: { switchOnByHand: 'n1' } };
    expect(judge(facts(excused, { nodeFacts: busy }))).toMatchObject({ guard: { id: 'busy' } });
  });

  it('asks a reboot for no way back, and other kinds for nothing about the node', () => {
    const unknown = { nodeFacts: NodeFacts.parse({}) };
    expect(
      judge(facts(offer('node.reboot'), { nodeFacts: nodeFacts({ links: null }) })),
    ).toBeNull();
    expect(judge(facts(start, unknown))).toBeNull();
  });

  it('gives each rule its own id', () => {
    expect(new Set(guards.map(({ id }) => id)).size).toBe(guards.length);
  });
});

function emptyDriver() {
  return { name: 'script' as const, version: null, simulated: false, capabilities: [] };
}
