/** What a second reading of SAFETY section 2 found in the guards (docs/reliability.md, R17). */
import { describe, expect, it } from 'vitest';
import type { NodeFacts } from '../../../broker/contract/facts.ts';
import { denialOf, type GuardFacts } from '../../../backend/act/guard.ts';
import { evaluate } from '../../../backend/act/guards.ts';
import { facts, noHa, node, nodeFacts, power, quorumOf, realLimits } from './guard-samples.ts';

const ruleAgainst = (question: GuardFacts): string | undefined =>
  denialOf(evaluate('PLANNED', 0, question))?.code;

const neighboursWith = (change: (index: number) => Partial<NodeFacts>) =>
  ['n2', 'n3', 'n4', 'n5'].map((id, index) => node(id, { facts: nodeFacts(change(index)) }));

const shutdown = (change: (index: number) => Partial<NodeFacts>): GuardFacts =>
  facts('node.shutdown', { power: power({ neighbours: neighboursWith(change) }) });

describe('the guards of quorum should', () => {
  it('believe nobody when two nodes give a third one different votes', () => {
    const members = quorumOf().members.map((member, index) => ({
      ...member,
      votes: index === 4 ? 2 : 1,
    }));
    const lying = { ...quorumOf(), members };
    expect(ruleAgainst(shutdown(() => ({})))).toBeUndefined();
    expect(ruleAgainst(shutdown((at) => (at === 0 ? { quorum: lying } : {})))).toBe(
      'KR_QUORUM_UNKNOWN',
    );
  });

  it('believe nobody when two nodes expect different numbers of votes', () => {
    const lower = { ...quorumOf(), expectedVotes: 4 };
    expect(ruleAgainst(shutdown((at) => (at === 2 ? { quorum: lower } : {})))).toBe(
      'KR_QUORUM_UNKNOWN',
    );
  });

  it.each([
    ['says that it is not quorate', { quorum: { ...quorumOf(), quorate: false } }],
    ['says nothing of its quorum', { quorum: null }],
  ])('count no vote of a node that %s', (_, silent) => {
    expect(ruleAgainst(shutdown((at) => (at < 1 ? silent : {})))).toBe('KR_QUORUM_SPARE');
    expect(ruleAgainst(shutdown((at) => (at < 2 ? silent : {})))).toBe('KR_QUORUM');
  });

  it('spare no vote where an LRM cannot be read, whatever the administrator waived', () => {
    const three = ['n1', 'n2', 'n3'];
    const question = (lrmState: string | null): GuardFacts =>
      facts('node.shutdown', {
        limits: { ...realLimits, spareVoters: 0 },
        targetNode: node('n1', {
          facts: nodeFacts({ quorum: quorumOf(three) }),
          membersOnline: three,
        }),
        power: power({
          neighbours: ['n2', 'n3'].map((id) =>
            node(id, {
              facts: nodeFacts({ quorum: quorumOf(three), ha: { ...noHa, lrmState } }),
              membersOnline: three,
            }),
          ),
        }),
      });
    expect(ruleAgainst(question('idle'))).toBeUndefined();
    expect(ruleAgainst(question('active'))).toBe('KR_QUORUM_SPARE');
    expect(ruleAgainst(question(null))).toBe('KR_QUORUM_SPARE');
  });

  it('take a quorum device that does not vote for none in a pair', () => {
    const pair = {
      ...quorumOf(['n1', 'n2']),
      qdevice: { votes: 1, alive: true, voting: false, seenAgeMs: 1_000 },
    };
    const question = facts('node.shutdown', {
      targetNode: node('n1', { facts: nodeFacts({ quorum: pair }) }),
    });
    expect(ruleAgainst(question)).toBe('KR_TWO_NODES');
  });

  it('keep a node on whose watchdog is held, also when HA is said to manage nothing', () => {
    const held = { ...noHa, managed: false, watchdogOpen: true };
    const question = facts('node.shutdown', {
      targetNode: node('n1', { facts: nodeFacts({ ha: held }) }),
    });
    expect(ruleAgainst(question)).toBe('KR_HA_WATCHDOG');
  });
});
