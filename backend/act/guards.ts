/**
 * The server's guards: one row per rule of SAFETY 2, judged when a command is planned and again
 * when it is granted, from facts gathered for that moment. Missing, stale or contradictory input
 * denies. Every verdict with its inputs is stored in `commands.guards`. Pure.
 *
 * A row never repairs and never chooses; it passes or denies with the way out.
 */
import type { Fact } from '../decide/plan.ts';
import {
  type Evaluation,
  type Guard,
  type GuardFacts,
  isFresh,
  judged,
  type Phase,
} from './guard.ts';
import { clusterGuards } from './guards-cluster.ts';
import { guestGuards } from './guards-guest.ts';
import { houseGuards, timeGuards } from './guards-house.ts';
import { leaving } from './guards-leaving.ts';
import { memoryGuards } from './guards-memory.ts';
import { powerGuards, protectedNode } from './guards-power.ts';
import { quorumGuards } from './guards-quorum.ts';
import { scaleGuards } from './guards-scale.ts';
import { storageGuards } from './guards-storage.ts';
import { sleepGuards, wakeable } from './guards-wake.ts';
import { isDestructive } from './lifecycle.ts';

const always = (): boolean => true;

const hold: Guard = {
  id: 'hold',
  appliesTo: always,
  verdict: ({ cluster }) =>
    judged(
      'K1',
      [{ name: 'hold', value: cluster.hold }],
      cluster.hold
        ? {
            code: 'KR_HOLD',
            reason: `cluster ${cluster.id} is on hold`,
            wayOut: 'an administrator releases HOLD, then the command is sent again',
          }
        : null,
    ),
};

/** It would refuse by itself, whatever we say; who asks hears it at once. */
const localHold: Guard = {
  id: 'local-hold',
  appliesTo: always,
  verdict({ executor, targetNode }) {
    const held = [executor, targetNode].find((node) => node?.localHold === true);
    return judged(
      'K1',
      [{ name: 'heldHost', value: held?.id ?? null }],
      held
        ? {
            code: 'KR_LOCAL_HOLD',
            reason: `node ${held.id} itself stops every command`,
            wayOut: `remove /etc/kernreaktor/HOLD on ${held.id}; where there is none, see the log of its daemon about policy and journal`,
          }
        : null,
    );
  },
};

const epoch: Guard = {
  id: 'epoch',
  appliesTo: always,
  verdict: ({ epoch: ours, executorMaxEpoch }) =>
    judged(
      'L1',
      [
        { name: 'epoch', value: ours },
        { name: 'executorMaxEpoch', value: executorMaxEpoch },
      ],
      executorMaxEpoch > ours
        ? {
            code: 'KR_EPOCH_BEHIND',
            reason: `the executor has obeyed epoch ${executorMaxEpoch}, this server is at ${ours}`,
            wayOut: 'the SQL store was restored or copied: raise the epoch of its leases by 1000',
          }
        : null,
    ),
};

const executorOnline: Guard = {
  id: 'executor-online',
  appliesTo: always,
  verdict({ executor, kind }) {
    const facts: Fact[] = [
      { name: 'executor', value: executor?.id ?? null },
      { name: 'executorOnline', value: executor?.online ?? null },
    ];
    if (executor?.online) return judged('exec', facts, null);
    return judged(
      'exec',
      facts,
      kind === 'node.wake'
        ? {
            code: 'KR_NO_WAKER',
            reason: 'no awake node of the cluster can send the wake',
            wayOut: "bring a node with capability node.wake online in the target's network",
          }
        : {
            code: 'KR_EXECUTOR_OFFLINE',
            reason: `the daemon of node ${executor?.id ?? 'unknown'} is not connected`,
            wayOut: 'start the daemon of that node, then send the command again',
          },
    );
  },
};

const capability: Guard = {
  id: 'capability',
  appliesTo: always,
  verdict({ executor, kind }) {
    const driver = executor?.driver ?? null;
    const has = driver?.capabilities.includes(kind) ?? false;
    return judged(
      'cap',
      [
        { name: 'driver', value: driver?.name ?? null },
        { name: 'hasCapability', value: has },
      ],
      has
        ? null
        : {
            code: kind === 'node.wake' ? 'KR_NO_WAKER' : 'KR_CAPABILITY',
            reason: `driver ${driver?.name ?? 'unknown'} of node ${executor?.id ?? 'unknown'} does not perform ${kind}`,
            wayOut: "choose a kind of the node's capability list",
          },
    );
  },
};

const simulated: Guard = {
  id: 'simulated',
  appliesTo: always,
  verdict({ cluster, executor }) {
    const driver = executor?.driver ?? null;
    return judged(
      'sim',
      [
        { name: 'clusterSimulated', value: cluster.simulated },
        { name: 'driverSimulated', value: driver?.simulated ?? null },
      ],
      driver?.simulated === cluster.simulated
        ? null
        : {
            code: 'KR_SIMULATED',
            reason: cluster.simulated
              ? 'the cluster is simulated and the executor is not known to be'
              : 'the cluster is real and the executor is not known to be',
            wayOut: 'enrol real nodes in real clusters and simulated ones in simulated clusters',
          },
    );
  },
};

