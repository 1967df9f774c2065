import { describe, expect, it } from 'vitest';
import { createInbox } from '../../../backend/act/inbox.ts';
import { createLease, leaseMs, NotLeader } from '../../../backend/act/lease.ts';
import { proveOnce, relayOnce, sweepOnce } from '../../../backend/act/rounds.ts';
import { type Context, inStep } from '../../../backend/act/step.ts';
import type { CommandStore } from '../../../backend/store/command-store.ts';
import { newCluster } from '../../../backend/store/sql/clusters.ts';
import type { Message } from '../../../broker/contract/messages.ts';
import { createMemoryStore } from '../../protocol/memory-store.ts';
import { virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

const noTakeover = async (): Promise<void> => undefined;

/** Two backends on one store, each with its own counter of what it asks the store. */
async function createPair() {
  const clock = virtualClock();
  const memory = createMemoryStore(() => clock.wallMs());
  memory.tables.clusters.insert(newCluster({ id: 'home', simulated: true, nowMs: 1 }));
  const asked = { leader: 0, follower: 0 };
  const counting = (who: keyof typeof asked): CommandStore => ({
    reads: new Proxy(memory.reads, {
      get(reads, name: keyof CommandStore['reads']) {
        asked[who] += 1;
        return reads[name];
      },
    }),
    transaction(work) {
      asked[who] += 1;
      return memory.transaction(work);
    },
  });
  const contextOf = (owner: keyof typeof asked): Context => {
    const store = counting(owner);
    const lease = createLease({ store, clock, owner, onTaken: noTakeover });
    const reach = { contact: () => ({ session: 's1' }), isOnline: () => true };
    const counters = { foreignMessages: 0, droppedMessages: 0 };
    return { store, clock, lease, reach, counters, log: memoryLog() } as unknown as Context;
  };
  const [leader, follower] = [contextOf('leader'), contextOf('follower')];
  await leader.lease.refresh();
  await follower.lease.refresh();
  asked.follower = 0;
  return { clock, leader, follower, asked };
}

const hello = { name: 'hello', cluster: 'home', node: 'n1', session: 's1' } as Message<'hello'>;
const held = { all: false, clusters: ['home'], version: 1 };

describe('a backend that leads nowhere', () => {
  it('asks the store nothing in its rounds', async () => {
    const { follower, leader, asked } = await createPair();
    expect([leader.lease.leadsAny(), follower.lease.leadsAny()]).toEqual([true, false]);
    await relayOnce(follower);
    await sweepOnce(follower, held);
    await proveOnce(follower);
    expect(asked.follower).toBe(0);
    await relayOnce(leader);
    expect(asked.leader).toBeGreaterThan(1);
  });

  it('leaves what nodes say to the leader without asking the store, again and again', async () => {
    const { follower, clock, asked } = await createPair();
    const inbox = createInbox(follower);
    inbox.take(hello);
    inbox.take({ ...hello, name: 'claim' } as unknown as Message<'claim'>);
    await clock.advance(leaseMs / 2);
    expect(asked.follower).toBe(0);
    expect(follower.counters.foreignMessages).toBeGreaterThan(3);
    await inbox.close();
  });

  it('may take the cluster once its leader may be gone, and does not for a mere claim', async () => {
    const { follower, leader, clock, asked } = await createPair();
    expect(follower.lease.mayTake('home')).toBe(false);
    await clock.advance(leaseMs + 1);
    expect(leader.lease.epochOf('home')).toBeUndefined();
    expect(follower.lease.mayTake('home')).toBe(true);
    const inbox = createInbox(follower);
    inbox.take({ ...hello, name: 'claim' } as unknown as Message<'claim'>);
    await clock.advance(100);
    expect(follower.lease.epochOf('home')).toBeUndefined();
    await follower.lease.refresh('home');
    expect(follower.lease.epochOf('home')).toBe(2);
    expect(follower.lease.leadsAny()).toBe(true);
    expect(asked.follower).toBe(1);
    await inbox.close();
  });

  it('asks for a cluster it has never seen', async () => {
    const { follower } = await createPair();
    expect(follower.lease.mayTake('young')).toBe(true);
  });

  it('opens no transaction for a step it may not take', async () => {
    const { follower, asked } = await createPair();
    await expect(inStep(follower, 'home', async () => 1)).rejects.toBeInstanceOf(NotLeader);
    expect(asked.follower).toBe(0);
  });
});
