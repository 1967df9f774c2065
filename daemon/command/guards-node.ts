/**
 * The rows about this very machine, from what its own hypervisor says at this moment: votes, HA,
 * roles, work under way, the way back by Wake-on-LAN, and locks of guests. They repeat what the
 * server judged, by other code and from fresher facts. What only the server can know, how else the
 * node is woken and what an administrator allows, counts by its signed word alone. Pure.
 */
import type { Allowance, CommandKind } from '../../broker/contract/command.ts';
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { GuardFact } from '../../broker/contract/report.ts';
import type { Guard, GuardFacts, Says, Wanted } from './guards.ts';

const deny = (code: string, reason: string, wayOut: string, rule?: string): Says => ({
  code,
  reason,
  wayOut,
  ...(rule === undefined ? {} : { rule }),
});

const takesNodeAway = (kind: CommandKind): boolean =>
  kind === 'node.shutdown' || kind === 'node.reboot';

/** While it is only an offer, what a grant may allow is not refused yet. */
const mayAllow = ({ grant }: Pick<GuardFacts, 'grant'>, what: Allowance): boolean =>
  grant === null || grant.allows?.includes(what) === true;

type Judged = Pick<GuardFacts, 'node' | 'grant' | 'guests'>;
type Row = {
  id: string;
  rule: string;
  judge: (facts: NodeFacts, asked: Judged) => Says | null;
  inputs: (facts: NodeFacts, asked: Judged) => GuardFact[];
};

/** A row that only a power-off asks; without facts the row `facts` has denied already. */
const ofPowerOff = ({ id, rule, judge, inputs }: Row): Guard => ({
  id,
  rule,
  verdict: (facts) =>
    takesNodeAway(facts.wanted.kind) && facts.nodeFacts ? judge(facts.nodeFacts, facts) : null,
  inputs: (facts) => (facts.nodeFacts ? inputs(facts.nodeFacts, facts) : []),
});

const isClustered = ({ quorum, ha }: NodeFacts): boolean => quorum !== null || ha?.managed === true;

const qdeviceFreshMs = 30_000;

type Standing = { left: number; needed: number; device: number; largest: number };

/** Votes without this node, and the most that one more voter could take away. */
function standingOf({ quorum }: NodeFacts, node: string): Standing | null {
  if (!quorum) return null;
  const { members, qdevice, expectedVotes, quorumVotes } = quorum;
  const isVoting =
    qdevice !== null &&
    qdevice.alive &&
    qdevice.voting &&
    qdevice.seenAgeMs !== null &&
    qdevice.seenAgeMs <= qdeviceFreshMs;
  const device = isVoting ? qdevice.votes : 0;
  let left = device;
  let configured = qdevice?.votes ?? 0;
  let largest = 0;
  for (const member of members) {
    configured += member.votes;
    if (!member.online || member.node === node) continue;
    left += member.votes;
    largest = Math.max(largest, member.votes);
  }
  const needed = Math.max(quorumVotes, Math.floor(Math.max(expectedVotes, configured) / 2) + 1);
  return { left, needed, device, largest };
}

const wakeAnother = 'wake another node of the cluster first';
const spareWayOut = `${wakeAnother}, or an administrator sets limits.spareVoters to 0 for it`;

function judgeVotes(facts: NodeFacts, asked: Judged): Says | null {
  if (!isClustered(facts)) return null;
  const { quorum } = facts;
  const standing = standingOf(facts, asked.node);
  if (!quorum || !standing) {
    return deny('KR_QUORUM_UNKNOWN', 'the votes of the cluster are unknown', 'see `pvecm status`');
  }
  if (quorum.members.length <= 2 && quorum.qdevice === null) {
    return deny(
      'KR_TWO_NODES',
      'a cluster of two nodes without a QDevice loses quorum with either of them',
      'set up a QDevice on a third machine: pvecm qdevice setup <its address>',
      'Q4',
    );
  }
  const { left, needed, device, largest } = standing;
  if (!quorum.quorate || left < needed) {
    return deny('KR_QUORUM', `${left} votes would be left, ${needed} are needed`, wakeAnother);
  }
  if (mayAllow(asked, 'no-spare-vote')) return null;
  if (left - device < needed) {
    const rest = `without the ${device} votes of the QDevice ${left - device} remain`;
    return deny('KR_QDEVICE', `${rest}, ${needed} are needed`, spareWayOut, 'Q3');
  }
  const rest = `after the loss of one more voter ${left - largest} votes remain`;
  return left - largest < needed
    ? deny('KR_QUORUM_SPARE', `${rest}, ${needed} are needed`, spareWayOut, 'Q2')
    : null;
}

