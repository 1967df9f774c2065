/** The second opinion itself: it must allow what is in order, and deny by the rule that is hurt. */
import { describe, expect, it } from 'vitest';
import type { Case } from './case.ts';
import { productSays } from './production.ts';
import { addGuest, healthyCase, localOf } from './healthy.ts';
import { opinions, secondRules } from './second.ts';

const five = { nodes: 5, votes: () => 1, deviceVotes: 0, standalone: false };
const rulesAgainst = (question: Case): string[] => opinions(question).map(({ rule }) => rule);

function hurt(change: (question: Case) => void, shape = five): string[] {
  const question = healthyCase(shape);
  change(question);
  return rulesAgainst(question);
}

function nodeAt(question: Case, index = 0) {
  const node = question.nodes[index];
  if (!node) throw new Error('the case has nodes');
  return node;
}

const facts = (question: Case, index = 0) => {
  const known = question.nodes[index]?.record.facts;
  if (!known) throw new Error('the case has facts');
  return known;
};

describe('the second opinion should', () => {
  it('allow to switch off an idle, proven node of five, and a standalone host', () => {
    expect(opinions(healthyCase(five))).toEqual([]);
    expect(opinions(healthyCase({ ...five, nodes: 3, standalone: true }))).toEqual([]);
  });

  it('allow a live migration between equal hosts', () => {
    const question = healthyCase(five);
    const [from] = question.nodes;
    if (!from) throw new Error('the case has nodes');
    addGuest(from, '100', 'vm', 'running');
    question.local = localOf(from);
    question.proposal.guest = '100';
    question.proposal.action = {
      kind: 'guest.migrate',
      args: { targetNode: 'n2', online: true, withLocalDisks: false, bandwidthBytesPerSecond: 1e8 },
    };
    expect(opinions(question)).toEqual([]);
  });

  it.each<[string, (question: Case) => void]>([
    ['K1', ({ cluster }) => (cluster.hold = true)],
    ['L1', ({ cluster }) => (cluster.leader = false)],
    ['T1 storm', ({ cluster }) => (cluster.stormAgoMs = 60_000)],
    ['T2', (question) => (facts(question).clockOffsetMs = -2_001)],
    ['T3', ({ cluster }) => (cluster.backendUpMs = 299_999)],
    ['A1', ({ cluster }) => (cluster.insideWindow = false)],
    ['Q5', ({ cluster }) => (cluster.votesStableMs = 59_999)],
    ['Q6', (question) => (facts(question).ha = null)],
    ['V1', (question) => addGuest(nodeAt(question), '100', 'vm', 'running')],
    ['V2', (question) => facts(question).busy?.push({ what: 'zfs-scrub', detail: null })],
    ['C1', (question) => facts(question).roles?.push('ceph-osd')],
    ['C3', ({ cluster }) => (cluster.house = { nodes: ['n1'], guests: [] })],
    ['W1', (question) => question.proofs.shift()],
    ['W2', ({ cluster }) => (cluster.wakersMin = 5)],
    ['W3', ({ nodes }) => nodes.forEach((node) => (node.quarantinedForMs = 1))],
    ['W4', ({ nodes }) => nodes.forEach((node) => (node.usage = null))],
    [
      'W5',
      ({ commands }) =>
        commands.push({
          kind: 'node.reboot',
          state: 'RUNNING',
          node: 'n9',
          guest: null,
          targetNode: null,
          startedAgoMs: 9e6,
          finishedAgoMs: null,
          automatic: true,
        }),
    ],
    ['local', ({ local }) => (local.ageMs = 5_000)],
  ])('deny by %s alone when only its fact is hurt', (rule, change) => {
    expect(hurt(change)).toEqual([rule]);
  });

  it('deny by Q1, Q2 and Q3 as votes and the device disappear', () => {
    const three = { ...five, nodes: 3 };
    expect(hurt(() => undefined, three)).toEqual(['Q2', 'local']);
    expect(hurt(({ cluster }) => (cluster.spareVotes = 0), three)).toEqual([]);
    expect(hurt((question) => (question.cluster.spareVotes = 0), { ...five, nodes: 2 })).toEqual([
      'Q1',
      'Q4',
      'W2',
      'local',
    ]);
    const device = { ...five, nodes: 5, deviceVotes: 4 };
    expect(hurt(() => undefined, device)).toEqual(['Q3', 'local']);
  });

  it('allow, as the product does, a host whose card answers nothing and whose BMC is proven', () => {
    const question = healthyCase(five);
    const off = nodeAt(question);
    off.managementWaker = true;
    const links = facts(question).links?.map((link) => ({ ...link, wakeOnMagic: false })) ?? [];
    facts(question).links = links;
    if (question.local.facts) question.local.facts.links = structuredClone(links);
    for (const { record } of question.nodes.slice(1)) {
      if (record.facts) record.facts.wakers = [{ node: off.record.node, by: ['ipmi'] }];
    }
    expect(opinions(question).map(({ rule }) => rule)).toEqual(['W1']);
    for (const proof of question.proofs) proof.binding.waker = 'ipmi';
    expect(opinions(question)).toEqual([]);
    expect(productSays(question)).toEqual({ server: [], local: null });
  });

  it('name each of its rules once', () => {
    const names = secondRules.map(([name]) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});
