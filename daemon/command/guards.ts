/**
 * The executor's own judgement, on fresh local facts, directly before the claim and again directly
 * before the start: one row per rule, asked in order, the first denial stands. Invariant: what is
 * missing, stale or contradictory denies. It never relies on the server having looked. Pure.
 */
import {
  type Action,
  commandArgs,
  type CommandKind,
  type GrantContent,
  type Offer,
} from '../../broker/contract/command.ts';
import type { Driver, GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import type { GuardFact } from '../../broker/contract/report.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { Refusal } from './command-state.ts';
import { guestGuards } from './guards-guest.ts';
import { nodeGuards } from './guards-node.ts';
import type { PolicyReading } from './local-policy.ts';

/** The common part of offer and grant. */
export type Wanted = Pick<Offer, 'commandId' | 'kind' | 'target' | 'args' | 'epoch'>;

export type GuardFacts = {
  /** The executor. */
  node: string;
  wanted: Wanted;
  /** null while it is only an offer: what only a grant says is not judged yet. */
  grant: GrantContent | null;
  driver: Driver | null;
  nodeFacts: NodeFacts | null;
  guests: readonly GuestFacts[] | null;
  runningGuests: number | null;
  /** Of them, those that may be shut down cleanly and started after the wake. */
  parkable?: readonly string[];
  /** Of this host, by its own kernel; asked for a power-off. */
  uptimeMs: number | null;
  /** For how long this daemon has watched the membership stand as it is. */
  membersStableForMs: number | null;
  /** The target as it is at this moment, of a command that moves or resizes it. */
  guestSample: GuestSample | null;
  maxEpoch: number;
  policy: PolicyReading;
  isHeldHere: boolean;
  isHeldByServer: boolean;
  isObserveOnly: boolean;
  /** Those of this daemon that can wake the target, and by the way that was asked for. */
  wakers: number;
  /** Another command works on the same target. */
  isTargetBusy: boolean;
  /** The corrupt journal that nobody has removed yet. */
  quarantined: string | null;
  hasReserve: boolean;
};

export type Denial = Refusal & Required<Pick<Refusal, 'guard'>>;
/** What a row says; its rule where one row keeps several. */
export type Says = Omit<Refusal, 'guard'> & { rule?: string };
export type Guard = {
  id: string;
  /** The rule it keeps by the words of docs/commands.md; `exec` where it is the executor's own. */
  rule: string;
  verdict: (facts: GuardFacts) => Says | null;
  /** What it judges by, told with its refusal. */
  inputs?: (facts: GuardFacts) => GuardFact[];
};

const powerOff: ReadonlySet<CommandKind> = new Set(['node.shutdown', 'node.reboot']);
export const isPowerOff = (kind: CommandKind): boolean => powerOff.has(kind);

/** These take nothing away; every other kind waits while the past of this node is unclear. */
const harmless: ReadonlySet<CommandKind> = new Set([
  'node.wake',
  'node.restore',
  'guest.start',
  'guest.snapshot',
]);

const deny = (code: string, reason: string, wayOut: string): Says => ({ code, reason, wayOut });

/** Strict: an argument the kind does not know, or out of its bounds, is an error. */
export function actionOf({ kind, args }: Pick<Wanted, 'kind' | 'args'>): Action | string {
  const parsed = commandArgs[kind].safeParse(args);
  if (parsed.success) return { kind, args: parsed.data } as Action;
  const issue = parsed.error.issues[0];
  return `${['args', ...(issue?.path ?? [])].join('.')}: ${issue?.message ?? 'invalid'}`;
}

const rows: Guard[] = [
  {
    id: 'local-hold',
    rule: 'K1',
    verdict: ({ isHeldHere }) =>
      isHeldHere
        ? deny('KR_HOLD', 'the HOLD file of this machine stands', 'remove /etc/kernreaktor/HOLD')
        : null,
  },
  {
    id: 'server-hold',
    rule: 'K1',
    verdict: ({ isHeldByServer }) =>
      isHeldByServer
        ? deny('KR_HOLD', 'the server holds this cluster', 'release HOLD in the panel or by API')
        : null,
  },
  {
    id: 'observe-only',
    rule: 'exec',
    verdict: ({ isObserveOnly }) =>
      isObserveOnly
        ? deny(
            'KR_OBSERVE_ONLY',
            'this daemon only observes',
            'start a daemon for this node without observe-only',
          )
        : null,
  },
  {
    id: 'args',
    rule: 'exec',
    verdict({ wanted }) {
      const action = actionOf(wanted);
      return typeof action === 'string'
        ? deny('KR_ARGS', action, 'submit the command with corrected args')
        : null;
    },
  },
  {
    id: 'target',
    rule: 'exec',
    verdict({ wanted: { kind, target }, node }) {
      const isGuest = kind.startsWith('guest.');
      if (isGuest !== (target.kind === 'guest')) {
        return deny('KR_TARGET', `${kind} cannot act on a ${target.kind}`, 'name the right target');
      }
      const isElsewhere = !isGuest && kind !== 'node.wake' && target.id !== node;
      return isElsewhere
        ? deny('KR_TARGET', `${kind} of ${target.id} came to ${node}`, 'name its own executor')
        : null;
    },
  },
  {
    id: 'local-policy',
    rule: 'exec',
    verdict({ policy, wanted }) {
      if (!policy.ok) return deny('KR_LOCAL_POLICY', policy.problem, 'correct the local policy');
      const { allow } = policy.policy;
      return allow && !allow.includes(wanted.kind)
        ? deny(
            'KR_LOCAL_POLICY',
            `the local policy does not allow ${wanted.kind}`,
            `add it under "allow" in the policy file of this machine`,
          )
        : null;
    },
  },
  {
    id: 'facts',
    rule: 'T1',
    verdict: ({ driver, nodeFacts }) =>
      driver && nodeFacts
        ? null
        : deny(
            'KR_FACTS',
            'the hypervisor did not describe this node in time',
            'see the log of the daemon; check that the hypervisor answers',
          ),
  },
  {
    id: 'simulated',
    rule: 'exec',
    verdict({ grant, driver }) {
      if (!grant || grant.simulated === driver?.simulated) return null;
      const [command, own] = grant.simulated ? ['simulated', 'real'] : ['real', 'simulated'];
      return deny(
        'KR_SIMULATED',
        `a ${command} command came to a ${own} driver`,
        'enrol this daemon in a cluster of its own kind',
      );
    },
  },
  {
    id: 'capability',
    rule: 'exec',
    verdict({ wanted: { kind, target }, driver, wakers }) {
      if (kind === 'node.wake') {
        return wakers > 0
          ? null
          : deny(
              'KR_NO_WAKER',
              `this daemon has no such waker for ${target.id}`,
              'configure one under "wakers" in its daemon.yaml, or ask another daemon',
            );
      }
      return driver?.capabilities.includes(kind)
        ? null
        : deny(
            'KR_NOT_CAPABLE',
            `driver ${driver?.name ?? 'unknown'} cannot ${kind} here`,
            'use a driver whose capability list has it',
          );
    },
  },
  {
    id: 'epoch',
    rule: 'L1',
    inputs: ({ wanted: { epoch }, maxEpoch }) => [
      { name: 'epoch', value: epoch },
      { name: 'maxEpoch', value: maxEpoch },
    ],
    verdict: ({ wanted: { epoch }, maxEpoch }) =>
      epoch < maxEpoch
        ? deny(
            'KR_EPOCH',
            `epoch ${epoch} is over, ${maxEpoch} has spoken`,
            'submit the command again to the server that leads now',
          )
        : null,
  },
  {
    id: 'journal',
    rule: 'exec',
    verdict: ({ quarantined, wanted: { kind } }) =>
      quarantined && !harmless.has(kind)
        ? deny(
            'KR_JOURNAL_QUARANTINED',
            'the journal was corrupt, so what ran before is unknown',
            `check the latest commands of this node, then remove ${quarantined}`,
          )
        : null,
  },
  {
    id: 'disk',
    rule: 'exec',
    verdict: ({ hasReserve }) =>
      hasReserve
        ? null
        : deny('KR_DISK_FULL', 'the journal has no reserve left', 'free 2 MiB on its disk'),
  },
  {
    id: 'target-busy',
    rule: 'exec',
    verdict: ({ isTargetBusy, wanted: { target } }) =>
      isTargetBusy
        ? deny(
            'KR_TARGET_BUSY',
            `another command works on ${target.kind} ${target.id}`,
            'wait until it has ended',
          )
        : null,
  },
  {
    id: 'protected',
    rule: 'C3',
    verdict({ wanted: { kind }, policy, nodeFacts }) {
      const isProtected = (policy.ok && policy.policy.protected) || nodeFacts?.protected === true;
      return isPowerOff(kind) && isProtected
        ? deny(
            'KR_PROTECTED',
            'this machine is protected: it is never switched off',
            'remove "protected" from the policy file of this machine',
          )
        : null;
    },
  },
  {
    id: 'running-guests',
    rule: 'V1',
    inputs: ({ runningGuests, parkable = [] }) => [
      { name: 'runningGuests', value: runningGuests },
      { name: 'parkable', value: parkable.join(', ') || null },
    ],
    verdict({ wanted: { kind }, runningGuests, parkable = [] }) {
      if (!isPowerOff(kind) || runningGuests === 0) return null;
      if (kind === 'node.shutdown' && runningGuests === parkable.length) return null;
      return runningGuests === null
        ? deny(
            'KR_GUESTS_RUNNING',
            'nobody can tell whether guests run here',
            'see the log of the daemon; check that the hypervisor lists its guests',
          )
        : deny(
            'KR_GUESTS_RUNNING',
            `${runningGuests} guests run on this node`,
            'migrate or stop them first; a guest tagged kr_park is shut down and started by us',
          );
    },
  },
];

export const guards: readonly Guard[] = [...rows, ...nodeGuards, ...guestGuards];

/** The first denial, or null: nothing speaks against it. */
export function judge(facts: GuardFacts): Denial | null {
  for (const { id, rule: usual, verdict, inputs } of guards) {
    const says = verdict(facts);
    if (!says) continue;
    const { rule = usual, ...refusal } = says;
    return { ...refusal, guard: { id, rule, facts: inputs?.(facts) ?? [] } };
  }
  return null;
}