const votes = ofPowerOff({
  id: 'votes',
  rule: 'Q1',
  judge: judgeVotes,
  inputs(facts, { node }) {
    const standing = standingOf(facts, node);
    return [
      { name: 'quorate', value: facts.quorum?.quorate ?? null },
      { name: 'votesLeft', value: standing?.left ?? null },
      { name: 'votesNeeded', value: standing?.needed ?? null },
      { name: 'qdeviceVotes', value: standing?.device ?? null },
      { name: 'largestVoter', value: standing?.largest ?? null },
    ];
  },
});

const settledStates: ReadonlySet<string> = new Set(['stopped', 'disabled', 'ignored']);
const unsafeStates: ReadonlySet<string> = new Set([
  'fence',
  'recovery',
  'migrate',
  'relocate',
  'error',
]);
const knownPolicies: ReadonlySet<string> = new Set([
  'conditional',
  'migrate',
  'freeze',
  'failover',
]);

function judgeHa(facts: NodeFacts, { node }: Judged): Says | null {
  if (!isClustered(facts)) return null;
  const { ha } = facts;
  if (!ha) {
    return deny('KR_HA_UNKNOWN', 'the state of HA is unknown', 'see `ha-manager status`');
  }
  for (const { sid, state, node: where } of ha.services) {
    if (unsafeStates.has(state)) {
      return deny('KR_HA_BUSY', `HA service ${sid} is in state ${state}`, 'wait or repair it');
    }
    if (where === node && !settledStates.has(state)) {
      return deny('KR_HA_SERVICES', `HA service ${sid} is on this node`, 'migrate it first', 'Q7');
    }
  }
  // Services, or a watchdog that is held, belie that nothing is managed.
  if (!ha.managed && ha.services.length === 0 && ha.watchdogOpen !== true) return null;
  if (ha.shutdownPolicy === null || !knownPolicies.has(ha.shutdownPolicy)) {
    return deny(
      'KR_HA_POLICY',
      `shutdown_policy ${ha.shutdownPolicy ?? 'unknown'} is not understood`,
      'set it in datacenter.cfg to conditional, migrate, freeze or failover',
    );
  }
  if (ha.mode?.startsWith('disarm')) {
    return deny('KR_HA_DISARMED', `HA is ${ha.mode}`, 'arm HA again first');
  }
  return ha.watchdogOpen === false
    ? null
    : deny(
        'KR_HA_WATCHDOG',
        'the HA watchdog of this node is open or in an unknown state',
        `run: ha-manager crm-command node-maintenance enable ${node}`,
      );
}

const availability = ofPowerOff({
  id: 'ha',
  rule: 'Q6',
  judge: judgeHa,
  inputs: ({ ha }) => [
    { name: 'managed', value: ha?.managed ?? null },
    { name: 'services', value: ha?.services.length ?? null },
    { name: 'mode', value: ha?.mode ?? null },
    { name: 'shutdownPolicy', value: ha?.shutdownPolicy ?? null },
    { name: 'watchdogOpen', value: ha?.watchdogOpen ?? null },
  ],
});

const isReplica = (role: string): boolean => role === 'replication-target';
const ruleOfRole = (role: string): string =>
  isReplica(role) ? 'C2' : role.startsWith('ceph') ? 'C1' : 'C3';

const roles = ofPowerOff({
  id: 'roles',
  rule: 'C3',
  judge({ roles: known }, asked) {
    if (known === null) {
      return deny(
        'KR_ROLES_UNKNOWN',
        'what this node does for others is unknown',
        'use a driver that reports the roles of its node',
      );
    }
    const kept = known.filter((role) => !isReplica(role) || !mayAllow(asked, 'aged-replicas'));
    const [first] = kept;
    if (first === undefined) return null;
    const wayOut = kept.every(isReplica)
      ? 'give its guests another target, or an administrator sets settings.replicas may-age'
      : 'move that role elsewhere first';
    return deny('KR_PROTECTED', `this node is ${kept.join(', ')}`, wayOut, ruleOfRole(first));
  },
  inputs: ({ roles: known }) => [{ name: 'roles', value: known?.join(', ') ?? null }],
});

function judgeWork({ busy, upsOnBattery }: NodeFacts, { guests }: Judged): Says | null {
  if (busy === null) {
    return deny(
      'KR_BUSY_UNKNOWN',
      'what this node is busy with is unknown',
      'use a driver that reports its tasks',
    );
  }
  const silent = busy.find(({ what }) => what === 'ups-silent');
  if (silent) {
    return deny(
      'KR_UPS_SILENT',
      `UPS ${silent.detail} does not say whether it is on battery`,
      `see \`upsc ${silent.detail}\`; or take it out of upsmon.conf when it is gone for good`,
    );
  }
  const [first] = busy;
  if (first) return deny('KR_BUSY', `${first.what} is at work here`, 'wait until it has ended');
  const locked = guests?.find((guest) => guest.lock !== null);
  if (locked) return lockedSays(locked.id, locked.lock);
  return upsOnBattery === true
    ? deny('KR_ON_BATTERY', 'the UPS runs on battery', 'wait for mains power')
    : null;
}

