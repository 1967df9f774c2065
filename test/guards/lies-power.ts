/** Lies about what a node carries, does, and how it would come back. */
import type { Case } from './case.ts';
import type { Chance } from './chance.ts';
import { addGuest } from './healthy.ts';
import { anyNode, change, firstNode, type Lie, otherNode } from './lie.ts';

const day = 86_400_000;

const proofs =
  (edit: (own: Case['proofs'], chance: Chance, question: Case) => void): Lie =>
  (question, chance) => {
    const id = firstNode(question).record.node;
    const own = question.proofs.filter(({ node }) => node === id);
    edit(own, chance, question);
  };

const cycles: Lie = (question, chance) => {
  const count = chance.whole(3, 4);
  for (let index = 0; index < count; index += 1) {
    question.commands.push({
      kind: 'node.shutdown',
      state: 'SUCCEEDED',
      node: firstNode(question).record.node,
      guest: null,
      targetNode: null,
      startedAgoMs: (index + 2) * 3_600_000 + 60_000,
      finishedAgoMs: (index + 2) * 3_600_000,
      automatic: true,
    });
  }
};

const carries =
  (state: 'running' | 'paused' | 'suspended' | 'unknown', tag: string | null): Lie =>
  (question) => {
    const node = firstNode(question);
    addGuest(node, '900', 'vm', 'running');
    const sample = node.record.guests?.find(({ id }) => id === '900');
    if (!sample) return;
    sample.state = state;
    if (tag) sample.tags.push(tag);
  };

/** Two supplies: the armed card in one network, the wakers in another. */
const rewired: Lie = (question) => {
  change(firstNode(question), ({ links }) => {
    const [armed] = links ?? [];
    if (!armed || !links) return;
    links.push({ ...armed, name: 'eno2', mac: '02:00:00:00:01:01', wakeOnMagic: false });
    armed.broadcast = '10.9.9.255';
  });
};

const sharedSupply: Lie = (question, chance) => {
  const name = chance.pick(['powerGroup', 'rack'] as const);
  const other = otherNode(question, chance);
  for (const node of [firstNode(question), other]) change(node, (facts) => (facts[name] = 'a'));
  if (other === firstNode(question)) return;
  question.commands.push({
    kind: 'node.reboot',
    state: chance.pick(['RUNNING', 'INDETERMINATE', 'SUCCEEDED']),
    node: other.record.node,
    guest: null,
    targetNode: null,
    startedAgoMs: 7_200_000,
    finishedAgoMs: 7_100_000,
    automatic: true,
  });
};

export const powerLies: readonly Lie[] = [
  proofs((own, _, question) => {
    question.proofs = question.proofs.filter((proof) => proof !== own[0]);
  }),
  proofs((own, chance) => own.forEach((proof) => (proof.agoMs += chance.pick([28, 29, 30]) * day))),
  proofs((own, chance) => {
    const proof = chance.pick(own);
    proof.succeeded = false;
  }),
  proofs((own, chance) => (chance.pick(own).bootMs = chance.pick([600_000, 600_001, null]))),
  proofs((own, chance) => (chance.pick(own).binding.kernel = '6.5.0')),
  proofs((own, chance) =>
    own.forEach((proof) => (proof.binding.waker = chance.pick(['wol', 'ipmi']))),
  ),
  (question) => change(firstNode(question), (facts) => (facts.kernel = '6.11.0')),
  (question) => change(firstNode(question), (facts) => (facts.kernel = null)),
  (question) => change(firstNode(question), (facts) => (facts.biosVersion = '5.28')),
  (question) =>
    change(firstNode(question), ({ links }) => {
      for (const link of links ?? []) link.driver = 'r8169';
    }),
  (question) =>
    change(firstNode(question), ({ links }) => {
      for (const link of links ?? []) link.mac = '02:00:00:00:00:ff';
    }),
  (question, chance) =>
    change(firstNode(question), ({ links }) => {
      for (const link of links ?? []) link.wakeOnMagic = chance.pick([false, null]);
    }),
  (question) => change(firstNode(question), (facts) => (facts.links = null)),
  rewired,
  (question) => {
    for (const node of question.nodes.slice(2)) {
      change(node, ({ links }) => links?.forEach((link) => (link.broadcast = '10.0.0.255')));
    }
  },
  (question, chance) => {
    const { driver } = otherNode(question, chance).record;
    if (driver) driver.capabilities = ['guest.start'];
  },
  (question, chance) => (anyNode(question, chance).quarantinedForMs = chance.pick([0, 1, day])),
  // Told of the house before something in it changed, or never.
  (question, chance) => (otherNode(question, chance).holdsWakeTable = false),
  (question) => {
    for (const node of question.nodes.slice(2)) node.holdsWakeTable = false;
  },
  cycles,
  carries('running', null),
  carries('running', 'kr_park'),
  carries('paused', null),
  carries('suspended', null),
  carries('unknown', null),
  (question, chance) =>
    change(firstNode(question), (facts) => (facts.runningGuests = chance.pick([null, 1]))),
  (question) => (firstNode(question).record.guests = null),
  (question, chance) => {
    const [guest] = anyNode(question, chance).record.guests ?? [];
    if (guest) guest.lock = chance.pick(['backup', 'migrate', 'suspended', 'snapshot-delete']);
  },
  (question, chance) => {
    const what = chance.pick(['vzdump', 'zfs-scrub', 'dpkg', 'ssh-session', 'replication']);
    change(firstNode(question), ({ busy }) => busy?.push({ what, detail: null }));
  },
  (question) => change(firstNode(question), (facts) => (facts.busy = null)),
  (question, chance) =>
    change(firstNode(question), (facts) => (facts.upsOnBattery = chance.pick([true, null]))),
  (question, chance) => {
    const role = chance.pick([
      'ceph-osd',
      'ceph-mon',
      'nfs',
      'replication-target',
      'gateway',
      'new',
    ]);
    change(anyNode(question, chance), ({ roles }) => roles?.push(role));
  },
  (question) => change(firstNode(question), (facts) => (facts.roles = null)),
  (question) => change(firstNode(question), (facts) => (facts.protected = true)),
  (question) => (firstNode(question).record.protected = true),
  sharedSupply,
];
