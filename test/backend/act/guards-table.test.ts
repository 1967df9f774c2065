import { describe, expect, it } from 'vitest';
import type { GuardFacts, NodeFact, OtherCommand } from '../../../backend/act/guard.ts';
import type { Window } from '../../../backend/decide/windows.ts';
import { evaluate, guards } from '../../../backend/act/guards.ts';
import {
  facts,
  guest,
  guestFacts,
  home,
  node,
  nodeFacts,
  noHa,
  power,
  proof,
  quorumOf,
  realLimits,
  to,
} from './guard-samples.ts';

type Case = [id: string, rule: string, code: string, wayOut: RegExp, given: GuardFacts];

const off = (change: Partial<GuardFacts> = {}): GuardFacts => facts('node.shutdown', change);
const move = (change: Partial<GuardFacts> = {}): GuardFacts => facts('guest.migrate', change);
const scale = (args: object, change: Partial<GuardFacts> = {}): GuardFacts =>
  facts('guest.scale', { args: { ...args }, ...change });

/** The target says this of itself, the others stay as they are. */
const says = (change: Parameters<typeof nodeFacts>[0]): GuardFacts =>
  off({ targetNode: node('n1', { facts: nodeFacts(change) }) });
const is = (change: Partial<NodeFact>): GuardFacts => off({ targetNode: node('n1', change) });

/** A cluster of these nodes, seen alike by each. */
function clusterOf(
  ids: readonly string[],
  change: Partial<GuardFacts> = {},
  { ha = noHa, ...device }: { ha?: typeof noHa } & object = {},
) {
  const quorum = { ...quorumOf(ids), ...device };
  const [target, ...others] = ids.map((id) =>
    node(id, { facts: nodeFacts({ quorum, ha }), membersOnline: ids }),
  );
  return off({ targetNode: target ?? null, power: power({ neighbours: others }), ...change });
}

const qdevice = { votes: 1, alive: true, voting: true, seenAgeMs: 5_000 };
const withDevice = { expectedVotes: 3, qdevice };
const withoutVotes = { expectedVotes: 3, qdevice: { ...qdevice, votes: 0 } };
const others = (change: Partial<NodeFact>) =>
  power({ neighbours: [node('n2', change), node('n3', change), node('n4'), node('n5')] });
/** Three of five voters stay, and an administrator asks for no spare one. */
const withLast = (change: Partial<NodeFact>) =>
  off({
    limits: { ...realLimits, spareVoters: 0 },
    power: power({ neighbours: [...['n2', 'n3', 'n4'].map((id) => node(id)), node('n5', change)] }),
  });
const alone = nodeFacts({ quorum: null, ha: null });
const gib = 2 ** 30;

const byBmc = (id: string) =>
  node(id, { facts: nodeFacts({ wakers: [{ node: 'n1', by: ['ipmi'] }] }) });
const fine = {
  health: 'HEALTH_OK',
  osdsOkToStop: true,
  monOkToStop: true,
  poolMinSize: 2,
  monsTotal: 5,
  monsInQuorum: 5,
  hasMon: true,
  noout: true,
};
const cephIs = (change: Partial<typeof fine> | null): GuardFacts =>
  off({
    limits: { ...realLimits, ceph: 'when-ok-to-stop' },
    targetNode: node('n1', {
      facts: nodeFacts({ roles: ['ceph-mon'], ceph: change && { ...fine, ...change } }),
    }),
  });
const told = (holders: readonly string[] | null, change: Parameters<typeof power>[0] = {}) =>
  power({ wakeTable: { isWoken: true, holders }, ...change });
const forgotten = (id: string): NodeFact => node(id, { factsAgeMs: 1_800_001 });
const held = { localHold: true };
const asleep = (id: string): NodeFact => node(id, { online: false, desired: 'asleep' });
const job = (target: string) => ({ guest: '100', target, running: false, failed: false });
const nightly = (allow: Window['allow'], at = '0 22'): Window => ({
  cron: `${at} * * *`,
  durationMs: 3_600_000,
  zone: 'UTC',
  allow,
});
const going: OtherCommand = {
  id: 'c7',
  kind: 'guest.migrate',
  state: 'RUNNING',
  target: '107',
  executor: 'n2',
  destination: 'n1',
};
const leaving = (node: string): OtherCommand => ({
  id: 'c8',
  kind: 'node.reboot',
  state: 'GRANTED',
  target: node,
  executor: node,
  destination: null,
});
const resident = (id: string | null) =>
  ({ cluster: 'home', node: 'n1', guest: id, part: 'backend', by: 'machine' }) as const;
const lived = (id: string | null) => ({ residents: [resident(id)], unknown: [] });
const ownMove = (change: Partial<GuardFacts>): GuardFacts =>
  move({ house: lived('100'), executor: node('n1', { runningGuests: 1 }), ...change });
const real = { ...home, simulated: false };

