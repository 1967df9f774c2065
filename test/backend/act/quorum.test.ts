import { describe, expect, it } from 'vitest';
import { countVotes, type QdeviceView } from '../../../backend/act/quorum.ts';

type Component = { name: string; votes: number };

/**
 * What corosync means by quorum, said with sets and without a formula: more than half of all
 * configured votes stand, now and after any one more component has failed.
 */
function standsAfterAnyLoss(all: readonly Component[], standing: readonly Component[]) {
  const holds = (some: readonly Component[]): boolean => {
    let lead = 0;
    for (const { name, votes } of all) {
      lead += some.some((one) => one.name === name) ? votes : -votes;
    }
    return lead > 0;
  };
  return {
    now: holds(standing),
    afterAnyLoss: standing.every((lost) => holds(standing.filter((one) => one !== lost))),
  };
}

const voting = (votes: number): QdeviceView => ({
  votes,
  alive: true,
  voting: true,
  seenAgeMs: 10_000,
});

type Device = { votes: number; isSeen: boolean } | null;

/** Every cluster of this many nodes, every set of nodes that are up, every target that is up. */
function compare(count: number, device: Device): { cases: number; wrong: string[] } {
  const wrong: string[] = [];
  let cases = 0;
  for (let weights = 0; weights < 2 ** count; weights += 1) {
    const nodes = Array.from({ length: count }, (_, index) => ({
      name: `n${index}`,
      votes: 1 + ((weights >> index) & 1),
    }));
    const all = device ? [...nodes, { name: 'qdevice', votes: device.votes }] : nodes;
    const expectedVotes = all.reduce((total, { votes }) => total + votes, 0);
    for (let up = 1; up < 2 ** count; up += 1) {
      const isUp = (index: number): boolean => ((up >> index) & 1) === 1;
      const voters = nodes.map(({ name, votes }, index) => ({
        node: name,
        votes,
        isPresent: isUp(index),
      }));
      for (let target = 0; target < count; target += 1) {
        if (!isUp(target)) continue;
        cases += 1;
        const standing = all.filter(
          ({ name }, index) =>
            (name === 'qdevice' && device?.isSeen === true) ||
            (name !== 'qdevice' && isUp(index) && index !== target),
        );
        const truth = standsAfterAnyLoss(all, standing);
        const view = device && { ...voting(device.votes), voting: device.isSeen };
        const counted = countVotes({
          expectedVotes,
          voters,
          leaving: new Set([`n${target}`]),
          qdeviceViews: standing.filter(({ name }) => name !== 'qdevice').map(() => view),
        });
        const isLonely = standing.every(({ name }) => name === 'qdevice');
        const now = counted.remainingVotes >= counted.quorumVotes;
        const later = counted.worstVotes >= counted.quorumVotes;
        // With nobody left there is no view of the device either, and so no vote of it.
        const isRight = isLonely
          ? !later
          : now === truth.now && (now && later) === (truth.now && truth.afterAnyLoss);
        if (!isRight) wrong.push(JSON.stringify({ nodes, up, target, device, counted, truth }));
      }
    }
  }
  return { cases, wrong };
}

describe('the count of votes', () => {
  it.each([1, 2, 3, 4, 5, 6, 7])('agrees with the definition for every cluster of %i', (count) => {
    const devices: Device[] = [
      null,
      { votes: 1, isSeen: true },
      { votes: 1, isSeen: false },
      ...(count > 2 ? [{ votes: count - 1, isSeen: true }] : []),
      ...(count > 2 ? [{ votes: count - 1, isSeen: false }] : []),
    ];
    const results = devices.map((device) => compare(count, device));
    expect(results.flatMap(({ wrong }) => wrong).slice(0, 3)).toEqual([]);
    const targets = count * 2 ** (count - 1) * 2 ** count;
    expect(results.map(({ cases }) => cases)).toEqual(devices.map(() => targets));
  });

  const three = ['a', 'b', 'c'].map((node) => ({ node, votes: 1, isPresent: true }));
  const ask = (leaving: string[], qdeviceViews: (QdeviceView | null)[], expectedVotes = 3) =>
    countVotes({ expectedVotes, voters: three, leaving: new Set(leaving), qdeviceViews });

  it('takes the vote of everyone who is or may be leaving', () => {
    expect(ask(['a'], [])).toMatchObject({ remainingVotes: 2, quorumVotes: 2, worstVotes: 1 });
    expect(ask(['a', 'b'], [])).toMatchObject({ remainingVotes: 1, quorumVotes: 2 });
  });

  it('never believes an expectation lower than what the members add up to', () => {
    expect(ask(['a'], [], 1)).toMatchObject({ expectedVotes: 3, quorumVotes: 2 });
  });

  it.each<[string, (QdeviceView | null)[]]>([
    ['one node does not see it', [voting(2), null]],
    ['it is not alive', [voting(2), { ...voting(2), alive: false }]],
    ['it does not vote', [voting(2), { ...voting(2), voting: false }]],
    ['it was seen 30.001 s ago', [voting(2), { ...voting(2), seenAgeMs: 30_001 }]],
    ['nobody knows when it was seen', [voting(2), { ...voting(2), seenAgeMs: null }]],
  ])('leaves the quorum device out, yet expects its votes, when %s', (_why, views) => {
    expect(ask(['a'], views, 5)).toMatchObject({
      hasQdevice: true,
      qdeviceVotes: 0,
      remainingVotes: 2,
      expectedVotes: 5,
    });
  });

  it('counts a device of N-1 votes as the one component whose loss is worst', () => {
    const counted = ask(['a'], [voting(2), voting(2)], 5);
    expect(counted).toMatchObject({ remainingVotes: 4, quorumVotes: 3, worstVotes: 2 });
  });
});
