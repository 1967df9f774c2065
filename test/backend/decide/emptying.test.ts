import { describe, expect, it } from 'vitest';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyingOf } from '../../../backend/decide/emptying.ts';
import { emptyHistory } from '../../../backend/decide/history.ts';
import type { Situation } from '../../../backend/decide/model.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import type { GuestSample } from '../../../broker/contract/telemetry.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

const gib = 2 ** 30;
const nowMs = 100_000_000;

const nodeOf = (name: string, cpuRatio: number, change: Partial<NodeRecord> = {}): NodeRecord => ({
  ...unseenNode('home', name),
  online: true,
  sampleAtMs: nowMs,
  values: nodeValues({
    cpuRatio,
    cpuCount: 8,
    memoryUsedBytes: 8 * gib,
    memoryTotalBytes: 32 * gib,
  }),
  facts: NodeFacts.parse({ wattsLoaded: 100 }),
  guests: [],
  ...change,
});

const guest = (id: string, change: Partial<GuestSample> = {}): GuestSample => ({
  ...guestSample(id, { name: id }),
  cpuCount: 2,
  cpuRatio: 0.5,
  memoryTotalBytes: 2 * gib,
  ...change,
});

const situationOf = (nodes: NodeRecord[]): Situation => ({
  cluster: homeCluster(),
  nodes,
  policy: Policy.parse({}),
  history: emptyHistory(),
  nowMs,
});

const linesOf = (situation: Situation, node: string): string[] | undefined =>
  emptyingOf(situation, node)?.guests.map(({ name, way, target, why }) =>
    [name, way, target ?? why ?? ''].join(' ').trim(),
  );

