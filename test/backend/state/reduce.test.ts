import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { guestMetrics } from '../../../broker/contract/metrics.ts';
import type { GuestSample } from '../../../broker/contract/telemetry.ts';
import { emptyFleet, type Fleet } from '../../../backend/state/fleet.ts';
import type { StateInput } from '../../../backend/state/inputs.ts';
import { nodeState } from '../../../backend/state/node-state.ts';
import { reduce } from '../../../backend/state/reduce.ts';
import {
  guestSample,
  helloBody,
  message,
  nodeValues,
  telemetryBody,
  uuidOf,
} from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

const telemetry = (
  options: {
    node?: string;
    seq?: number;
    incarnation?: number;
    guests?: string[] | null;
    atMs?: number;
    cpuRatio?: number;
    ageMs?: number;
    session?: string;
  } = {},
): StateInput => ({
  kind: 'telemetry',
  atMs: options.atMs ?? 1_000,
  message: message(
    'telemetry',
    telemetryBody({
      incarnation: options.incarnation ?? 1,
      sampledAtMs: 1_800_000_000_000 - (options.ageMs ?? 0),
      node: nodeValues({ cpuRatio: options.cpuRatio ?? 0.2 }),
      guests: options.guests === null ? null : (options.guests ?? []).map((id) => guestSample(id)),
    }),
    {
      node: options.node ?? 'n1',
      seq: options.seq ?? 1,
      session: options.session ?? uuidOf(1),
    },
  ),
});

const presence = (
  node: string,
  session: string,
  reason: 'birth' | 'will' | 'goodbye',
  atMs = 2_000,
): StateInput => ({
  kind: 'presence',
  atMs,
  message: message(
    'presence',
    { online: reason === 'birth', reason, load: null },
    { node, session },
  ),
});

const after = (...inputs: StateInput[]): Fleet => {
  const fleet = emptyFleet();
  for (const input of inputs) reduce(fleet, input);
  return fleet;
};

const record = (fleet: Fleet, node = 'n1') => {
  const found = fleet.nodes.get(`home/${node}`);
  if (!found) throw new Error(`no record of ${node}`);
  return found;
};

describe('telemetry', () => {
  it('keeps the newest sample and counts an older one as superseded', () => {
    const fleet = after(telemetry({ seq: 2, cpuRatio: 0.9 }), telemetry({ seq: 1, cpuRatio: 0.1 }));
    expect(record(fleet).values?.cpuRatio).toBe(0.9);
    expect(fleet.supersededSamples).toBe(1);
  });

  it('takes a new incarnation whose counting starts again, and never an old one', () => {
    const fleet = after(
      telemetry({ seq: 9, incarnation: 1 }),
      telemetry({ seq: 1, incarnation: 2, cpuRatio: 0.7 }),
      telemetry({ seq: 10, incarnation: 1, cpuRatio: 0.1 }),
    );
    expect(record(fleet)).toMatchObject({ incarnation: 2, seq: 1 });
    expect(record(fleet).values?.cpuRatio).toBe(0.7);
  });

  it('dates a replayed sample by its age at sending, so that it does not look fresh', () => {
    const fleet = after(telemetry({ atMs: 100_000, ageMs: 60_000 }));
    expect(record(fleet).sampleAtMs).toBe(40_000);
    expect(nodeState(record(fleet), 100_000)).toBe('stale');
  });

  it('moves a guest to the node that runs it and forgets one that is gone', () => {
    const fleet = after(
      telemetry({ node: 'n1', guests: ['100', '101'] }),
      telemetry({ node: 'n2', guests: ['100'] }),
      telemetry({ node: 'n1', seq: 2, guests: [] }),
    );
    expect(fleet.guests.get('home/100')?.node).toBe('n2');
    expect(fleet.guests.has('home/101')).toBe(false);
  });

  it('takes every field of a guest from its newest sample, as if it had seen no other', () => {
    const before = guestSample('100');
    const now = guestSample('100', {
      ...(Object.fromEntries(guestMetrics.map(({ name }, index) => [name, 7 + index])) as object),
      kind: 'container',
      name: 'other',
      state: 'stopped',
      tags: ['kr_park'],
      lock: 'backup',
      haState: 'started',
    });
    const same = Object.entries(before).filter(([name, value]) => now[name as never] === value);
    expect(same).toEqual([['id', '100']]);
    const sampled = (seq: number, guest: GuestSample): StateInput => ({
      kind: 'telemetry',
      atMs: 1_000 * seq,
      message: message('telemetry', telemetryBody({ guests: [guest] }), { node: 'n1', seq }),
    });
    const both = after(sampled(1, before), sampled(2, now)).guests.get('home/100');
    expect(both).toEqual(after(sampled(2, now)).guests.get('home/100'));
  });

  it('keeps the known guests when the driver cannot tell', () => {
    const fleet = after(telemetry({ guests: ['100'] }), telemetry({ seq: 2, guests: null }));
    expect(fleet.guests.get('home/100')?.node).toBe('n1');
    expect(record(fleet).guests).toBeNull();
  });
});

describe('sessions', () => {
  it('ignores the will of a session that is no longer current', () => {
    const fleet = after(
      telemetry({ session: uuidOf(1) }),
      presence('n1', uuidOf(2), 'birth'),
      presence('n1', uuidOf(1), 'will', 3_000),
    );
    expect(record(fleet).online).toBe(true);
  });

  it('takes offline the node whose will it is, and no other of the same session', () => {
    const fleet = after(
      telemetry({ node: 'n1', session: uuidOf(1) }),
      telemetry({ node: 'n2', session: uuidOf(1) }),
      presence('n1', uuidOf(1), 'will', 5_000),
    );
    expect(['n1', 'n2'].map((node) => record(fleet, node).online)).toEqual([false, true]);
    expect(record(fleet).offlineSinceMs).toBe(5_000);
  });

  it('learns boot, journal and facts from hello', () => {
    const hello: StateInput = { kind: 'hello', atMs: 1, message: message('hello', helloBody()) };
    const fleet = after(hello);
    expect(record(fleet)).toMatchObject({ bootId: uuidOf(0xb001), journalId: uuidOf(0x10a1) });
  });
});

