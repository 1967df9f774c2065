import { describe, expect, it } from 'vitest';
import { CommandKind } from '../../../broker/contract/command.ts';
import { denialOf, type GuardFacts, type OtherCommand } from '../../../backend/act/guard.ts';
import { evaluate, guards } from '../../../backend/act/guards.ts';
import { facts, home, node, to } from './guard-samples.ts';

const other: OtherCommand = {
  id: 'c1',
  kind: 'node.shutdown',
  state: 'INDETERMINATE',
  target: 'n9',
  executor: 'n9',
  destination: null,
};

const verdict = (given: GuardFacts): string | undefined =>
  denialOf(evaluate('GRANT', 1, given))?.code;
const blind = { driver: null } as const;
const foreign = node('n1').driver;

describe('the guards', () => {
  it.each(CommandKind.options)('pass %s where nothing stands against it', (kind) => {
    // Nothing is ever deleted automatically.
    const origin = kind === 'guest.delete' ? 'person' : 'engine';
    expect(verdict(facts(kind, { origin }))).toBeUndefined();
  });

  it.each<[string, GuardFacts, string]>([
    ['HOLD', facts('node.wake', { cluster: { ...home, hold: true } }), 'KR_HOLD'],
    [
      'a lost executor',
      facts('guest.start', { executor: node('n1', { online: false }) }),
      'KR_EXECUTOR_OFFLINE',
    ],
    ['an unknown executor', facts('guest.start', { executor: null }), 'KR_EXECUTOR_OFFLINE'],
    ['no waker', facts('node.wake', { executor: node('n1', { online: false }) }), 'KR_NO_WAKER'],
    [
      'a waker that cannot send',
      facts('node.wake', { executor: node('n1', blind) }),
      'KR_NO_WAKER',
    ],
    ['no address', facts('node.wake', { wake: { macs: 0 } }), 'KR_NO_WAKER'],
    ['a target that is awake', facts('node.wake', { targetNode: node('n3') }), 'KR_ALREADY_AWAKE'],
    [
      'a missing capability',
      facts('guest.scale', { executor: node('n1', blind) }),
      'KR_CAPABILITY',
    ],
    [
      'a real cluster and a twin',
      facts('guest.stop', { cluster: { ...home, simulated: false } }),
      'KR_SIMULATED',
    ],
    [
      'a simulated cluster and a real driver',
      facts('guest.stop', {
        executor: node('n1', { driver: foreign && { ...foreign, simulated: false } }),
      }),
      'KR_SIMULATED',
    ],
    ['an executor ahead of us', facts('guest.start', { executorMaxEpoch: 6 }), 'KR_EPOCH_BEHIND'],
    [
      'a new journal and a destructive kind',
      facts('guest.stop', { executor: node('n1', { journalConfirmed: false }) }),
      'KR_NEW_JOURNAL',
    ],
    ['a guest that moved', facts('guest.stop', { guestNode: 'n2' }), 'KR_GUEST_ELSEWHERE'],
    ['a guest nobody knows', facts('guest.stop', { guestNode: null }), 'KR_UNKNOWN_GUEST'],
    ['an unresolved target', facts('guest.stop', { unresolved: other }), 'KR_TARGET_UNRESOLVED'],
    [
      'a protected node',
      facts('node.shutdown', { targetNode: node('n1', { protected: true }) }),
      'KR_PROTECTED',
    ],
    ['a node we know nothing of', facts('node.shutdown', { targetNode: null }), 'KR_PROTECTED'],
    [
      'running guests',
      facts('node.shutdown', { targetNode: node('n1', { runningGuests: 2 }) }),
      'KR_GUESTS_RUNNING',
    ],
    [
      'unknown guests',
      facts('node.reboot', { targetNode: node('n1', { runningGuests: null }) }),
      'KR_GUESTS_UNKNOWN',
    ],
    [
      'no sample',
      facts('node.shutdown', { targetNode: node('n1', { sampleAgeMs: null }) }),
      'KR_GUESTS_UNKNOWN',
    ],
    [
      'a stale sample',
      facts('node.shutdown', { targetNode: node('n1', { sampleAgeMs: 30_001 }) }),
      'KR_STALE',
    ],
    ['another power-off', facts('node.shutdown', { powerOffs: [other] }), 'KR_POWER_OFF_IN_FLIGHT'],
    ['the node it is on', facts('guest.migrate', { destination: to('n1') }), 'KR_SELF_MIGRATION'],
    [
      'a target node that is gone',
      facts('guest.migrate', { destination: to('n2', { online: false }) }),
      'KR_TARGET_NODE',
    ],
    [
      'a target node of the other kind',
      facts('guest.migrate', { destination: to('n2', blind) }),
      'KR_TARGET_NODE',
    ],
    ['no target node', facts('guest.migrate'), 'KR_TARGET_NODE'],
  ])('deny for %s', (what, given, code) => {
    const asked = what === 'no target node' ? { ...given, destination: null } : given;
    expect(verdict(asked)).toBe(code);
  });

  it('never bar a wake by an uncertain power-off, not even of its own target', () => {
    const own = { ...other, target: 'n1' };
    expect(verdict(facts('node.wake', { powerOffs: [own], unresolved: own }))).toBeUndefined();
  });

  it('take no node for awake that has not reported lately, whatever it said before', () => {
    const freshMs = node('n3').freshMs;
    const wake = (sampleAgeMs: number | null, online = true): string | undefined =>
      verdict(facts('node.wake', { targetNode: node('n3', { online, sampleAgeMs }) }));
    expect(wake(freshMs)).toBe('KR_ALREADY_AWAKE');
    expect(wake(freshMs + 1)).toBeUndefined();
    expect(wake(null)).toBeUndefined();
    expect(wake(0, false)).toBeUndefined();
  });

  it('let harmless kinds pass with an unconfirmed journal', () => {
    const executor = node('n1', { journalConfirmed: false });
    for (const kind of ['guest.start', 'node.wake', 'guest.snapshot'] as const) {
      expect(verdict(facts(kind, { executor }))).toBeUndefined();
    }
  });

  it('keep every verdict with its inputs, and each denial has a way out', () => {
    const worst = facts('node.shutdown', {
      cluster: { ...home, simulated: false, hold: true },
      executor: null,
      targetNode: null,
      powerOffs: [other],
      unresolved: other,
      executorMaxEpoch: 9,
    });
    const { verdicts } = evaluate('PLANNED', 7, worst);
    expect(verdicts.every(({ facts: inputs }) => inputs.length > 0)).toBe(true);
    const denials = verdicts.flatMap(({ denial }) => denial ?? []);
    expect(denials.length).toBeGreaterThan(verdicts.length / 2);
    for (const { code, reason, wayOut, rule } of denials) {
      expect(code).toMatch(/^KR_[A-Z_]+$/);
      expect(Math.min(reason.length, wayOut.length, rule.length)).toBeGreaterThan(0);
    }
    expect(JSON.parse(JSON.stringify(verdicts))).toEqual(verdicts);
  });

  it('have each its own name', () => {
    expect(new Set(guards.map(({ id }) => id)).size).toBe(guards.length);
  });
});
