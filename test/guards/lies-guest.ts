/** Lies about guests: what binds them, where they are, and whether the destination can take them. */
import type { Case, CaseNode } from './case.ts';
import type { Chance } from './chance.ts';
import { change, changeGuest, firstNode, type Lie, otherNode } from './lie.ts';

const gibibyte = 2 ** 30;

const sample =
  (edit: (guest: NonNullable<CaseNode['record']['guests']>[number], chance: Chance) => void): Lie =>
  (question, chance) => {
    const guest = firstNode(question).record.guests?.find(
      ({ id }) => id === question.proposal.guest,
    );
    if (guest) edit(guest, chance);
  };

const destinationOf = ({ proposal, nodes }: Case): CaseNode | undefined => {
  const { action } = proposal;
  if (action.kind !== 'guest.migrate') return undefined;
  return nodes.find(({ record }) => record.node === action.args.targetNode);
};

const destination =
  (edit: (node: CaseNode, chance: Chance) => void): Lie =>
  (question, chance) => {
    const node = destinationOf(question);
    if (node) edit(node, chance);
  };

const traffic: Lie = (question, chance) => {
  const from = chance.of(0.5) ? firstNode(question) : otherNode(question, chance);
  const to = destinationOf(question) ?? otherNode(question, chance);
  question.commands.push({
    kind: 'guest.migrate',
    state: chance.pick(['RUNNING', 'GRANTED', 'INDETERMINATE', 'SUCCEEDED', 'QUEUED']),
    node: from.record.node,
    guest: '777',
    targetNode: to.record.node,
    startedAgoMs: 5_000,
    finishedAgoMs: null,
    automatic: true,
  });
};

const moved: Lie = (question, chance) => {
  const { guest } = question.proposal;
  const count = chance.whole(1, 2);
  for (let index = 0; index < count; index += 1) {
    const agoMs = chance.pick([60_000, 1_799_999, 1_800_000, 7_200_000, 86_399_000, 86_400_000]);
    question.commands.push({
      kind: 'guest.migrate',
      state: chance.pick(['SUCCEEDED', 'SUCCEEDED', 'FAILED']),
      node: chance.of(0.4) ? (destinationOf(question)?.record.node ?? 'n2') : 'elsewhere',
      guest,
      targetNode: firstNode(question).record.node,
      startedAgoMs: agoMs,
      finishedAgoMs: agoMs,
      automatic: chance.of(0.8),
    });
  }
};

const doubted: Lie = (question, chance) => {
  const { guest, node } = question.proposal;
  question.commands.push({
    kind:
      guest === null
        ? chance.pick(['node.shutdown', 'node.drain', 'node.wake'])
        : chance.pick(['guest.restart', 'guest.stop', 'guest.scale']),
    state: 'INDETERMINATE',
    node,
    guest,
    targetNode: null,
    startedAgoMs: 9_000_000,
    finishedAgoMs: null,
    automatic: false,
  });
};

/** A guest command on the node that is to go. */
const arriving: Lie = (question, chance) => {
  const isMove = chance.of(0.5);
  question.commands.push({
    kind: isMove ? 'guest.migrate' : 'guest.start',
    state: chance.pick(['GRANTED', 'RUNNING', 'OFFERED', 'INDETERMINATE']),
    node: isMove ? otherNode(question, chance).record.node : firstNode(question).record.node,
    guest: '778',
    targetNode: isMove ? firstNode(question).record.node : null,
    startedAgoMs: 2_000,
    finishedAgoMs: null,
    automatic: false,
  });
};

const twice: Lie = (question, chance) => {
  const other = otherNode(question, chance);
  const own = firstNode(question).record.guests?.find(({ id }) => id === question.proposal.guest);
  if (own && other !== firstNode(question)) {
    other.record.guests = [...(other.record.guests ?? []), { ...own }];
  }
};

