/** Lies about time, freshness, control and identity. */
import { anyNode, change, firstNode, type Lie, otherNode } from './lie.ts';

const minute = 60_000;

export const controlLies: readonly Lie[] = [
  ({ cluster }) => (cluster.hold = true),
  ({ cluster }) => (cluster.holdAll = true),
  ({ local }) => (local.hold = true),
  (question) => (firstNode(question).record.localHold = true),
  ({ cluster }, chance) => (cluster.frozenForMs = chance.pick([0, 1, minute])),
  ({ cluster }, chance) => (cluster.stormAgoMs = chance.pick([1, 5 * minute - 1, 5 * minute])),
  ({ cluster }) => (cluster.leader = false),
  ({ cluster }) => (cluster.insideWindow = false),
  ({ cluster }) => (cluster.house = null),
  ({ cluster, proposal }, chance) => {
    const guests = proposal.guest === null || chance.of(0.5) ? ['g1-0'] : [proposal.guest];
    cluster.house = { nodes: [chance.pick(['n1', 'n2'])], guests };
  },
  (question, chance) => {
    firstNode(question).keepAwakeForMs = chance.pick([0, 1, minute]);
  },
  (question, chance) => {
    const { usage } = anyNode(question, chance);
    if (usage) usage.cpuRatioP95 = chance.pick([0.19, 0.2, 0.21, 0.95]);
  },
  (question, chance) => (anyNode(question, chance).usage = null),
  ({ cluster }, chance) => (cluster.backendUpMs = chance.pick([0, 5 * minute - 1, 5 * minute])),
  ({ cluster }) => (cluster.simulated = true),
  ({ cluster }) => {
    cluster.simulated = true;
    cluster.wakeProof = 'assumed';
  },
  (question, chance) => {
    const offset = chance.pick([null, 2_000, 2_001, -2_001, -1_999]);
    change(firstNode(question), (facts) => (facts.clockOffsetMs = offset));
  },
  (question, chance) => {
    const { record } = firstNode(question);
    record.sampleAtMs = chance.pick([null, -30_000, -30_001, -200_000]);
  },
  (question) => (firstNode(question).record.online = false),
  (question, chance) => {
    for (const node of [otherNode(question, chance), otherNode(question, chance)]) {
      node.record.sampleAtMs = -chance.pick([30_001, 90_000]);
    }
  },
  ({ cluster }) => (cluster.snapshotComplete = false),
  (question, chance) => {
    const node = chance.of(0.5) ? firstNode(question) : otherNode(question, chance);
    node.factsAgeMs = chance.pick([null, 30 * minute, 30 * minute + 1, 60 * minute]);
  },
  (question) => (firstNode(question).journalConfirmed = false),
  (question) => (firstNode(question).record.driver = null),
  (question) => {
    const { driver } = firstNode(question).record;
    if (driver) driver.capabilities = ['guest.start', 'node.wake'];
  },
  (question, chance) => {
    const { driver } = anyNode(question, chance).record;
    if (driver) driver.simulated = true;
  },
  (question, chance) => (question.pausedForMs = chance.pick([0, 1, 3_600_000])),
  (question) => (question.proposal.node = 'nowhere'),
  (question) => (question.proposal.guest === null ? null : (question.proposal.guest = '404')),
  ({ local }, chance) => (local.ageMs = chance.pick([4_999, 5_000])),
  ({ local }) => (local.facts = null),
  ({ local }) => {
    if (local.facts) local.facts.runningGuests = 1;
  },
  ({ local }) => {
    if (local.facts?.quorum) local.facts.quorum.quorate = false;
  },
  ({ local }) => local.facts?.busy?.push({ what: 'vzdump', detail: null }),
  ({ local }) => {
    for (const guest of local.guests ?? []) guest.lock = 'backup';
    for (const guest of local.guestFacts ?? []) guest.lock = 'backup';
  },
  ({ local }, chance) => {
    for (const guest of local.guestFacts ?? []) {
      if (chance.of(0.5)) guest.hotplug = chance.pick([null, [], ['cpu'], ['memory']]);
      else guest.localResources = chance.pick([null, ['hostpci0'], ['virtiofs0']]);
    }
  },
  ({ local }, chance) => {
    for (const guest of local.guestFacts ?? []) {
      if (chance.of(0.5)) guest.mayRestart = chance.pick([null, false]);
      else guest.allowedNodes = [];
    }
  },
  ({ local }, chance) => {
    const used = chance.pick([null, 3 * 2 ** 30, 1.7 * 2 ** 30]);
    for (const guest of local.guests ?? []) guest.memoryUsedBytes = used;
  },
];
