import { describe, expect, it } from 'vitest';
import { createReach } from '../../../backend/act/reach.ts';
import { emptyFleet } from '../../../backend/state/fleet.ts';
import { virtualClock } from '../../support/clock.ts';
import { helloBody, message, uuidOf } from '../../support/messages.ts';
import { nodeRecord } from './twin.ts';

const first = uuidOf(0xa1);
const second = uuidOf(0xa2);

function setting() {
  const clock = virtualClock();
  const fleet = emptyFleet();
  const reach = createReach(clock, () => fleet);
  const presence = (session: string, online: boolean, reason: 'birth' | 'will' | 'shutdown') =>
    reach.presence(message('presence', { online, reason, load: null }, { session }));
  const hello = (session: string) => reach.heard(message('hello', helloBody(), { session }));
  return { clock, fleet, reach, presence, hello, now: () => reach.contact('home', 'n1') };
}

describe('the reach of a node', () => {
  it('is none before it was heard, and what the picture says until then', () => {
    const { reach, fleet, now } = setting();
    expect(now()).toMatchObject({ session: null, online: false });
    fleet.nodes.set('home/n1', { ...nodeRecord('home', 'n1'), online: true, session: first });
    expect(now()).toMatchObject({ session: first, online: true });
    expect(reach.isOnline('home', 'n1')).toBe(true);
  });

  it('opens with a hello or birth and ends with the will of that session alone', () => {
    const { hello, presence, now } = setting();
    hello(first);
    presence(second, true, 'birth');
    presence(first, false, 'will');
    expect(now()).toMatchObject({ session: second, online: true });
    presence(second, false, 'will');
    expect(now()).toMatchObject({ session: second, online: false });
  });

  it('keeps the goodbye when the will of the same session follows', async () => {
    const { hello, presence, now, clock } = setting();
    hello(first);
    await clock.advance(1_000);
    presence(first, false, 'shutdown');
    await clock.advance(1_000);
    presence(first, false, 'will');
    expect(now()).toMatchObject({ isShuttingDown: true, offlineSinceMs: 1_000 });
  });

  it('is not revived by a delayed report of an ended session', () => {
    const { reach, hello, presence, now } = setting();
    hello(first);
    presence(first, false, 'will');
    const body = { commandId: uuidOf(2), nonce: '0'.repeat(32), journalId: uuidOf(3) };
    const rest = { incarnation: 1, bootId: null, maxEpoch: 0 };
    reach.heard(message('claim', { ...body, ...rest }, { session: first }));
    expect(now().online).toBe(false);
  });

  it('follows the picture to a newer session whose birth was lost', () => {
    const { hello, presence, now, fleet } = setting();
    hello(first);
    presence(first, false, 'will');
    fleet.nodes.set('home/n1', { ...nodeRecord('home', 'n1'), online: true, session: second });
    expect(now()).toMatchObject({ session: second, online: true });
  });

  it('ends for the node that is named and for no other of the same session', async () => {
    const { reach, clock } = setting();
    for (const node of ['n1', 'n2']) {
      reach.heard(message('hello', helloBody(), { node, session: first }));
    }
    await clock.advance(1_000);
    const body = { online: false, reason: 'will', load: null } as const;
    reach.presence(message('presence', body, { node: 'n1', session: first }));
    expect(reach.contact('home', 'n1')).toMatchObject({ online: false, offlineSinceMs: 1_000 });
    expect(reach.isOnline('home', 'n2')).toBe(true);
  });
});