describe('who would leave a node for a maintenance', () => {
  const web = guest('web', { memoryTotalBytes: 3 * gib });
  const house = (change: Partial<NodeRecord> = {}) => [
    nodeOf('n1', 0.3, { guests: [guest('mail'), web, guest('off', { state: 'stopped' })] }),
    nodeOf('n2', 0.2, change),
    nodeOf('n3', 0.25),
  ];

  it('names a target for each guest at once, biggest first, each seeing those before it', () => {
    const situation = situationOf(house());
    const before = structuredClone(situation.nodes);
    expect(linesOf(situation, 'n1')).toEqual(['web moves n2', 'mail moves n3']);
    const found = emptyingOf(situation, 'n1');
    // One cpu of eight more than 20 % and 25 %.
    expect(found?.guests.map(({ targetCpuRatio }) => targetCpuRatio)).toEqual([0.325, 0.375]);
    expect(found).toMatchObject({ wakes: [], inTheWay: [], isProven: true });
    expect(situation.nodes).toEqual(before);
  });

  it('says what the engine then does', () => {
    const nodes = house();
    const evacuation = { phase: 'evacuate', sleeps: false, guests: [], actor: 'a' } as const;
    nodes[0]!.evacuation = { ...evacuation, startedAtMs: nowMs };
    const { intents } = decide(situationOf(nodes), Policy.parse({}), emptyHistory(), nowMs);
    const [first] = linesOf(situationOf(nodes), 'n1') ?? [];
    const { target, action } = intents[0]!;
    const to = action.kind === 'guest.migrate' ? action.args.targetNode : '';
    expect(`${target.id} moves ${to}`).toBe(first);
  });

  it('says what keeps a guest, and which node is woken for one that fits nowhere', () => {
    const nodes = [
      nodeOf('n1', 0.3, { guests: [guest('held', { lock: 'backup' }), web] }),
      nodeOf('n2', 0.97),
      nodeOf('n3', 0, { online: false, values: null, desired: 'asleep', sampleAtMs: null }),
    ];
    nodes[2]!.facts = NodeFacts.parse({ cpuCount: 8, memoryBytes: 32 * gib, wattsLoaded: 100 });
    const situation = situationOf(nodes);
    expect(linesOf(situation, 'n1')).toEqual([
      'web stays fits on no other awake node',
      'held stays is locked (backup)',
    ]);
    const found = emptyingOf(situation, 'n1');
    expect(found?.inTheWay[0]?.reason).toContain('held is locked (backup)');
    expect(found?.wakes).toEqual(['n3']);
  });

  it('takes a move that is under way for no obstacle, but a lock that one left behind', () => {
    const locked = guest('web', { lock: 'migrate' });
    const [, ...others] = house();
    const situation = situationOf([nodeOf('n1', 0.3, { guests: [locked] }), ...others]);
    expect(linesOf(situation, 'n1')).toEqual(['web stays is locked (migrate)']);
    expect(emptyingOf(situation, 'n1')?.inTheWay).toHaveLength(1);
    const move = { guest: 'web', fromNode: 'n1', toNode: 'n2', atMs: nowMs };
    situation.history.movesInFlight.set('home', [move]);
    expect(linesOf(situation, 'n1')).toEqual(['web leaving']);
    expect(emptyingOf(situation, 'n1')?.inTheWay).toEqual([]);
  });

  it('leaves to HA what HA manages, where the hypervisor offers that', () => {
    const managed = guest('db', { haState: 'started' });
    const [n1, ...others] = house();
    const held = { ...n1!, guests: [managed] };
    expect(linesOf(situationOf([held, ...others]), 'n1')).toEqual(['db stays is HA-managed']);
    const driver = { name: 'proxmox', version: '1', simulated: false } as const;
    const drains = { ...held, driver: { ...driver, capabilities: ['node.drain' as const] } };
    expect(linesOf(situationOf([drains, ...others]), 'n1')).toEqual(['db ha']);
  });

  it('says that another node is emptied first', () => {
    const evacuation = { phase: 'evacuate', sleeps: false, guests: [], actor: 'a' } as const;
    const nodes = house({
      guests: [guest('other')],
      evacuation: { ...evacuation, startedAtMs: nowMs - 1 },
    });
    const found = emptyingOf(situationOf(nodes), 'n1');
    expect(found?.inTheWay).toEqual([
      { reason: 'is to be emptied, but another node is emptied first', flip: 'that one is empty' },
    ]);
    // What is being emptied itself takes nobody.
    expect(linesOf(situationOf(nodes), 'n1')).toEqual(['web moves n3', 'mail moves n3']);
  });

  it('does not call proven what nobody saw wake, nor what is protected', () => {
    const situation = situationOf(house());
    situation.history.proven.set('home', new Set(['n2']));
    expect(emptyingOf(situation, 'n1')?.isProven).toBe(false);
    expect(emptyingOf(situation, 'n2')?.isProven).toBe(true);
    const [n1, n2, n3] = house({ protected: true });
    expect(emptyingOf(situationOf([n1!, n2!, n3!]), 'n2')?.isProven).toBe(false);
  });

  it('tells how long the moves of a day keep the engine from emptying it by itself', () => {
    const situation = situationOf(house());
    const restOf = () => emptyingOf(situation, 'n1')?.rest;
    expect(restOf()).toEqual({ movesPerDay: 2, forMs: 0 });
    const dayMs = 86_400_000;
    const move = { guest: 'mail', fromNode: 'n1', toNode: 'n2' };
    // Out for its proof, and back: saving leaves the second of two moves to relief.
    const moves = [
      { ...move, atMs: nowMs - 7_200_000 },
      { ...move, fromNode: 'n2', toNode: 'n1', atMs: nowMs - 3_600_000 },
    ];
    situation.history.moves.set('home', moves);
    expect(restOf()?.forMs).toBe(dayMs - 3_600_000);
    const after = (ms: number) => emptyingOf({ ...situation, nowMs: nowMs + ms }, 'n1')?.rest.forMs;
    expect([after(dayMs - 3_600_000), after(dayMs - 3_599_999)]).toEqual([0, 0]);
    situation.policy = Policy.parse({ limits: { guestMovesPerDay: 3 } });
    expect(restOf()).toEqual({ movesPerDay: 3, forMs: dayMs - 7_200_000 });
    situation.policy = Policy.parse({ limits: { guestMovesPerDay: 4 } });
    expect(restOf()?.forMs).toBe(0);
    situation.policy = Policy.parse({ limits: { guestMovesPerDay: 1 } });
    expect(restOf()?.forMs).toBe(Infinity);
  });

  it('knows no other node', () => {
    expect(emptyingOf(situationOf(house()), 'n9')).toBe(null);
  });
});