const denied: Case[] = [
  ['own-house', 'C3', 'KR_PROTECTED', /by hand/, off({ house: lived('100') })],
  ['own-house', 'C3', 'KR_PROTECTED', /not drained/, facts('node.drain', { house: lived(null) })],
  [
    'own-house',
    'C3',
    'KR_OWN_HOUSE',
    /KR_OWN_HOUSE/,
    off({ cluster: real, house: { residents: [], unknown: ['backend'] } }),
  ],
  ['own-guest', 'C3', 'KR_OWN_HOUSE', /own tools/, facts('guest.stop', { house: lived('100') })],
  [
    'own-guest',
    'C3',
    'KR_OWN_HOUSE',
    /leave it/,
    ownMove({ guest: guest({ sample: { ...guest().sample, kind: 'container' } }) }),
  ],
  ['own-guest', 'C3', 'KR_OWN_HOUSE', /online true/, ownMove({ args: { online: false } })],
  [
    'own-guest',
    'C3',
    'KR_OWN_HOUSE',
    /move those/,
    ownMove({ executor: node('n1', { runningGuests: 2 }) }),
  ],
  [
    'own-guest',
    'C3',
    'KR_OWN_HOUSE',
    /move those/,
    ownMove({ executor: node('n1', { runningGuests: null }) }),
  ],
  ['own-guest', 'C3', 'KR_OWN_HOUSE', /wait for it/, ownMove({ underWay: [going] })],
  [
    'change-window',
    'A1',
    'KR_WINDOW',
    /22:00 UTC/,
    move({ windows: [nightly(['guest.migrate'])] }),
  ],
  [
    'change-window',
    'A1',
    'KR_WINDOW',
    /22:00 UTC/,
    off({ origin: 'person', windows: [nightly(['node.shutdown'])] }),
  ],
  ['change-window', 'A1', 'KR_WINDOW_UNKNOWN', /config check/, move({ windows: null })],
  [
    'change-window',
    'A1',
    'KR_WINDOW_UNKNOWN',
    /config check/,
    off({ origin: 'person', windows: null }),
  ],
  ['commands-at-once', 'V7', 'KR_COMMANDS_AT_ONCE', /wait/, move({ underWay: [going, going] })],
  ['never-automatic', 'A1', 'KR_NEVER_AUTOMATIC', /person/, facts('guest.delete')],
  ['idle', 'W4', 'KR_NOT_IDLE', /idle/, off({ power: power({ load: null }) })],
  [
    'idle',
    'W4',
    'KR_NOT_IDLE',
    /idle/,
    off({ power: power({ load: { cpuRatio: 0.2, memoryUsedBytes: null } }) }),
  ],
  ['idle', 'W4', 'KR_KEPT_AWAKE', /yourself/, is({ keepAwakeUntilMs: 1_000_001 })],
  ['empty-node', 'V1', 'KR_GUESTS_RUNNING', /kr_park/, is({ runningGuests: 2, parkableGuests: 1 })],
  [
    'empty-node',
    'V1',
    'KR_GUESTS_RUNNING',
    /migrate or stop/,
    facts('node.reboot', { targetNode: node('n1', { runningGuests: 1, parkableGuests: 1 }) }),
  ],
  ['empty-node', 'V1', 'KR_GUESTS_MOVING', /resolve/, off({ underWay: [going] })],
  ['node-leaving', 'V1', 'KR_NODE_LEAVING', /wait/, move({ underWay: [leaving('n1')] })],
  ['node-leaving', 'V1', 'KR_NODE_LEAVING', /resolve/, move({ underWay: [leaving('n2')] })],
  ['node-leaving', 'V1', 'KR_NODE_LEAVING', /wait/, scale({}, { underWay: [leaving('n1')] })],
  [
    'wake-quarantine',
    'W3',
    'KR_WAKE_FAILING',
    /resolve/,
    off({ power: power({ failingWakes: [going] }) }),
  ],
  [
    'wake-proof',
    'W1',
    'KR_WAKE_UNPROVEN',
    /switchOnByHand/,
    off({ origin: 'person', power: power({ proofs: [] }) }),
  ],
  [
    'wake-proof',
    'W1',
    'KR_WAKE_UNPROVEN',
    /prove-wake/,
    off({ power: power({ neighbours: [byBmc('n2'), byBmc('n3')] }) }),
  ],
  [
    'wake-proof',
    'W1',
    'KR_STATEMENT',
    /types the id/,
    off({ origin: 'token', args: { switchOnByHand: 'n1' } }),
  ],
  [
    'wake-proof',
    'W1',
    'KR_STATEMENT',
    /types the id/,
    off({ origin: 'person', args: { switchOnByHand: 'n2' } }),
  ],
  [
    'wake-path',
    'W2',
    'KR_NO_WAKER',
    /BMC/,
    off({ power: power({ neighbours: [node('n2'), node('n3', { driver: null })] }) }),
  ],
  [
    'wake-path',
    'W2',
    'KR_NO_WAKER',
    /BMC/,
    off({ power: power({ neighbours: [node('n2'), node('n3', { facts: null })] }) }),
  ],
  ['wake-table', 'W2', 'KR_WAKE_TABLE', /in a minute/, off({ power: told(['n2']) })],
  ['wake-table', 'W2', 'KR_WAKE_TABLE', /in a minute/, off({ power: power({ wakeTable: null }) })],
  [
    'wake-table',
    'W2',
    'KR_WAKE_TABLE',
    /logs/,
    // Who holds it must be there to use it.
    off({ power: told(['n2', 'n3'], { neighbours: [node('n2'), asleep('n3'), node('n4')] }) }),
  ],
  [
    'wake-table',
    'W2',
    'KR_WAKE_TABLE',
    /in a minute/,
    off({ power: told([], { neighbours: [node('n2')] }) }),
  ],
  [
    'wake-table',
    'W2',
    'KR_WAKE_TABLE',
    /in a minute/,
    off({ origin: 'token', args: { switchOnByHand: 'n1' }, power: told([]) }),
  ],
  ['wake-table', 'W2', 'KR_NO_WAKE_TABLE', /switchOnByHand/, off({ power: told(null) })],
  ['ceph', 'C1', 'KR_CEPH', /ceph -s/, cephIs(null)],
  ['ceph', 'C1', 'KR_CEPH', /heal/, cephIs({ health: 'HEALTH_WARN' })],
  ['ceph', 'C1', 'KR_CEPH', /replicas/, cephIs({ osdsOkToStop: false })],
  ['ceph', 'C1', 'KR_CEPH', /min_size/, cephIs({ poolMinSize: 1 })],
  ['ceph', 'C1', 'KR_CEPH', /monitors/, cephIs({ monsTotal: 3, monsInQuorum: 3 })],
  ['ceph', 'C1', 'KR_CEPH', /noout/, cephIs({ noout: false })],
  [
    'replication',
    'C2',
    'KR_PROTECTED',
    /may-age/,
    off({ power: others({ facts: nodeFacts({ replication: [job('n1')] }) }) }),
  ],
  [
    'replication',
    'C2',
    'KR_BUSY',
    /wait/,
    off({
      limits: { ...realLimits, replicas: 'may-age' },
      power: others({ facts: nodeFacts({ replication: [{ ...job('n1'), running: true }] }) }),
    }),
  ],
  [
    'destination-memory',
    'V8',
    'KR_LOAD_UNKNOWN',
    /samples/,
    move({ destination: { ...to('n2'), load: null } }),
  ],
  [
    'destination-memory',
    'V8',
    'KR_NO_ROOM',
    /free memory/,
    move({ destination: { ...to('n2'), load: { cpuRatio: 0.1, memoryUsedBytes: 28 * gib } } }),
  ],
  [
    'destination-cpu',
    'V8',
    'KR_NO_ROOM',
    /free cpu/,
    move({ destination: { ...to('n2'), load: { cpuRatio: 0.8, memoryUsedBytes: gib } } }),
  ],
  [
    'destination-cpu',
    'V8',
    'KR_LOAD_UNKNOWN',
    /samples/,
    move({ destination: to('n2', { cpuCount: null }) }),
  ],
  ['two-nodes', 'Q4', 'KR_TWO_NODES', /pvecm qdevice setup/, clusterOf(['n1', 'n2'])],
  ['two-nodes', 'Q4', 'KR_QUORUM_UNKNOWN', /pvecm status/, is({ facts: null })],
  ['quorum', 'Q1', 'KR_QUORUM_UNKNOWN', /pvecm status/, is({ facts: null })],
  [
    'quorum',
    'Q1',
    'KR_QUORUM_UNKNOWN',
    /pvecm status/,
    is({ facts: alone, membersOnline: ['n1', 'n2'] }),
  ],
  ['quorum', 'Q1', 'KR_QUORUM_UNKNOWN', /pvecm status/, is({ facts: alone, membersOnline: null })],
  ['quorum', 'Q1', 'KR_QUORUM', /wake another/, off({ power: power({ inDoubt: ['n2', 'n3'] }) })],
  ['quorum', 'Q1', 'KR_QUORUM', /wake another/, off({ power: others({ sampleAgeMs: 30_001 }) })],
  ['quorum', 'Q1', 'KR_QUORUM', /wake another/, off({ power: others({ online: false }) })],
  ['quorum', 'Q1', 'KR_QUORUM', /wake another/, off({ power: others({ membersOnline: null }) })],
  ['quorum-spare', 'Q2', 'KR_QUORUM_SPARE', /spareVoters/, clusterOf(['n1', 'n2', 'n3'])],
  [
    'quorum-spare',
    'Q2',
    'KR_QUORUM_SPARE',
    /HA resources/,
    clusterOf(
      ['n1', 'n2', 'n3'],
      { limits: { ...realLimits, spareVoters: 0 } },
      { ha: { ...noHa, lrmState: 'active' } },
    ),
  ],
  [
    'quorum-spare',
    'Q2',
    'KR_QUORUM_SPARE',
    /HA resources/,
    clusterOf(
      ['n1', 'n2', 'n3'],
      { limits: { ...realLimits, spareVoters: 0 } },
      { ha: { ...noHa, lrmState: 'lost_agent_lock' } },
    ),
  ],
  [
    'quorum-spare',
    'Q2',
    'KR_QUORUM_SPARE',
    /HA resources/,
    clusterOf(
      ['n1', 'n2', 'n3'],
      { limits: { ...realLimits, spareVoters: 0 } },
      { ha: { ...noHa, watchdogOpen: true } },
    ),
  ],
  [
    'quorum-spare',
    'Q2',
    'KR_QUORUM_SPARE',
    /bring n5 back/,
    withLast({ online: false, facts: null }),
  ],
  ['quorum-spare', 'Q2', 'KR_QUORUM_SPARE', /bring n5 back/, withLast({ sampleAgeMs: 30_001 })],
  ['qdevice', 'Q3', 'KR_QDEVICE', /spareVoters/, clusterOf(['n1', 'n2'], {}, withDevice)],
  [
    'two-nodes',
    'Q4',
    'KR_TWO_NODES',
    /pvecm qdevice setup/,
    clusterOf(['n1', 'n2'], {}, withoutVotes),
  ],
  [
    'membership-stable',
    'Q5',
    'KR_MEMBERSHIP_UNSTABLE',
    /60000 ms/,
    off({ power: power({ lastChangeAgoMs: 59_999 }) }),
  ],
  [
    'membership-stable',
    'Q5',
    'KR_MEMBERSHIP_UNSTABLE',
    /60000 ms/,
    off({ power: others({ uptimeMs: 59_999 }) }),
  ],
  [
    'membership-stable',
    'Q5',
    'KR_MEMBERSHIP_UNSTABLE',
    /60000 ms/,
    off({ power: others({ offlineForMs: 59_999, online: false }) }),
  ],
  [
    'membership-stable',
    'Q5',
    'KR_MEMBERSHIP_UNSTABLE',
    /60000 ms/,
    // It was not quorate a moment ago, and is again: corosync flaps.
    off({ power: others({ votesStableForMs: 59_999 }) }),
  ],
  ['membership-stable', 'Q5', 'KR_MEMBERSHIP_UNSTABLE', /60000/, is({ votesStableForMs: null })],
  [
    'membership-stable',
    'Q5',
    'KR_MEMBERSHIP_UNSTABLE',
    /60000 ms/,
    // It lost quorum just now: no voter any more, and a sign that the others may follow.
    off({
      power: others({
        votesStableForMs: 1_000,
        facts: nodeFacts({ quorum: { ...quorumOf(), quorate: false } }),
      }),
    }),
  ],
  ['local-hold', 'K1', 'KR_LOCAL_HOLD', /HOLD on n1/, move({ executor: node('n1', held) })],
  ['local-hold', 'K1', 'KR_LOCAL_HOLD', /HOLD on n1/, is(held)],
  ['ha', 'Q6', 'KR_HA_UNKNOWN', /ha-manager status/, says({ ha: null })],
  [
    'ha',
    'Q6',
    'KR_HA_BUSY',
    /settled/,
    says({
      ha: { ...noHa, managed: true, services: [{ sid: 'vm:1', state: 'fence', node: 'n2' }] },
    }),
  ],
  [
    'ha',
    'Q6',
    'KR_HA_POLICY',
    /datacenter.cfg/,
    says({ ha: { ...noHa, managed: true, shutdownPolicy: 'odd' } }),
  ],
  [
    'ha',
    'Q6',
    'KR_HA_DISARMED',
    /arm HA/,
    says({ ha: { ...noHa, managed: true, mode: 'disarming' } }),
  ],
  [
    'ha',
    'Q6',
    'KR_HA_WATCHDOG',
    /node-maintenance enable n1/,
    says({ ha: { ...noHa, managed: true, watchdogOpen: null } }),
  ],
  [
    'ha-services',
    'Q7',
    'KR_HA_SERVICES',
    /migrate it/,
    says({ ha: { ...noHa, services: [{ sid: 'vm:1', state: 'started', node: 'n1' }] } }),
  ],
  ['protected', 'C3', 'KR_PROTECTED', /stay on/, is({ protected: true })],
  ['ceph', 'C1', 'KR_PROTECTED', /Ceph/, says({ roles: ['ceph-osd'] })],
  ['ceph', 'C1', 'KR_ROLES_UNKNOWN', /driver/, says({ roles: null })],
  ['replication', 'C2', 'KR_PROTECTED', /another target/, says({ roles: ['replication-target'] })],
  ['roles', 'C3', 'KR_PROTECTED', /another node/, says({ roles: ['dns'] })],
  ['empty-node', 'V1', 'KR_GUESTS_RUNNING', /migrate or stop/, is({ runningGuests: 1 })],
  ['node-busy', 'V2', 'KR_BUSY_UNKNOWN', /driver/, says({ busy: null })],
  ['node-busy', 'V2', 'KR_BUSY', /wait/, says({ busy: [{ what: 'vzdump', detail: null }] })],
  ['node-busy', 'V2', 'KR_LOCKED', /backup/, is({ lockedGuests: ['100'] })],
  [
    'node-busy',
    'V2',
    'KR_UPS_SILENT',
    /upsmon.conf/,
    says({ busy: [{ what: 'ups-silent', detail: 'ups@localhost' }] }),
  ],
  ['node-busy', 'V2', 'KR_ON_BATTERY', /mains/, says({ upsOnBattery: true })],
  [
    'power-group',
    'W5',
    'KR_POWER_GROUP',
    /resolve/,
    off({
      targetNode: node('n1', { facts: nodeFacts({ powerGroup: 'ups1' }) }),
      power: {
        ...others({ facts: nodeFacts({ powerGroup: 'ups1' }) }),
        inDoubt: ['n2'],
      },
    }),
  ],
  [
    'wake-proof',
    'W1',
    'KR_WAKE_UNPROVEN',
    /prove-wake/,
    off({ power: power({ proofs: [proof({ succeeded: 2 })] }) }),
  ],
  [
    'wake-proof',
    'W1',
    'KR_WAKE_UNPROVEN',
    /prove-wake/,
    off({ power: power({ proofs: [proof({ youngestAgeMs: 31 * 86_400_000 })] }) }),
  ],
  ['wake-path', 'W2', 'KR_WAKE_DISARMED', /ethtool/, says({ links: null })],
  [
    'wake-path',
    'W2',
    'KR_NO_WAKER',
    /awake/,
    off({
      power: power({
        neighbours: [
          node('n2'),
          node('n3', { online: false }),
          node('n4', { driver: null }),
          node('n5', { facts: null }),
        ],
      }),
    }),
  ],
  [
    'wake-quarantine',
    'W3',
    'KR_WAKE_FAILED',
    /frozen false/,
    off({ power: others({ quarantinedUntilMs: 1_000_001 }) }),
  ],
  ['power-cycles', 'W4', 'KR_UP_TOO_SHORT', /wait/, is({ uptimeMs: 1_799_999 })],
  ['power-cycles', 'W4', 'KR_UP_TOO_SHORT', /wait/, is({ uptimeMs: null })],
  [
    'power-cycles',
    'W4',
    'KR_TOO_MANY_CYCLES',
    /4 times/,
    off({ power: power({ cyclesToday: 4 }) }),
  ],
  [
    'memory-reserve',
    'V8',
    'KR_NO_RESERVE',
    /wakeable/,
    off({ power: power({ guestBytes: 96 * gib + 1 }) }),
  ],
  [
    'memory-reserve',
    'V8',
    'KR_NO_RESERVE',
    /wakeable/,
    off({ power: power({ guestBytes: null }) }),
  ],
  [
    'frozen',
    'B1',
    'KR_FROZEN',
    /frozen false/,
    move({ cluster: { ...home, frozenUntilMs: 1_000_001, frozenReason: 'a power-off failed' } }),
  ],
  [
    'frozen',
    'B1',
    'KR_FROZEN',
    /frozen false/,
    off({ origin: 'person', cluster: { ...home, frozenUntilMs: 1_000_001 } }),
  ],
  [
    'startup',
    'T3',
    'KR_SNAPSHOT',
    /maintenance/,
    move({ origin: 'person', awake: { expected: 5, stale: 1, unheard: 1 } }),
  ],
  ['empty-node', 'V1', 'KR_STALE', /hello/, is({ factsAgeMs: null })],
  ['empty-node', 'V1', 'KR_STALE', /hello/, is({ factsAgeMs: 1_800_001 })],
  ['fresh', 'T1', 'KR_STALE', /sample/, move({ executor: node('n1', { factsAgeMs: null }) })],
  ['fresh', 'T1', 'KR_STALE', /sample/, move({ executor: node('n1', { factsAgeMs: 1_800_001 }) })],
  [
    'quorum',
    'Q1',
    'KR_QUORUM',
    /wake/,
    // Their votes were told too long ago to be counted on.
    off({ power: power({ neighbours: ['n2', 'n3', 'n4', 'n5'].map(forgotten) }) }),
  ],
  [
    'stale-nodes',
    'T1',
    'KR_STALE',
    /maintenance/,
    off({ awake: { expected: 4, stale: 2, unheard: 0 } }),
  ],
  [
    'fresh',
    'T1',
    'KR_STALE',
    /fresh sample/,
    move({ executor: node('n1', { sampleAgeMs: 30_001 }) }),
  ],
  [
    'certain-guest',
    'T1',
    'KR_GUEST_TWICE',
    /where it really runs/,
    move({ guest: guest({ alsoOn: ['n3'] }) }),
  ],
  [
    'certain-guest',
    'T1',
    'KR_GUEST_STATE',
    /sample/,
    move({ guest: guest({ sample: { ...guest().sample, state: 'unknown' } }) }),
  ],
  [
    'stale-nodes',
    'T1',
    'KR_STALE',
    /maintenance/,
    move({ awake: { expected: 20, stale: 4, unheard: 0 } }),
  ],
  ['startup', 'T3', 'KR_STARTING', /1 s from now/, move({ listeningForMs: 299_500 })],
  [
    'clock',
    'T2',
    'KR_CLOCK',
    /synchronisation/,
    move({ executor: node('n1', { clockOffsetMs: -2_001 }) }),
  ],
  [
    'clock',
    'T2',
    'KR_CLOCK',
    /next sample/,
    move({ executor: node('n1', { clockOffsetMs: null }) }),
  ],
  ['manual-pause', 'A1', 'KR_PAUSED', /yourself/, move({ pausedUntilMs: 1_000_001 })],
  [
    'guest-lock',
    'V2',
    'KR_LOCKED',
    /unlock/,
    facts('guest.stop', { guest: guest({ facts: guestFacts({ lock: 'backup' }) }) }),
  ],
  [
    'allowed-nodes',
    'V3',
    'KR_NODE_NOT_ALLOWED',
    /n3/,
    move({ guest: guest({ facts: guestFacts({ allowedNodes: ['n3'] }) }) }),
  ],
  [
    'allowed-nodes',
    'V3',
    'KR_OWNED_BY_HYPERVISOR',
    /auto-rebalance/,
    move({ guest: guest({ facts: guestFacts({ ownedByHypervisorBalancer: true }) }) }),
  ],
  [
    'allowed-nodes',
    'V3',
    'KR_GUEST_FACTS',
    /described/,
    move({
      executor: node('n1', {
        driver: { name: 'proxmox', version: '9', simulated: true, capabilities: ['guest.migrate'] },
      }),
    }),
  ],
  ['local-resources', 'V4', 'KR_GUEST_FACTS', /described/, move({ guest: guest({ facts: null }) })],
  [
    'local-resources',
    'V4',
    'KR_LOCAL_RESOURCE',
    /detach/,
    move({ guest: guest({ facts: guestFacts({ localResources: ['hostpci0'] }) }) }),
  ],
  [
    'local-resources',
    'V4',
    'KR_LOCAL_DISK',
    /withLocalDisks/,
    move({
      guest: guest({
        facts: guestFacts({
          disks: [{ volume: 'local:1', storage: null, sizeBytes: null, shared: false }],
        }),
      }),
    }),
  ],
  [
    'cpu-compatible',
    'V5',
    'KR_CPU_VENDOR',
    /same vendor/,
    move({
      destination: to('n2', { facts: nodeFacts({ cpuVendor: 'AuthenticAMD' }) }),
    }),
  ],
  [
    'cpu-compatible',
    'V5',
    'KR_CPU_TYPE',
    /x86-64-v2/,
    move({
      guest: guest({ facts: guestFacts({ cpuType: 'host' }) }),
      destination: to('n2', { facts: nodeFacts({ microcode: '0x2' }) }),
    }),
  ],
  [
    'cpu-compatible',
    'V5',
    'KR_CPU_TYPE',
    /a daemon on each host/,
    // By API neither is known, which makes them no equals.
    move({
      guest: guest({ facts: guestFacts({ cpuType: 'host' }) }),
      executor: node('n1', { facts: nodeFacts({ microcode: null }) }),
      destination: to('n2', { facts: nodeFacts({ microcode: null }) }),
    }),
  ],
  [
    'cpu-compatible',
    'V5',
    'KR_OLDER_TARGET',
    /update/,
    move({
      destination: to('n2', { facts: nodeFacts({ hypervisorVersion: '8.4' }) }),
    }),
  ],
  [
    'cpu-compatible',
    'V5',
    'KR_CPU_UNKNOWN',
    /described/,
    move({ executor: node('n1', { facts: null }) }),
  ],
  [
    'restart-consent',
    'V6',
    'KR_NO_CONSENT',
    /stop it/,
    move({
      guest: guest({
        sample: { ...guest().sample, kind: 'container' },
        facts: guestFacts({ mayRestart: null }),
      }),
    }),
  ],
  [
    'migrations-per-node',
    'V7',
    'KR_MIGRATIONS',
    /wait/,
    move({ migrations: { outgoing: 1, incoming: 0 } }),
  ],
  [
    'migrations-per-node',
    'V7',
    'KR_MIGRATIONS',
    /wait/,
    move({ migrations: { outgoing: 0, incoming: 1 } }),
  ],
  [
    'destination-memory',
    'V8',
    'KR_NO_ROOM',
    /free memory/,
    move({ destination: to('n2', { memoryUsedBytes: 27 * gib }) }),
  ],
  [
    'destination-memory',
    'V8',
    'KR_LOAD_UNKNOWN',
    /samples/,
    move({ destination: to('n2', { memoryUsedBytes: null }) }),
  ],
  [
    'ping-pong',
    'V10',
    'KR_PING_PONG',
    /yourself/,
    move({ guest: guest({ moves: [{ from: 'n3', to: 'n1', agoMs: 1_799_999 }] }) }),
  ],
  [
    'ping-pong',
    'V10',
    'KR_PING_PONG',
    /yourself/,
    move({ guest: guest({ moves: [{ from: 'n2', to: 'n1', agoMs: 80_000_000 }] }) }),
  ],
  [
    'scale-memory',
    'S1',
    'KR_NO_HOTPLUG',
    /hotplug/,
    scale(
      { memoryBytes: 4 * gib },
      { guest: guest({ facts: guestFacts({ hotplug: ['network'] }) }) },
    ),
  ],
  [
    'scale-memory',
    'S1',
    'KR_MEMORY_STEP',
    /512 MiB/,
    scale(
      { memoryBytes: 4 * gib + 1 },
      {
        executor: node('n1', {
          driver: { name: 'proxmox', version: '9', simulated: true, capabilities: ['guest.scale'] },
        }),
      },
    ),
  ],
  ['scale-memory', 'S1', 'KR_MEMORY_IN_USE', /1.25/, scale({ memoryBytes: gib })],
  [
    'scale-memory',
    'S2',
    'KR_MEMORY_IN_USE',
    /1.25/,
    scale(
      { memoryBytes: gib },
      { guest: guest({ sample: { ...guest().sample, kind: 'container' } }) },
    ),
  ],
  [
    'scale-cpus',
    'S2',
    'KR_NO_HOTPLUG',
    /hotplug/,
    scale({ cpuCount: 3 }, { guest: guest({ facts: guestFacts({ hotplug: null }) }) }),
  ],
  ['scale-step', 'S3', 'KR_SCALE_STEP', /twice/, scale({ cpuCount: 5 })],
  [
    'scale-memory',
    'S1',
    'KR_VIRTIOFS',
    /stop the guest/,
    scale(
      { memoryBytes: 4 * gib },
      { guest: guest({ facts: guestFacts({ localResources: ['virtiofs0'] }) }) },
    ),
  ],
  ['scale-memory', 'S1', 'KR_MEMORY_IN_USE', /1.25/, scale({ balloonBytes: gib })],
  [
    'scale-memory',
    'S1',
    'KR_MEMORY_IN_USE',
    /1.25/,
    scale({ memoryBytes: 1.5 * gib }, { guest: guest({ memoryP99Bytes: null }) }),
  ],
  [
    'scale-policy',
    'S3',
    'KR_SCALE_POLICY',
    /a person/,
    scale({ cpuCount: 3 }, { guest: guest({ sizes: null }) }),
  ],
];

