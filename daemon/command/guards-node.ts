/**
 * The rows about this very machine, from what its own hypervisor says at this moment: votes, HA,
 * roles, work under way, the way back by Wake-on-LAN, and the lock of a guest. They
 * repeat what the server judged, by other code and from fresher facts. What a spare vote may cost
 * is the server's to know; here only quorum itself is kept. Pure.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { Refusal } from './command-state.ts';
import type { Guard, Wanted } from './guards.ts';

const deny = (code: string, reason: string, wayOut: string): Refusal => ({ code, reason, wayOut });

const takesNodeAway = (kind: CommandKind): boolean =>
  kind === 'node.shutdown' || kind === 'node.reboot';

/** A row that only a power-off asks; without facts the row `facts` has denied already. */
const ofPowerOff = (
  id: string,
  judge: (facts: NodeFacts, node: string) => Refusal | null,
): Guard => ({
  id,
  verdict: ({ wanted: { kind }, nodeFacts, node }) =>
    takesNodeAway(kind) && nodeFacts ? judge(nodeFacts, node) : null,
});

const isClustered = ({ quorum, ha }: NodeFacts): boolean => quorum !== null || ha?.managed === true;

const qdeviceFreshMs = 30_000;

const votes = ofPowerOff('votes', (facts, node) => {
  if (!isClustered(facts)) return null;
  const { quorum } = facts;
  if (!quorum) {
    return deny('KR_QUORUM_UNKNOWN', 'the votes of the cluster are unknown', 'see `pvecm status`');
  }
  const { members, qdevice, expectedVotes, quorumVotes, quorate } = quorum;
  if (members.length <= 2 && qdevice === null) {
    return deny(
      'KR_TWO_NODES',
      'a cluster of two nodes without a QDevice loses quorum with either of them',
      'set up a QDevice on a third machine: pvecm qdevice setup <its address>',
    );
  }
  const isVoting =
    qdevice !== null &&
    qdevice.alive &&
    qdevice.voting &&
    qdevice.seenAgeMs !== null &&
    qdevice.seenAgeMs <= qdeviceFreshMs;
  let left = isVoting ? qdevice.votes : 0;
  let configured = qdevice?.votes ?? 0;
  for (const member of members) {
    configured += member.votes;
    if (member.online && member.node !== node) left += member.votes;
  }
  const needed = Math.max(quorumVotes, Math.floor(Math.max(expectedVotes, configured) / 2) + 1);
  return quorate && left >= needed
    ? null
    : deny(
        'KR_QUORUM',
        `${left} votes would be left, ${needed} are needed`,
        'wake another node of the cluster first',
      );
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

const availability = ofPowerOff('ha', (facts, node) => {
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
      return deny('KR_HA_SERVICES', `HA service ${sid} is on this node`, 'migrate it first');
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
});

const roles = ofPowerOff('roles', ({ roles: known }) => {
  if (known === null) {
    return deny(
      'KR_ROLES_UNKNOWN',
      'what this node does for others is unknown',
      'use a driver that reports the roles of its node',
    );
  }
  return known.length === 0
    ? null
    : deny('KR_PROTECTED', `this node is ${known.join(', ')}`, 'move that role elsewhere first');
});

const work = ofPowerOff('busy', ({ busy, upsOnBattery }) => {
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
  return upsOnBattery === true
    ? deny('KR_ON_BATTERY', 'the UPS runs on battery', 'wait for mains power')
    : null;
});

/**
 * A person who will switch the node on by hand names it. Whose word that is the server judges (W1);
 * a start only ever follows the grant that it signed with this very word in it.
 */
const isByHand = ({ args: { switchOnByHand }, target }: Wanted): boolean =>
  switchOnByHand === target.id;

const wayBack: Guard = {
  id: 'wake-path',
  verdict({ wanted, nodeFacts }) {
    if (wanted.kind !== 'node.shutdown' || isByHand(wanted)) return null;
    return nodeFacts?.links?.some((link) => link.wakeOnMagic === true)
      ? null
      : deny(
          'KR_WAKE_DISARMED',
          'no network link is known to answer a magic packet (Wake-on: g)',
          'run: ethtool -s <link> wol g; make it permanent and enable it in the BIOS; who will ' +
            'switch it on by hand says so in args.switchOnByHand',
        );
  },
};

/** Only what the hypervisor lists can be judged; an unlisted guest is its own refusal. */
const lock: Guard = {
  id: 'guest-lock',
  verdict({ wanted: { target }, guests }) {
    const held = guests?.find(({ id }) => target.kind === 'guest' && id === target.id)?.lock;
    return held
      ? deny(
          'KR_LOCKED',
          `guest ${target.id} is locked: ${held}`,
          'wait until that has ended; unlock it by hand only when you are sure',
        )
      : null;
  },
};

export const nodeGuards: readonly Guard[] = [votes, availability, roles, work, wayBack, lock];
