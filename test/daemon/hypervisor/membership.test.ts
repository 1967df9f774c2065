import { describe, expect, it } from 'vitest';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { watchMembers } from '../../../daemon/hypervisor/membership.ts';
import type { Hypervisor } from '../../../daemon/hypervisor/port.ts';
import { virtualClock } from '../../support/clock.ts';
import { nodeValues } from '../../support/messages.ts';

type Members = { online: string[]; device?: boolean };

function house(members: Members | null) {
  const clock = virtualClock();
  const state = { members };
  const driver: Hypervisor = {
    nodes: () => ['a'],
    async describe() {
      const online = state.members?.online ?? [];
      const quorum = state.members && {
        quorate: true,
        expectedVotes: 3,
        totalVotes: online.length,
        quorumVotes: 2,
        members: ['a', 'b', 'c'].map((node) => ({ node, votes: 1, online: online.includes(node) })),
        qdevice: state.members.device
          ? { votes: 1, alive: true, voting: true, seenAgeMs: clock.monotonicMs() }
          : null,
      };
      const own = { name: 'proxmox' as const, version: null, simulated: false, capabilities: [] };
      return { driver: own, bootId: null, facts: NodeFacts.parse({ quorum }), guests: null };
    },
    sample: async () => ({
      node: nodeValues(),
      guests: null,
      membersOnline: state.members?.online ?? null,
      versions: { daemon: '1', hypervisor: null, kernel: null },
    }),
    perform: () => Promise.reject(new Error('nothing is performed here')),
    observe: () => Promise.reject(new Error('nothing is observed here')),
    close: async () => undefined,
  };
  const watched = watchMembers(driver, clock);
  const stableForMs = async () => (await watched.describe('a')).membersStableForMs;
  return { clock, state, watched, stableForMs };
}

describe('a watched membership', () => {
  it('stands for as long as samples and descriptions have shown the same, and no longer', async () => {
    const { clock, watched, stableForMs } = house({ online: ['a', 'b', 'c'] });
    await watched.sample('a');
    expect(await stableForMs()).toBe(0);
    await clock.advance(60_000);
    await watched.sample('a');
    expect(await stableForMs()).toBe(60_000);
  });

  it('begins anew when a member left and came back between two descriptions', async () => {
    const { clock, state, watched, stableForMs } = house({ online: ['a', 'b', 'c'] });
    await watched.sample('a');
    await stableForMs();
    await clock.advance(50_000);
    state.members = { online: ['a', 'b'] };
    await watched.sample('a');
    await clock.advance(5_000);
    state.members = { online: ['a', 'b', 'c'] };
    await watched.sample('a');
    await clock.advance(5_000);
    expect(await stableForMs()).toBe(5_000);
  });

  it('goes on when the same members are told in another order', async () => {
    const { clock, state, watched, stableForMs } = house({ online: ['a', 'b', 'c'] });
    await watched.sample('a');
    await stableForMs();
    await clock.advance(60_000);
    state.members = { online: ['c', 'a', 'b'] };
    await watched.sample('a');
    expect(await stableForMs()).toBe(60_000);
  });

  it('begins anew with the vote of the device, and not with the age of that vote', async () => {
    const { clock, state, watched, stableForMs } = house({ online: ['a', 'b', 'c'] });
    await watched.sample('a');
    await stableForMs();
    await clock.advance(70_000);
    state.members = { online: ['a', 'b', 'c'], device: true };
    expect(await stableForMs()).toBe(0);
    await clock.advance(10_000);
    expect(await stableForMs()).toBe(10_000);
  });

  it('counts for nothing while nobody has sampled, and is not spoken of without a cluster', async () => {
    const { clock, stableForMs } = house({ online: ['a', 'b', 'c'] });
    await stableForMs();
    await clock.advance(90_000);
    expect(await stableForMs()).toBe(0);
    expect(await house(null).stableForMs()).toBeUndefined();
  });
});
