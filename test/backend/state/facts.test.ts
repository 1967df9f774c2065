import { expect, it } from 'vitest';
import { factsChanges } from '../../../backend/state/facts.ts';
import { emptyFleet } from '../../../backend/state/fleet.ts';
import type { StateInput } from '../../../backend/state/inputs.ts';
import { reduce } from '../../../backend/state/reduce.ts';
import { GuestFacts } from '../../../broker/contract/facts.ts';
import { guestSample, helloBody, message, telemetryBody } from '../../support/messages.ts';
import type { GuestSample } from '../../../broker/contract/telemetry.ts';

const sampleOf = (node: string, seq: number, guests: GuestSample[]): StateInput => ({
  kind: 'telemetry',
  atMs: seq,
  message: message('telemetry', telemetryBody({ guests }), { node, seq }),
});

function follow(inputs: StateInput[]) {
  const fleet = emptyFleet();
  return inputs.map((input) => {
    const changes = factsChanges(fleet, input);
    reduce(fleet, input);
    return changes.map(({ entityId, facts }) => [entityId, facts]);
  });
}

it('records a guest once, again when its tags change, and its placement when it moves', () => {
  const changes = follow([
    sampleOf('n1', 1, [guestSample('100', { cpuRatio: 0.1 })]),
    sampleOf('n1', 2, [guestSample('100', { cpuRatio: 0.9 })]),
    sampleOf('n1', 3, [guestSample('100', { tags: ['kr_ignore'] })]),
    sampleOf('n2', 1, [guestSample('100', { tags: ['kr_ignore'] })]),
    sampleOf('n1', 4, []),
  ]);
  expect(changes.map((list) => list.length)).toEqual([1, 0, 1, 1, 0]);
  expect(changes[3]?.[0]).toMatchObject(['100', { node: 'n2' }]);
});

it('records that a guest vanished, and nothing when the driver cannot tell', () => {
  const unknown: StateInput = {
    kind: 'telemetry',
    atMs: 2,
    message: message('telemetry', telemetryBody({ guests: null }), { node: 'n1', seq: 2 }),
  };
  const changes = follow([
    sampleOf('n1', 1, [guestSample('100')]),
    unknown,
    sampleOf('n1', 3, [guestSample('100')]),
    sampleOf('n1', 4, []),
  ]);
  expect(changes.slice(1)).toEqual([[], [], [['100', { node: null }]]]);
});

it('records node facts from hello, without what changes every time', () => {
  const hello = (clockOffsetMs: number, kernel: string): StateInput => ({
    kind: 'hello',
    atMs: 1,
    message: message(
      'hello',
      helloBody({ facts: { ...helloBody().facts, clockOffsetMs, kernel } }),
    ),
  });
  const changes = follow([hello(1, '6.1'), hello(2, '6.1'), hello(3, '6.2')]);
  expect(changes.map((list) => list.length)).toEqual([1, 0, 1]);
});

it('records the configuration of the guests of a node, and a change of it alone', () => {
  const hello = (guests: object[] | null): StateInput => ({
    kind: 'hello',
    atMs: 1,
    message: message('hello', helloBody({ guests: guests && GuestFacts.array().parse(guests) })),
  });
  const guest = { id: '100', kind: 'vm', name: 'web' };
  const changes = follow([
    hello([guest]),
    hello([guest]),
    hello([{ ...guest, cpuUnits: 2_048 }]),
    hello(null),
    hello(null),
  ]);
  expect(changes.map((list) => list.length)).toEqual([1, 0, 1, 1, 0]);
  expect(changes[2]?.[0]).toMatchObject(['n1', { guests: [{ id: '100', cpuUnits: 2_048 }] }]);
});
