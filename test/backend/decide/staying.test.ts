import { describe, expect, it } from 'vitest';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory } from '../../../backend/decide/history.ts';
import type { Plan } from '../../../backend/decide/plan.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import { policyInForce } from '../../../backend/policy-in-force.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';
import { quorumOf } from '../act/guard-samples.ts';

const gib = 2 ** 30;
const nowMs = 100_000_000;
const cluster = homeCluster();
const saving = policyInForce(Policy.parse({ save: { mode: 'on' } }), { simulated: false });

type Change = Partial<NodeFacts> & { memoryGib?: number; guestGib?: number | null };

/** A node with one small guest; none where `guestGib` is null. */
function nodeOf(node: string, { memoryGib = 32, guestGib = 2, ...facts }: Change): NodeRecord {
  const guest = {
    ...guestSample(`on-${node}`, { name: `on-${node}` }),
    cpuCount: 1,
    cpuRatio: 0.2,
    memoryTotalBytes: (guestGib ?? 0) * gib,
  };
  return {
    ...unseenNode('home', node),
    online: true,
    sampleAtMs: nowMs,
    facts: { ...NodeFacts.parse({ wattsIdle: 60, wattsLoaded: 100 }), ...facts },
    values: nodeValues({
      cpuRatio: 0.05,
      cpuCount: 8,
      memoryUsedBytes: gib,
      memoryTotalBytes: memoryGib * gib,
      uptimeMs: 90_000_000,
    }),
    guests: guestGib === null ? [] : [guest],
  };
}
const planOf = (nodes: readonly NodeRecord[], policy = saving): Plan => {
  const history = emptyHistory();
  for (const { node, guests } of nodes) {
    if (guests?.length === 0) history.emptySinceMs.set(`home/${node}`, nowMs - 3_600_000);
  }
  return decide({ cluster, nodes }, policy, history, nowMs);
};
const moves = ({ intents }: Plan): string[] =>
  intents.flatMap(({ action, executor }) => (action.kind === 'guest.migrate' ? [executor] : []));
const sleeps = ({ intents }: Plan): string[] =>
  intents.flatMap(({ action, target }) => (action.kind === 'node.shutdown' ? [target.id] : []));
const reasons = ({ report }: Plan): string =>
  report.nonActions.map(({ reason, flip }) => `${reason} | ${flip}`).join('; ');

const names = ['n1', 'n2', 'n3', 'n4', 'n5'];
const alone = (count: number, change: Change = {}) =>
  names.slice(0, count).map((name) => nodeOf(name, { quorum: null, ...change }));
const voting = (count: number, change: Change = {}) =>
  names
    .slice(0, count)
    .map((name) => nodeOf(name, { quorum: quorumOf(names.slice(0, count)), ...change }));

describe('a node is emptied only where one more could sleep', () => {
  it('as far as votes go, with one to spare', () => {
    expect(moves(planOf(voting(3)))).toEqual([]);
    expect(reasons(planOf(voting(3)))).toBe(
      'emptying it would let no further node sleep: 1 votes would be left after the loss of 1 ' +
        'more, 2 are needed | another voter is awake',
    );
    expect(moves(planOf(voting(5)))).not.toEqual([]);
  });

  it('counting one that is empty already as gone', () => {
    const five = [...voting(5).slice(0, 4), nodeOf('n5', { quorum: quorumOf(), guestGib: null })];
    const plan = planOf(five);
    expect(sleeps(plan)).toEqual(['n5']);
    expect(moves(plan)).toEqual([]);
  });

  it('as far as two that can wake it go, or one with a BMC to ask', () => {
    const three = [...alone(2), nodeOf('n3', { quorum: null, guestGib: null })];
    expect(moves(planOf(three))).toEqual([]);
    expect(reasons(planOf(three))).toContain(
      '1 awake nodes would be left to wake it, 2 are needed',
    );
    expect(moves(planOf(alone(3)))).not.toEqual([]);
    // In a house of two there is only one other.
    expect(moves(planOf(alone(2)))).not.toEqual([]);
    const wakers: NodeFacts['wakers'] = [{ node: null, by: ['wol', 'ipmi'] }];
    const withBmc = [...alone(2, { wakers }), nodeOf('n3', { quorum: null, guestGib: null })];
    expect(moves(planOf(withBmc))).not.toEqual([]);
  });

  it('as far as memory goes if one more fails', () => {
    const five = voting(5, { guestGib: 20 });
    expect(reasons(planOf(five))).toContain(
      '96.0 GiB would be left for 100.0 GiB of guests if one more failed',
    );
    expect(moves(planOf(voting(5, { guestGib: 8 })))).not.toEqual([]);
  });
});

describe('of nodes that could all be emptied', () => {
  it('the thirstiest goes first, however much less the others run', () => {
    const [mini, server, third] = [
      nodeOf('n1', { quorum: null, wattsIdle: 12, wattsLoaded: 110, guestGib: 1 }),
      nodeOf('n2', { quorum: null, wattsIdle: 90, wattsLoaded: 115, guestGib: 4 }),
      nodeOf('n3', { quorum: null, wattsIdle: 10, wattsLoaded: 45, guestGib: 1 }),
    ];
    expect(moves(planOf([mini, server, third]))).toEqual(['n2']);
  });
});
