/** What a second reading of SAFETY section 2 found in the guards (docs/reliability.md, R17). */
import { describe, expect, it } from 'vitest';
import type { NodeFacts } from '../../../broker/contract/facts.ts';
import { denialOf, type GuardFacts } from '../../../backend/act/guard.ts';
import { evaluate } from '../../../backend/act/guards.ts';
import {
  facts,
  guest,
  guestFacts,
  noHa,
  node,
  nodeFacts,
  power,
  quorumOf,
  realLimits,
  to,
} from './guard-samples.ts';

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

describe('the guards of guests and wakes should', () => {
  const move = (change: Partial<GuardFacts>): GuardFacts => facts('guest.migrate', change);

  it('move nothing to a node whose daemon is connected and whose samples are old', () => {
    expect(ruleAgainst(move({ destination: to('n2', { sampleAgeMs: 30_001 }) }))).toBe(
      'KR_TARGET_NODE',
    );
  });

  it('take two unknown microcodes for two, not for one and the same', () => {
    const unknown = nodeFacts({ microcode: null });
    const question = move({
      executor: node('n1', { facts: unknown }),
      destination: to('n2', { facts: unknown }),
      guest: guest({ facts: guestFacts({ cpuType: 'host' }) }),
    });
    expect(ruleAgainst(question)).toBe('KR_CPU_TYPE');
  });

  it('bind a cpu type that names one generation of hosts to equal hosts', () => {
    const question = (cpuModel: string): GuardFacts =>
      move({
        destination: to('n2', { facts: nodeFacts({ cpuModel }) }),
        guest: guest({ facts: guestFacts({ cpuType: 'Skylake-Server' }) }),
      });
    expect(ruleAgainst(question('Intel N305'))).toBeUndefined();
    expect(ruleAgainst(question('Intel N100'))).toBe('KR_CPU_TYPE');
  });

  it('ask for consent before a running machine is moved by a restart', () => {
    const question = move({
      args: { targetNode: 'n2', online: false },
      guest: guest({ facts: guestFacts({ mayRestart: null }) }),
    });
    expect(ruleAgainst(question)).toBe('KR_NO_CONSENT');
  });

  it('count a waker in the network of an unarmed card as none', () => {
    const link = (wakeOnMagic: boolean, broadcast: string) => ({
      name: 'eno1',
      mac: '02:00:00:00:00:01',
      address: null,
      broadcast,
      wakeOnMagic,
      driver: null,
    });
    const links = [link(true, '10.0.0.255'), link(false, '192.168.1.255')];
    const question = facts('node.shutdown', {
      targetNode: node('n1', { facts: nodeFacts({ links }) }),
    });
    expect(ruleAgainst(question)).toBeDefined();
  });

  it('leave a node alone that a person has just switched off, also by waking it', () => {
    const pausedUntilMs = 2_000_000;
    const asleep = node('n1', { online: false });
    const question = { pausedUntilMs, targetNode: asleep, executor: node('n2') };
    expect(ruleAgainst(facts('node.wake', question))).toBe('KR_PAUSED');
    expect(ruleAgainst(facts('node.wake', { ...question, origin: 'person' }))).toBeUndefined();
  });

  it('count no node as a reserve that fell silent by itself', () => {
    const gone = (desired: 'awake' | 'asleep') =>
      power({
        neighbours: [
          ...['n2', 'n3', 'n4'].map((id) => node(id)),
          node('n5', { online: false, desired, memoryTotalBytes: 512 * 2 ** 30 }),
        ],
        guestBytes: 120 * 2 ** 30,
      });
    const question = (desired: 'awake' | 'asleep') =>
      facts('node.shutdown', {
        limits: { ...realLimits, reserve: 'wakeable', membershipStableMs: 0 },
        power: gone(desired),
      });
    const reserved = (asked: GuardFacts) =>
      evaluate('PLANNED', 0, asked).verdicts.find(({ id }) => id === 'memory-reserve')?.denial;
    expect(reserved(question('awake'))?.code).toBe('KR_NO_RESERVE');
    expect(reserved(question('asleep'))).toBeNull();
  });
});