const passed: [what: string, id: string, given: GuardFacts][] = [
  [
    'a standalone host skips the votes',
    'quorum',
    off({
      targetNode: node('n1', { facts: alone, membersOnline: null }),
      power: power({ neighbours: [] }),
    }),
  ],
  [
    'a standalone host needs no HA',
    'ha',
    off({
      targetNode: node('n1', { facts: alone, membersOnline: null }),
      power: power({ neighbours: [] }),
    }),
  ],
  [
    'two nodes with a QDevice and spare 0',
    'qdevice',
    clusterOf(['n1', 'n2'], { limits: { ...realLimits, spareVoters: 0 } }, withDevice),
  ],
  [
    'two nodes with a QDevice and spare 0',
    'quorum-spare',
    clusterOf(['n1', 'n2'], { limits: { ...realLimits, spareVoters: 0 } }, withDevice),
  ],
  ['two nodes with a QDevice', 'two-nodes', clusterOf(['n1', 'n2'], {}, withDevice)],
  [
    'spare 0 while a fifth sleeps as it was told',
    'quorum-spare',
    withLast({ desired: 'asleep', online: false, facts: null }),
  ],
  [
    'a cycle of the campaign that proves it',
    'wake-proof',
    off({ origin: 'person', power: power({ proofs: [], provingCampaign: 'c1' }) }),
  ],
  [
    'a person who will switch it on by hand',
    'wake-proof',
    off({
      origin: 'person',
      args: { switchOnByHand: 'n1' },
      power: power({ proofs: [], neighbours: [] }),
    }),
  ],
  [
    'a person who will switch it on by hand',
    'wake-path',
    off({
      origin: 'person',
      args: { switchOnByHand: 'n1' },
      power: power({ proofs: [], neighbours: [] }),
    }),
  ],
  [
    'a magic packet beside a BMC',
    'wake-path',
    off({ power: power({ neighbours: [node('n2'), byBmc('n3')] }) }),
  ],
  [
    'two BMC paths to a card that is not armed',
    'wake-path',
    off({
      targetNode: node('n1', { facts: nodeFacts({ links: [] }) }),
      power: power({ neighbours: [byBmc('n2'), byBmc('n3')] }),
    }),
  ],
  [
    'Ceph that says yes to everything',
    'ceph',
    off({
      limits: { ...realLimits, ceph: 'when-ok-to-stop' },
      targetNode: node('n1', { facts: nodeFacts({ roles: ['ceph-osd', 'ceph-mon'], ceph: fine }) }),
    }),
  ],
  [
    'a second replica elsewhere',
    'replication',
    off({ power: others({ facts: nodeFacts({ replication: [job('n1'), job('n4')] }) }) }),
  ],
  [
    'the only replica where it may age',
    'replication',
    off({
      limits: { ...realLimits, replicas: 'may-age' },
      power: others({ facts: nodeFacts({ replication: [job('n1')] }) }),
    }),
  ],
  [
    'a person outside a window that is not about switching off',
    'change-window',
    move({ origin: 'person', windows: [nightly(['guest.migrate'])] }),
  ],
  [
    'the engine inside its window',
    'change-window',
    move({ windows: [nightly(['guest.migrate'], '16 0')] }),
  ],
  [
    'the engine in what no window names',
    'change-window',
    move({ windows: [nightly(['node.shutdown'])] }),
  ],
  [
    'a person with two under way',
    'commands-at-once',
    move({ origin: 'person', underWay: [going, going] }),
  ],
  ['the own VM, live, last and alone', 'own-guest', ownMove({})],
  ['another guest of the own node', 'own-guest', move({ house: lived('101') })],
  [
    'the other nodes of the own cluster',
    'own-house',
    off({ house: { residents: [{ ...resident(null), node: 'n2' }], unknown: [] } }),
  ],
  [
    'nodes of a simulated cluster',
    'own-house',
    off({ house: { residents: [], unknown: ['backend'] } }),
  ],
  ['a person who deletes', 'never-automatic', facts('guest.delete', { origin: 'person' })],
  [
    'a person who switches a busy one off',
    'idle',
    off({ origin: 'person', power: power({ load: null }) }),
  ],
  [
    'a stopped guest without a cpu of its own',
    'destination-cpu',
    move({ guest: guest({ sample: { ...guest().sample, state: 'stopped', cpuRatio: null } }) }),
  ],
  [
    'a destination in a world without a past',
    'destination-memory',
    move({
      limits: { ...realLimits, loadWindowMs: 0 },
      destination: { ...to('n2'), load: null },
    }),
  ],
  ['the only other machine of the house', 'wake-path', clusterOf(['n1', 'n2'], {}, withDevice)],
  [
    'a wake of a frozen cluster',
    'executor-online',
    facts('node.wake', { cluster: { ...home, frozenUntilMs: 2e9 } }),
  ],
  [
    'a person in a frozen cluster',
    'frozen',
    move({ origin: 'person', cluster: { ...home, frozenUntilMs: 2e9 } }),
  ],
  [
    'a person in spite of the pause',
    'manual-pause',
    move({ origin: 'person', pausedUntilMs: 2e9 }),
  ],
  ['a pause that is over', 'manual-pause', move({ pausedUntilMs: 999_999 })],
  [
    'a person who moves it back',
    'ping-pong',
    move({ origin: 'person', guest: guest({ moves: [{ from: 'n2', to: 'n1', agoMs: 1 }] }) }),
  ],
  [
    'a stopped guest between vendors',
    'cpu-compatible',
    move({
      guest: guest({ sample: { ...guest().sample, state: 'stopped' } }),
      executor: node('n1', { facts: null }),
    }),
  ],
  [
    'a host cpu between hosts of the same model and microcode',
    'cpu-compatible',
    move({ guest: guest({ facts: guestFacts({ cpuType: 'host' }) }) }),
  ],
  [
    'votes that have stood for a minute',
    'membership-stable',
    off({ power: others({ votesStableForMs: 60_000 }) }),
  ],
  ['a table on two wakers', 'wake-table', off({ power: told(['n4', 'n5']) })],
  [
    'a table on the one other machine of the house',
    'wake-table',
    off({ power: told(['n2'], { neighbours: [node('n2')] }) }),
  ],
  [
    'a table on one that also asks its BMC',
    'wake-table',
    off({
      power: told(['n2'], {
        neighbours: [
          node('n2', { facts: nodeFacts({ wakers: [{ node: 'n1', by: ['wol', 'ipmi'] }] }) }),
          node('n3'),
        ],
      }),
    }),
  ],
  [
    'no table for a node under maintenance, which nobody shall wake',
    'wake-table',
    off({ power: power({ wakeTable: { isWoken: false, holders: [] } }) }),
  ],
  [
    'no table for one that a person will switch on',
    'wake-table',
    off({ origin: 'person', args: { switchOnByHand: 'n1' }, power: told([]) }),
  ],
  [
    'local disks that come along',
    'local-resources',
    move({
      args: { withLocalDisks: true },
      guest: guest({
        facts: guestFacts({
          disks: [{ volume: 'local:1', storage: null, sizeBytes: null, shared: false }],
        }),
      }),
    }),
  ],
  [
    'room kept by sleeping nodes',
    'memory-reserve',
    off({
      limits: { ...realLimits, reserve: 'wakeable' },
      power: power({ guestBytes: 120 * gib }),
    }),
  ],
  [
    'HA services at rest',
    'ha-services',
    says({ ha: { ...noHa, services: [{ sid: 'vm:1', state: 'stopped', node: 'n1' }] } }),
  ],
  ['a power-off of another node', 'node-leaving', scale({}, { underWay: [leaving('n3')] })],
  ['guests that sleep with their node', 'empty-node', is({ runningGuests: 2, parkableGuests: 2 })],
  [
    'facts of half an hour, while the node says that nothing changed',
    'empty-node',
    is({ factsAgeMs: 1_800_000 }),
  ],
  [
    'a node that slept through the start of the server',
    'startup',
    off({ awake: { expected: 4, stale: 0, unheard: 0 } }),
  ],
  ['one lost node of four', 'stale-nodes', off({ awake: { expected: 4, stale: 1, unheard: 0 } })],
  ['a shrink with a margin', 'scale-memory', scale({ memoryBytes: 1.5 * gib })],
  ['a step of twice', 'scale-step', scale({ cpuCount: 4 })],
];