const journal: Guard = {
  id: 'journal',
  appliesTo: isDestructive,
  verdict: ({ executor }) =>
    judged(
      'exec',
      [{ name: 'journalConfirmed', value: executor?.journalConfirmed ?? null }],
      executor?.journalConfirmed
        ? null
        : {
            code: 'KR_NEW_JOURNAL',
            reason: `node ${executor?.id ?? 'unknown'} came back with a new journal while commands were open`,
            wayOut: 'an administrator checks those commands and confirms the journal',
          },
    ),
};

const unresolved: Guard = {
  id: 'unresolved',
  // A wake is never barred: waking is the cheap direction, and it closes an uncertain power-off.
  appliesTo: (kind) => kind !== 'node.wake',
  verdict: ({ unresolved: other }) =>
    judged(
      'I7',
      [{ name: 'unresolvedCommand', value: other?.id ?? null }],
      other && {
        code: 'KR_TARGET_UNRESOLVED',
        reason: `${other.kind} ${other.id} on this target may or may not have happened`,
        wayOut: 'look at the target, then resolve that command as succeeded or failed',
      },
    ),
};

const whereabouts: Guard = {
  id: 'whereabouts',
  appliesTo: (kind) => kind.startsWith('guest.') && kind !== 'guest.create',
  verdict: ({ guestNode, executor, target }) =>
    judged(
      'exec',
      [
        { name: 'guestNode', value: guestNode },
        { name: 'executor', value: executor?.id ?? null },
      ],
      guestNode !== null && guestNode === executor?.id
        ? null
        : {
            code: guestNode === null ? 'KR_UNKNOWN_GUEST' : 'KR_GUEST_ELSEWHERE',
            reason:
              guestNode === null
                ? `guest ${target.id} is not known to run anywhere`
                : `guest ${target.id} is on node ${guestNode} now`,
            wayOut: 'send the command to the node the guest is on',
          },
    ),
};

/** What depends on whether the guest runs, and where, is not done while that is contradicted. */
const certain: Guard = {
  id: 'certain-guest',
  appliesTo: (kind) => kind.startsWith('guest.') && kind !== 'guest.create',
  verdict({ guest, kind, target }) {
    const state = guest?.sample.state ?? null;
    const alsoOn = guest?.alsoOn ?? [];
    const inputs: Fact[] = [
      { name: 'guestState', value: state },
      { name: 'alsoOn', value: alsoOn.join(', ') || null },
    ];
    if (alsoOn.length > 0) {
      return judged('T1', inputs, {
        code: 'KR_GUEST_TWICE',
        reason: `guest ${target.id} runs on node ${alsoOn.join(', ')} too, as that one says`,
        wayOut: 'find out where it really runs; two of one guest destroy its disks',
      });
    }
    const isByState = kind === 'guest.migrate' || kind === 'guest.scale';
    return judged(
      'T1',
      inputs,
      isByState && (state === null || state === 'unknown')
        ? {
            code: 'KR_GUEST_STATE',
            reason: `it is not known whether guest ${target.id} runs`,
            wayOut: 'wait for a sample that says so; see the log of the daemon',
          }
        : null,
    );
  },
};

const destination: Guard = {
  id: 'destination',
  appliesTo: (kind) => kind === 'guest.migrate',
  verdict({ destination: to, executor, cluster }) {
    const facts: Fact[] = [
      { name: 'targetNode', value: to?.id ?? null },
      { name: 'targetNodeOnline', value: to?.node?.online ?? null },
      { name: 'targetSampleAgeMs', value: to?.node?.sampleAgeMs ?? null, unit: 'ms' },
      { name: 'targetNodeSimulated', value: to?.node?.driver?.simulated ?? null },
    ];
    if (to && to.id === executor?.id) {
      return judged('V3', facts, {
        code: 'KR_SELF_MIGRATION',
        reason: `the guest is on node ${to.id} already`,
        wayOut: 'name another target node',
      });
    }
    if (!to?.node || !isFresh(to.node) || to.node.driver?.simulated !== cluster.simulated) {
      return judged('V3', facts, {
        code: 'KR_TARGET_NODE',
        reason: `target node ${to?.id ?? 'unknown'} is not a node of this cluster that is heard`,
        wayOut: 'name an awake node of the same cluster',
      });
    }
    return judged('V3', facts, null);
  },
};

/** In the order people should hear of them: the first denial is the command's reason. */
export const guards: readonly Guard[] = [
  hold,
  wakeable,
  // Before what the executor can do: the own host's daemon can do nothing, and this is why.
  protectedNode,
  ...houseGuards,
  executorOnline,
  capability,
  simulated,
  localHold,
  epoch,
  journal,
  whereabouts,
  certain,
  unresolved,
  leaving,
  ...timeGuards,
  ...clusterGuards,
  ...storageGuards,
  ...powerGuards,
  ...quorumGuards,
  ...sleepGuards,
  destination,
  ...guestGuards,
  ...scaleGuards,
  ...memoryGuards,
];

/** Every applicable row's verdict; all are asked, so that all reasons can be shown at once. */
export const evaluate = (phase: Phase, atMs: number, facts: GuardFacts): Evaluation => ({
  phase,
  atMs,
  verdicts: guards
    .filter((guard) => guard.appliesTo(facts.kind))
    .map((guard) => ({ id: guard.id, ...guard.verdict(facts) })),
});