export const guestLies: readonly Lie[] = [
  sample(
    (guest, chance) => (guest.lock = chance.pick(['backup', 'snapshot', 'migrate', 'create'])),
  ),
  (question) => changeGuest(question, (facts) => (facts.lock = 'backup')),
  (question, chance) =>
    changeGuest(question, (facts) => (facts.allowedNodes = chance.pick([null, [], ['n2']]))),
  (question, chance) =>
    changeGuest(question, (facts) => {
      facts.localResources = chance.pick([null, ['hostpci0'], ['virtiofs0'], ['cdrom']]);
    }),
  (question, chance) =>
    changeGuest(question, (facts) => {
      const [disk] = facts.disks ?? [];
      if (chance.of(0.3)) facts.disks = null;
      else if (disk) disk.shared = false;
    }),
  (question, chance) =>
    changeGuest(question, (facts) => {
      facts.cpuType = chance.pick([null, 'host', 'max', 'x86-64-v3', 'EPYC', 'kvm64']);
    }),
  (question, chance) =>
    changeGuest(question, (facts) => (facts.mayRestart = chance.pick([null, false]))),
  (question, chance) =>
    changeGuest(question, (facts) => {
      facts.hotplug = chance.pick([null, [], ['memory'], ['cpu'], ['network', 'disk']]);
    }),
  (question) => changeGuest(question, (facts) => (facts.ownedByHypervisorBalancer = true)),
  (question) => (firstNode(question).guestFacts = null),
  destination((node) => change(node, (facts) => (facts.cpuVendor = 'AuthenticAMD'))),
  destination((node, chance) =>
    change(node, (facts) => (facts.cpuModel = chance.pick(['N305', null]))),
  ),
  (question, chance) => {
    const microcode = chance.pick(['0x18', null]);
    const nodes = chance.of(0.5) ? question.nodes : [destinationOf(question)];
    for (const node of nodes) change(node, (facts) => (facts.microcode = microcode));
  },
  destination((node, chance) =>
    change(node, (facts) => {
      facts.hypervisorVersion = chance.pick(['9.1.1', '8.4.14', '9.10.0', '9.2', null]);
    }),
  ),
  destination((node, chance) => (node.record.sampleAtMs = chance.pick([null, -30_001, -30_000]))),
  destination((node) => (node.record.online = false)),
  destination((node, chance) => {
    const { values } = node.record;
    const used = chance.pick([53.6, 53.7, 60]) * gibibyte;
    if (values) values.memoryUsedBytes = used;
    if (node.usage) node.usage.memoryP95Bytes = Math.max(node.usage.memoryP95Bytes, used);
  }),
  destination((node) => {
    if (node.record.values) node.record.values.memoryTotalBytes = null;
  }),
  sample((guest) => (guest.memoryTotalBytes = null)),
  sample((guest, chance) => (guest.memoryUsedBytes = chance.pick([null, 3, 3.5]))),
  sample((guest, chance) => {
    guest.memoryUsedBytes = chance.pick([null, 3 * gibibyte, 1.7 * gibibyte]);
  }),
  sample((guest, chance) => (guest.cpuCount = chance.pick([null, 8]))),
  sample((guest, chance) => (guest.state = chance.pick(['stopped', 'paused', 'unknown']))),
  traffic,
  traffic,
  moved,
  moved,
  doubted,
  arriving,
  twice,
  (question) => {
    question.guestPolicy = {
      cpuMin: 1,
      cpuMax: 4,
      memoryMinBytes: 2 ** 31,
      memoryMaxBytes: 2 ** 33,
    };
  },
  (question, chance) => (question.guestMemoryP99Bytes = chance.pick([null, 3 * gibibyte])),
  (question, chance) => {
    const nodes = question.nodes.slice(1);
    for (const { record } of nodes) {
      for (const guest of record.guests ?? []) guest.memoryTotalBytes = chance.pick([null, 60]);
    }
  },
];
