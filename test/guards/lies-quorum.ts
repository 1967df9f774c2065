/** Lies about votes, membership, the quorum device, HA and nodes on their way. */
import type { Case, CaseNode } from './case.ts';
import type { Chance } from './chance.ts';
import { anyNode, change, firstNode, type Lie, otherNode } from './lie.ts';

const underWay = ['GRANTED', 'RUNNING', 'VERIFYING', 'CANCELLING', 'INDETERMINATE'] as const;
const waiting = ['PLANNED', 'QUEUED', 'OFFERED'] as const;

function leaveMembership({ nodes }: Case, gone: CaseNode): void {
  for (const { record } of nodes) {
    if (record === gone.record) continue;
    record.membersOnline = record.membersOnline?.filter((id) => id !== gone.record.node) ?? null;
    for (const member of record.facts?.quorum?.members ?? []) {
      if (member.node === gone.record.node) member.online = false;
    }
  }
}

function silence(node: CaseNode, chance: Chance): void {
  const { record } = node;
  record.sampleAtMs = -chance.pick([30_000, 30_001, 45_000, 600_000]);
  if (chance.of(0.5)) {
    record.online = false;
    record.offlineSinceMs = -chance.pick([1_000, 59_999, 60_000, 3_600_000]);
  }
}

const asleep: Lie = (question, chance) => {
  const node = otherNode(question, chance);
  if (node === firstNode(question)) return;
  node.record.desired = 'asleep';
  node.record.online = false;
  node.record.sampleAtMs = -3_600_000;
  node.record.offlineSinceMs = -3_600_000;
  leaveMembership(question, node);
};

const crashed: Lie = (question, chance) => {
  const node = otherNode(question, chance);
  if (node === firstNode(question)) return;
  silence(node, chance);
  if (chance.of(0.6)) leaveMembership(question, node);
};

const onTheWay =
  (
    states: typeof underWay | typeof waiting,
    kinds: readonly ('node.shutdown' | 'node.reboot' | 'node.wake')[],
  ): Lie =>
  (question, chance) => {
    const node = otherNode(question, chance);
    question.commands.push({
      kind: chance.pick(kinds),
      state: chance.pick<(typeof states)[number]>(states),
      node: node.record.node,
      guest: null,
      targetNode: null,
      startedAgoMs: chance.pick([20_000, 3 * 3_600_000]),
      finishedAgoMs: null,
      automatic: true,
    });
  };

const changedPower: Lie = (question, chance) => {
  const finishedAgoMs = chance.pick([0, 59_999, 60_000, 700_000]);
  const kind = chance.pick(['node.shutdown', 'node.wake', 'node.reboot'] as const);
  const node = otherNode(question, chance).record.node;
  question.commands.push({
    kind,
    state: 'SUCCEEDED',
    node,
    guest: null,
    targetNode: null,
    startedAgoMs: finishedAgoMs + 30_000,
    finishedAgoMs,
    automatic: chance.of(0.5),
  });
};

const restarted: Lie = (question, chance) => {
  const { values } = anyNode(question, chance).record;
  const uptimeMs = chance.pick([1_000, 59_999, 60_000, 1_799_999, 1_800_000]);
  if (values) values.uptimeMs = uptimeMs;
};

const isolated: Lie = (question, chance) => {
  const { record } = otherNode(question, chance);
  if (record.membersOnline === null) return;
  const missing = anyNode(question, chance).record.node;
  record.membersOnline = record.membersOnline.filter((id) => id !== missing);
  for (const member of record.facts?.quorum?.members ?? []) {
    if (member.node === missing) member.online = false;
  }
};

const device =
  (edit: (view: NonNullable<NonNullable<Quorum>['qdevice']>, chance: Chance) => void): Lie =>
  (question, chance) => {
    for (const node of chance.of(0.5) ? question.nodes : [anyNode(question, chance)]) {
      const view = node.record.facts?.quorum?.qdevice;
      if (view) edit(view, chance);
    }
  };
