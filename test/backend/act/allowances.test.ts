/** What the server signs beyond its yes: only what its guards let pass and the node cannot know. */
import { describe, expect, it } from 'vitest';
import { allowancesIn, allowancesOf } from '../../../backend/act/allowances.ts';
import type { CommandKind } from '../../../broker/contract/command.ts';
import { facts, node, nodeFacts, realLimits } from './guard-samples.ts';

const target = { kind: 'node', id: 'n1' } as const;
const asleep = { name: 'eno1', mac: '02:00:00:00:00:01', address: null, broadcast: null };

function allowedOf(
  kind: CommandKind,
  change: Parameters<typeof nodeFacts>[0],
  more: { args?: object; limits?: Partial<typeof realLimits> } = {},
) {
  const targetNode = node('n1', { facts: nodeFacts(change) });
  const limits = { ...realLimits, ...more.limits };
  return allowancesOf(facts(kind, { target, targetNode, limits, args: { ...more.args } }));
}

const unarmed = { links: [{ ...asleep, wakeOnMagic: false, driver: null }] };
const replica = { roles: ['replication-target'] };

describe('a grant allows the node', () => {
  it('nothing that its own look allows anyway', () => {
    expect(allowedOf('node.shutdown', {})).toEqual([]);
    expect(allowedOf('guest.stop', unarmed, { limits: { spareVoters: 0 } })).toEqual([]);
  });

  it('to sleep without a magic packet, unless a person wakes it by hand or it only reboots', () => {
    expect(allowedOf('node.shutdown', unarmed)).toEqual(['no-magic-packet']);
    expect(allowedOf('node.shutdown', unarmed, { args: { switchOnByHand: 'n1' } })).toEqual([]);
    expect(allowedOf('node.reboot', unarmed)).toEqual([]);
  });

  it('to let its replicas age where the cluster says so', () => {
    expect(allowedOf('node.shutdown', replica)).toEqual([]);
    const limits = { replicas: 'may-age' } as const;
    expect(allowedOf('node.shutdown', replica, { limits })).toEqual(['aged-replicas']);
    expect(allowedOf('node.shutdown', {}, { limits })).toEqual([]);
  });

  it('to leave no vote to spare where an administrator said so, and the same when said again', () => {
    const allows = allowedOf('node.shutdown', {}, { limits: { spareVoters: 0 } });
    expect(allows).toEqual(['no-spare-vote']);
    const signed = JSON.stringify({ signed: JSON.stringify({ allows }) });
    expect(allowancesIn(signed)).toEqual(allows);
    expect(allowancesIn(JSON.stringify({ signed: '{}' }))).toEqual([]);
    expect(allowancesIn(null)).toEqual([]);
  });
});