const verdictOf = (id: string, given: GuardFacts) =>
  evaluate('GRANT', 1, given).verdicts.find((verdict) => verdict.id === id);

describe('every guard', () => {
  it('lets a sound command of the engine pass with the limits of a real cluster', () => {
    for (const given of [off(), move(), scale({ cpuCount: 4 }), facts('node.reboot')]) {
      expect(evaluate('GRANT', 1, given).verdicts.filter(({ denial }) => denial)).toEqual([]);
    }
  });

  it.each(denied)('%s denies by %s with %s', (id, rule, code, wayOut, given) => {
    const denial = verdictOf(id, given)?.denial;
    expect(denial).toMatchObject({ rule, code });
    expect(denial?.reason).not.toMatch(/undefined|NaN|null/);
    expect(denial?.wayOut).toMatch(wayOut);
  });

  it.each(passed)('lets %s pass: %s', (_what, id, given) => {
    expect(verdictOf(id, given)).toMatchObject({ denial: null });
  });

  it('has a case that it denies', () => {
    const general = ['hold', 'wakeable', 'executor-online', 'capability', 'simulated', 'epoch'];
    const elsewhere = [
      ...general,
      'journal',
      'whereabouts',
      'unresolved',
      'destination',
      'protected',
    ];
    const tested = new Set([...denied.map(([id]) => id), ...elsewhere, 'power-off-in-flight']);
    expect(guards.map(({ id }) => id).filter((id) => !tested.has(id))).toEqual([]);
  });
});
