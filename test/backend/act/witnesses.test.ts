import { describe, expect, it } from 'vitest';
import { CommandKind } from '../../../broker/contract/command.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import {
  executorCanSee,
  isProven,
  parseWitnesses,
  type Witness,
  whereaboutsOf,
  withoutWitness,
  withWitness,
} from '../../../backend/act/witnesses.ts';

const by = (kind: Witness['kind'], name = 'n2'): Witness => ({
  kind,
  by: name,
  atMs: 1,
  detail: '',
});

describe('where a witness looks for a host', () => {
  const links = [
    { name: 'eno1', mac: '02:00:00:00:00:01', address: '192.168.7.11/24' },
    { name: 'eno2', mac: '02:00:00:00:00:02', address: 'fe80::1/64' },
    { name: 'eno3', mac: '02:00:00:00:00:03' },
  ];
  const quorum = {
    quorate: true,
    expectedVotes: 3,
    totalVotes: 3,
    quorumVotes: 2,
    members: [{ node: 'n1', votes: 1, online: true }],
  };

  it.each([
    ['one without a cluster', { links }, { addresses: ['192.168.7.11'] }],
    ['one whose cluster tells', { links, quorum }, {}],
    ['one without a known address', { links: links.slice(1) }, {}],
    ['one without known links', {}, {}],
  ])('is told of %s', (_whom, facts, expected) => {
    expect(whereaboutsOf(NodeFacts.parse(facts))).toEqual(expected);
  });

  it('is not told of one that has described nothing', () => {
    expect(whereaboutsOf(null)).toEqual({});
  });
});

describe('proof', () => {
  it.each<[string, Witness[], boolean]>([
    ['nobody', [], false],
    ['its ended session alone', [by('gone')], false],
    ['two probes', [by('probe', 'n1'), by('probe', 'n2')], false],
    ['two memberships', [by('membership', 'n1'), by('membership', 'n2')], false],
    ['its own executor and its ended session', [by('executor'), by('gone')], false],
    ['its ended session and a probe', [by('gone'), by('probe')], true],
    ['its ended session and the membership', [by('gone'), by('membership')], true],
    ['a membership and a probe', [by('membership'), by('probe')], true],
    ['its next boot', [by('boot')], true],
  ])('of a shutdown by %s', (_, witnesses, proven) => {
    expect(isProven('node.shutdown', witnesses)).toBe(proven);
  });

  it('of a wake or reboot is the next boot and nothing else', () => {
    for (const kind of ['node.wake', 'node.reboot'] as const) {
      expect(isProven(kind, [by('boot')])).toBe(true);
      expect(isProven(kind, [by('executor'), by('probe'), by('gone'), by('membership')])).toBe(
        false,
      );
    }
  });

  it('of everything else is one who looked', () => {
    const others = CommandKind.options.filter(executorCanSee);
    expect(others).toHaveLength(CommandKind.options.length - 3);
    for (const kind of others) {
      expect(isProven(kind, [by('executor')])).toBe(true);
      expect(isProven(kind, [by('probe')])).toBe(true);
      expect(isProven(kind, [by('gone')])).toBe(false);
      expect(isProven(kind, [])).toBe(false);
    }
  });
});

describe('the list of witnesses', () => {
  it('keeps the newest word of each and forgets what is taken back', () => {
    const first = withWitness([], by('probe'));
    const again = withWitness(first, { ...by('probe'), atMs: 2 });
    expect(again).toEqual([{ ...by('probe'), atMs: 2 }]);
    expect(withWitness(again, by('probe', 'n1'))).toHaveLength(2);
    expect(withoutWitness(again, by('probe'))).toEqual([]);
    expect(withoutWitness(again, by('probe', 'n1'))).toEqual(again);
  });

  it('survives the store', () => {
    expect(parseWitnesses(JSON.stringify([by('gone')]))).toEqual([by('gone')]);
  });
});
