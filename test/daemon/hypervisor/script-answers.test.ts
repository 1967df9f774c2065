import { describe, expect, it } from 'vitest';
import type { GuardFacts } from '../../../daemon/command/guards.ts';
import { guestGuards } from '../../../daemon/command/guards-guest.ts';
import { readGuests } from '../../../daemon/hypervisor/script-answers.ts';

const web = { id: 'web1', kind: 'container', name: 'web', state: 'running', tags: ['kr_restart'] };
const shared = { disks: [{ volume: 'root', shared: true }], localResources: [] };

/** The first that speaks against a move of the guest, by the node's own rows. */
function refusalOf(guest: object): string | null {
  const answer = readGuests(JSON.stringify([guest]));
  if (!answer.ok) throw new Error(answer.problem);
  const [listed] = answer.value;
  const facts = {
    wanted: {
      commandId: 'c',
      kind: 'guest.migrate',
      target: { kind: 'guest', id: 'web1' },
      args: { targetNode: 'pve2', online: false },
      epoch: 1,
    },
    guests: listed && [listed.facts],
    guestSample: listed?.sample ?? null,
    driver: { name: 'script', version: '1', simulated: false, capabilities: ['guest.migrate'] },
  } as unknown as GuardFacts;
  const said = guestGuards.map(({ verdict }) => verdict(facts)).find((says) => says !== null);
  return said?.code ?? null;
}

describe('a guest that a program lists', () => {
  it('may move once the program says what binds it and its owner agreed to a restart', () => {
    expect(refusalOf({ ...web, facts: shared })).toBeNull();
  });

  it.each<[string, object, string]>([
    ['says nothing of it', {}, 'KR_GUEST_FACTS'],
    ['names no disks', { facts: { localResources: [] } }, 'KR_GUEST_FACTS'],
    ['names what binds it', { facts: { ...shared, localResources: ['usb'] } }, 'KR_LOCAL_RESOURCE'],
    ['names other nodes', { facts: { ...shared, allowedNodes: ['pve3'] } }, 'KR_NODE_NOT_ALLOWED'],
    ['lists it without consent', { facts: shared, tags: [] }, 'KR_NO_CONSENT'],
    [
      'has its disk here alone',
      { facts: { ...shared, disks: [{ volume: 'root', shared: false }] } },
      'KR_LOCAL_DISK',
    ],
  ])('stays when the program %s', (_when, change, code) => {
    expect(refusalOf({ ...web, ...change })).toBe(code);
  });

  it('is unknown when a fact is misspelt, and carries none of them into telemetry', () => {
    expect(readGuests(JSON.stringify([{ ...web, facts: { disk: [] } }]))).toMatchObject({
      ok: false,
    });
    const answer = readGuests(JSON.stringify([{ ...web, facts: shared }]));
    if (!answer.ok) throw new Error(answer.problem);
    expect(answer.value[0]?.sample).not.toHaveProperty('facts');
    expect(answer.value[0]?.facts).toMatchObject(shared);
  });
});