const lockedSays = (guest: string, held: string | null): Says =>
  deny(
    'KR_LOCKED',
    `guest ${guest} is locked: ${held}`,
    'wait until that has ended; unlock it by hand only when you are sure',
  );

const work = ofPowerOff({
  id: 'busy',
  rule: 'V2',
  judge: judgeWork,
  inputs: ({ busy, upsOnBattery }, { guests }) => [
    { name: 'busy', value: busy?.map(({ what }) => what).join(', ') ?? null },
    { name: 'lockedGuests', value: guests?.filter((guest) => guest.lock !== null).length ?? null },
    { name: 'upsOnBattery', value: upsOnBattery },
  ],
});

/**
 * A person who will switch the node on by hand names it. Whose word that is the server judges (W1);
 * a start only ever follows the grant that it signed with this very word in it.
 */
const isByHand = ({ args: { switchOnByHand }, target }: Wanted): boolean =>
  switchOnByHand === target.id;

const isArmed = ({ nodeFacts }: GuardFacts): boolean =>
  nodeFacts?.links?.some((link) => link.wakeOnMagic === true) ?? false;

const wayBack: Guard = {
  id: 'wake-path',
  rule: 'W2',
  inputs: (facts) => [
    { name: 'wakeOnMagic', value: facts.nodeFacts?.links ? isArmed(facts) : null },
    { name: 'allows', value: facts.grant?.allows?.join(', ') ?? null },
  ],
  verdict(facts) {
    const { wanted } = facts;
    if (wanted.kind !== 'node.shutdown' || isByHand(wanted)) return null;
    return isArmed(facts) || mayAllow(facts, 'no-magic-packet')
      ? null
      : deny(
          'KR_WAKE_DISARMED',
          'no network link is known to answer a magic packet (Wake-on: g)',
          'run: ethtool -s <link> wol g; make it permanent and enable it in the BIOS; or configure ' +
            'its BMC as a waker; who will switch it on by hand says so in args.switchOnByHand',
        );
  },
};

/** Only what the hypervisor lists can be judged; an unlisted guest is its own refusal. */
const lock: Guard = {
  id: 'guest-lock',
  rule: 'V2',
  verdict({ wanted: { target }, guests }) {
    const found = guests?.find(({ id }) => target.kind === 'guest' && id === target.id);
    return found?.lock ? lockedSays(found.id, found.lock) : null;
  },
};

const isReal = ({ driver }: GuardFacts): boolean => driver?.simulated === false;

/** No real cluster may ask for less; a simulated one sets its own limits. */
const leastStableMs = 60_000;
const leastUptimeMs = 300_000;

/** Only corosync has a membership, and what it says of one is seconds old. */
const stable: Guard = {
  id: 'membership-stable',
  rule: 'Q5',
  inputs: ({ membersStableForMs }) => [
    { name: 'membersStableForMs', value: membersStableForMs, unit: 'ms' },
  ],
  verdict(facts) {
    const { wanted, driver, nodeFacts, membersStableForMs } = facts;
    const isAsked = takesNodeAway(wanted.kind) && isReal(facts) && nodeFacts?.quorum;
    if (!isAsked || !driver?.name.startsWith('proxmox')) return null;
    return (membersStableForMs ?? 0) >= leastStableMs
      ? null
      : deny(
          'KR_MEMBERSHIP_UNSTABLE',
          `this daemon has seen the membership stand for ${membersStableForMs ?? 0} ms`,
          `wait until it has watched it for ${leastStableMs} ms`,
        );
  },
};

const upLong: Guard = {
  id: 'uptime',
  rule: 'W4',
  inputs: ({ uptimeMs }) => [{ name: 'uptimeMs', value: uptimeMs, unit: 'ms' }],
  verdict(facts) {
    const { wanted, uptimeMs } = facts;
    if (!takesNodeAway(wanted.kind) || !isReal(facts)) return null;
    return (uptimeMs ?? 0) >= leastUptimeMs
      ? null
      : deny(
          'KR_UP_TOO_SHORT',
          `this host is up for ${uptimeMs ?? 'an unknown number of'} ms`,
          `wait until it has been up for ${leastUptimeMs} ms`,
        );
  },
};

export const nodeGuards: readonly Guard[] = [
  votes,
  stable,
  availability,
  roles,
  work,
  upLong,
  wayBack,
  lock,
];