describe('the votes of a cluster, as a node tells them', () => {
  const quorum = (quorate: boolean, seenAgeMs = 0): NodeFacts =>
    NodeFacts.parse({
      quorum: {
        quorate,
        expectedVotes: 3,
        totalVotes: quorate ? 3 : 1,
        quorumVotes: 2,
        members: [
          { node: 'n1', votes: 1, online: true },
          { node: 'n2', votes: 1, online: quorate },
        ],
        qdevice: { votes: 1, alive: true, voting: true, seenAgeMs },
      },
    });
  const hello = (facts: NodeFacts, atMs: number, incarnation = 1): StateInput => ({
    kind: 'hello',
    atMs,
    message: message('hello', helloBody({ facts, incarnation }), {
      node: 'n1',
      session: uuidOf(incarnation),
    }),
  });
  const members = (membersOnline: string[], atMs: number, seq: number): StateInput => ({
    kind: 'telemetry',
    atMs,
    message: message('telemetry', telemetryBody({ membersOnline, guests: null }), {
      node: 'n1',
      seq,
      session: uuidOf(1),
    }),
  });
  const sinceMs = (fleet: Fleet) => fleet.nodes.get('home/n1')?.votesSinceMs;

  it('stand since they last changed, and a flap there and back counts as two changes', () => {
    const fleet = emptyFleet();
    reduce(fleet, hello(quorum(true), 1_000));
    reduce(fleet, hello(quorum(true, 9_000), 50_000));
    expect(sinceMs(fleet)).toBe(1_000);
    reduce(fleet, hello(quorum(false), 60_000));
    expect(sinceMs(fleet)).toBe(60_000);
    reduce(fleet, hello(quorum(true), 70_000));
    expect(sinceMs(fleet)).toBe(70_000);
  });

  it('stand since a new process of the daemon first told them, which has watched nothing before', () => {
    const fleet = emptyFleet();
    reduce(fleet, hello(quorum(true), 1_000));
    reduce(fleet, hello(quorum(true), 70_000, 2));
    expect(sinceMs(fleet)).toBe(70_000);
    reduce(fleet, hello(quorum(true), 90_000, 2));
    expect(sinceMs(fleet)).toBe(70_000);
  });

  it('change with the members that its samples list, in whatever order', () => {
    const fleet = emptyFleet();
    reduce(fleet, members(['n1', 'n2'], 1_000, 1));
    reduce(fleet, members(['n2', 'n1'], 6_000, 2));
    expect(sinceMs(fleet)).toBe(1_000);
    reduce(fleet, members(['n1'], 11_000, 3));
    reduce(fleet, members(['n1', 'n2'], 16_000, 4));
    expect(sinceMs(fleet)).toBe(16_000);
  });
});

describe('administration', () => {
  it('shows a node that never spoke, and forgets one that was removed with its guests', () => {
    const cluster = homeCluster({ simulated: true });
    const node = {
      cluster: 'home',
      node: 'n9',
      desired: 'awake' as const,
      maintenance: false,
      protected: true,
      activeKind: null,
    };
    const fleet = after(telemetry({ guests: ['100'] }), {
      kind: 'administration',
      clusters: [cluster],
      nodes: [node],
    });
    expect([...fleet.nodes.keys()]).toEqual(['home/n9']);
    expect(record(fleet, 'n9').protected).toBe(true);
    expect(nodeState(record(fleet, 'n9'), 5_000)).toBe('unknown');
    expect(fleet.guests.size).toBe(0);
  });
});

describe('node state', () => {
  const base = () => record(after(telemetry({ atMs: 0 })));
  it.each([
    ['awake', 10_000, {}],
    ['stale', 31_000, {}],
    ['lost', 181_000, {}],
    ['lost', 40_000, { online: false, offlineSinceMs: 5_000 }],
    ['asleep', 40_000, { online: false, offlineSinceMs: 5_000, desired: 'asleep' }],
    ['awake', 10_000, { desired: 'asleep' }],
    ['waking', 40_000, { online: false, desired: 'asleep', activeKind: 'node.wake' }],
    ['draining', 1_000, { activeKind: 'node.shutdown' }],
    ['maintenance', 1_000, { maintenance: true, activeKind: 'node.shutdown' }],
  ] as const)('is %s after %d ms with %j', (state, nowMs, change) => {
    expect(nodeState({ ...base(), ...change }, nowMs)).toBe(state);
  });
});

describe('order', () => {
  it('does not matter between different nodes', () => {
    const streams = fc.array(
      fc.record({ node: fc.constantFrom('a', 'b', 'c'), seq: fc.integer({ min: 1, max: 20 }) }),
      { maxLength: 40 },
    );
    fc.assert(
      fc.property(streams, (samples) => {
        const inputs = samples.map(({ node, seq }) => telemetry({ node, seq, guests: [node] }));
        const byNode = ['a', 'b', 'c'].flatMap((node) =>
          inputs.filter((_, index) => samples[index]?.node === node),
        );
        expect(after(...byNode).nodes.size).toBe(after(...inputs).nodes.size);
        for (const node of new Set(samples.map((sample) => sample.node))) {
          expect(record(after(...byNode), node)).toEqual(record(after(...inputs), node));
        }
      }),
      { numRuns: 200 },
    );
  });
});