type Quorum = NonNullable<CaseNode['record']['facts']>['quorum'];

const ha =
  (
    edit: (
      view: NonNullable<NonNullable<CaseNode['record']['facts']>['ha']>,
      chance: Chance,
    ) => void,
  ): Lie =>
  (question, chance) => {
    const nodes = chance.of(0.6) ? [firstNode(question)] : question.nodes;
    for (const node of nodes) {
      const view = node.record.facts?.ha;
      if (view) edit(view, chance);
    }
  };

/** A cluster in which HA is at work, at rest on the target. */
const managed = ha((view) => {
  view.managed = true;
});

export const quorumLies: readonly Lie[] = [
  asleep,
  asleep,
  crashed,
  crashed,
  onTheWay(underWay, ['node.shutdown', 'node.reboot']),
  onTheWay(underWay, ['node.wake']),
  onTheWay(waiting, ['node.shutdown', 'node.reboot', 'node.wake']),
  changedPower,
  restarted,
  isolated,
  (question, chance) =>
    change(anyNode(question, chance), ({ quorum }) => {
      if (quorum) quorum.expectedVotes += chance.pick([-1, 1, 2]);
    }),
  (question, chance) =>
    change(otherNode(question, chance), ({ quorum }) => {
      const member = quorum && chance.pick(quorum.members);
      if (member) member.votes = chance.whole(0, 3);
    }),
  (question, chance) =>
    change(anyNode(question, chance), ({ quorum }) => {
      if (quorum) quorum.quorumVotes = chance.whole(1, quorum.expectedVotes);
    }),
  (question, chance) =>
    change(anyNode(question, chance), ({ quorum }) => {
      if (quorum) quorum.quorate = false;
    }),
  (question, chance) => change(anyNode(question, chance), (facts) => (facts.quorum = null)),
  (question, chance) => (anyNode(question, chance).record.membersOnline = null),
  (question, chance) => (anyNode(question, chance).record.facts = null),
  (question) => (question.cluster.spareVotes = 0),
  device((view) => (view.alive = false)),
  device((view) => (view.voting = false)),
  ({ cluster }, chance) => (cluster.votesStableMs = chance.pick([null, 59_999, 60_000])),
  device((view, chance) => (view.seenAgeMs = chance.pick([null, 30_000, 30_001]))),
  device((view, chance) => (view.seenAgeMs = chance.pick([30_001, 45_000, 600_000]))),
  device((view, chance) => (view.votes = chance.whole(0, 3))),
  (question, chance) =>
    change(anyNode(question, chance), ({ quorum }) => {
      if (quorum) quorum.qdevice = null;
    }),
  ha((view, chance) => (view.lrmState = chance.pick(['active', null, 'maintenance mode']))),
  managed,
  (question, chance) => {
    managed(question, chance);
    ha((view) => (view.watchdogOpen = chance.pick([true, null, false])))(question, chance);
  },
  ha((view, chance) => (view.watchdogOpen = chance.pick([true, null]))),
  (question, chance) => {
    managed(question, chance);
    ha((view) => (view.shutdownPolicy = chance.pick([null, 'whatever', 'freeze', 'migrate'])))(
      question,
      chance,
    );
  },
  (question, chance) => {
    managed(question, chance);
    ha((view) => (view.mode = chance.pick(['disarming', 'disarmed', 'maintenance'])))(
      question,
      chance,
    );
  },
  (question, chance) => {
    if (chance.of(0.7)) managed(question, chance);
    const state = chance.pick(['started', 'fence', 'recovery', 'migrate', 'error', 'stopped']);
    const node = anyNode(question, chance).record.node;
    ha((view) => view.services.push({ sid: 'vm:100', state, node }))(question, chance);
  },
  (question, chance) => change(anyNode(question, chance), (facts) => (facts.ha = null)),
];
