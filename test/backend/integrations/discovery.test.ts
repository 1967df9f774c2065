/** What Home Assistant is told of one node, without a broker. */
import { expect, it } from 'vitest';
import { nodeDevice } from '../../../backend/integrations/discovery.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';

const from = { version: '0.0.0', url: null };
const nowMs = 1_000_000;
const heard = { ...unseenNode('home', 'pve1'), online: true, sampleAtMs: nowMs - 5_000 };
const shown = (change: object) => {
  const { state, isAvailable } = nodeDevice({ ...heard, ...change }, { nowMs, answer: null, from });
  return [(state as { state: string }).state, isAvailable];
};

it('keeps a node available that reports, whatever is wanted of it', () => {
  expect(shown({})).toEqual(['awake', true]);
  expect(shown({ maintenance: true })).toEqual(['maintenance', true]);
  expect(shown({ activeKind: 'node.shutdown' })).toEqual(['draining', true]);
  expect(shown({ sampleAtMs: nowMs - 100_000 })).toEqual(['stale', true]);
});

it('calls a node unavailable that does not report', () => {
  expect(shown({ sampleAtMs: nowMs - 200_000 })).toEqual(['lost', false]);
  expect(shown({ online: false, desired: 'asleep' })).toEqual(['asleep', false]);
  expect(shown({ online: false, maintenance: true })).toEqual(['maintenance', false]);
  expect(shown({ sampleAtMs: null })).toEqual(['unknown', false]);
});
